"""bfloat16 changes a training step a little, and nothing once training has ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.planted import Planted

from kincast.errors import TrainError
from kincast.train import precision
from kincast.train.precision import has_bfloat16, products_in
from kincast.train.prepare import examples, prepare
from kincast.train.run import fit_network, new_trainer

needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this processor multiplies no bfloat16")


@needs_bfloat16
def test_a_step_is_changed_a_little(planted: Planted, tmp_path: Path) -> None:
    project, snapshot = planted
    prepared = prepare(project, "buys", snapshot)
    trainer = new_trainer(snapshot, prepared, project.tasks["buys"], tmp_path)
    seeds = examples(prepared.labels.of(0)).take(np.arange(128))
    (inputs,) = trainer.loader.batches(seeds.seeds, 128, redraw=1)

    def gradients() -> torch.Tensor:
        weights = list(trainer.network.parameters())
        found = torch.autograd.grad(trainer.loss_of(inputs, seeds), weights, allow_unused=True)
        return torch.cat([gradient.flatten() for gradient in found if gradient is not None])

    exact = gradients()
    with products_in("bfloat16"):
        rounded = gradients()
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.05
    assert torch.equal(gradients(), exact)


@needs_bfloat16
def test_a_training_finds_as_good_weights(planted: Planted, tmp_path: Path) -> None:
    project, snapshot = planted
    prepared, settings, found = prepare(project, "buys", snapshot), project.tasks["buys"], []
    for name in ("float32", "bfloat16"):
        train = settings.train.model_copy(update={"precision": name})
        own = settings.model_copy(update={"train": train})
        fit = fit_network(prepared, own, snapshot, tmp_path / name)
        found.append(fit.epochs[fit.best_epoch - 1][prepared.judge.of_epochs])
        assert {weight.dtype for weight in fit.weights.values()} == {torch.float32}
    assert found[0] != found[1]
    assert found[1] == pytest.approx(found[0], abs=0.02)


def test_a_processor_that_cannot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    with pytest.raises(TrainError, match="multiplies no bfloat16"), products_in("bfloat16"):
        pass
