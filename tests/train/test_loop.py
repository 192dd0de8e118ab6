"""A training is the same after kills and for any number of threads; one that runs away goes back and slows down."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.planted import Planted

from kincast.errors import TrainError
from kincast.model.inputs import Inputs
from kincast.project import Project
from kincast.train.gradient import PartRunner
from kincast.train.guard import EXPLODED, MOST_RESCUES, Guard
from kincast.train.loop import Examples, Trainer
from kincast.train.prepare import examples, prepare
from kincast.train.run import fit_network, new_trainer


def _with_train(project: Project, **changed: Any) -> Project:
    task = project.tasks["buys"]
    train = task.train.model_copy(update=changed)
    return project.model_copy(update={"tasks": {"buys": task.model_copy(update={"train": train})}})


def _killed(folder: Path, *kills: int) -> list[str]:
    command = [sys.executable, "-m", "tests.train.killed", str(folder), *map(str, kills)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_killed_again_and_again_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, epochs, digest = _killed(tmp_path / "whole")
    kills = np.random.default_rng(5).integers(1, int(whole) // 3, 4).tolist()
    rest, epochs_again, again = _killed(tmp_path / "killed", *kills)
    assert int(rest) + sum(kills) == int(whole)
    assert (epochs_again, again) == (epochs, digest)


@pytest.mark.parametrize("num_threads", [2, 4])
def test_weights_do_not_depend_on_the_loader(num_threads: int, planted: Planted, tmp_path: Path) -> None:
    project, snapshot = planted
    found = []
    for threads in (1, num_threads):
        own = _with_train(project, num_threads=threads, max_epochs=1)
        prepared, settings = prepare(own, "buys", snapshot), own.tasks["buys"]
        found.append(fit_network(prepared, settings, snapshot, tmp_path / str(threads)).weights)
    assert all(torch.equal(found[0][name], tensor) for name, tensor in found[1].items())


def _trainer(planted: Planted, folder: Path, **changed: Any) -> tuple[Trainer, Examples, Examples]:
    project, snapshot = planted
    project = _with_train(project, **changed)
    prepared = prepare(project, "buys", snapshot)
    trainer = new_trainer(snapshot, prepared, project.tasks["buys"], folder, "x")
    return trainer, examples(prepared.labels.of(0)), examples(prepared.labels.of(1))


def test_parts_give_the_gradients_of_the_whole_batch(planted: Planted, tmp_path: Path) -> None:
    trainer, train, _ = _trainer(planted, tmp_path, class_weights=True)
    seeds = train.take(np.arange(97))
    (whole,) = trainer.loader.batches(seeds.seeds, 97, redraw=1)
    (halves,) = trainer.loader.parts(seeds.seeds, 97, 2, redraw=1)
    assert [part.num_seeds for part in halves] == [49, 48]
    loss = trainer.loss_of(whole, seeds)
    loss.backward()  # type: ignore[no-untyped-call]
    expected = {name: weight.grad for name, weight in trainer.network.named_parameters()}
    trainer.network.zero_grad(set_to_none=True)
    with PartRunner(trainer.network, 2) as trainer.runner:
        assert trainer._backward(halves, seeds) == pytest.approx(float(loss.detach()), rel=1e-6)
    for name, weight in trainer.network.named_parameters():
        assert (weight.grad is None) == (expected[name] is None)
        if weight.grad is not None:
            torch.testing.assert_close(weight.grad, expected[name], rtol=1e-3, atol=1e-6)


def test_a_loss_that_is_no_number_goes_back_and_halves_the_rate(planted: Planted, tmp_path: Path) -> None:
    trainer, train, validation = _trainer(planted, tmp_path, max_epochs=2)
    backward, calls = trainer._backward, 0

    def poisoned(parts: tuple[Inputs, ...], examples: Examples) -> float:
        nonlocal calls
        calls += 1
        value = backward(parts, examples)
        if calls != 3:
            return value
        for weight in trainer.network.parameters():
            weight.grad = torch.full_like(weight, math.nan)
        return value

    trainer._backward = poisoned  # type: ignore[method-assign]
    fit = trainer.run(train, validation)
    assert [epoch["rescues"] for epoch in fit.epochs] == [1, 1]
    assert trainer.optimizer.param_groups[0]["lr"] < trainer.settings.learning_rate / 2
    assert all(torch.isfinite(tensor).all() for tensor in fit.weights.values())
    assert fit.epochs[0]["loss"] > 0


def test_a_training_that_always_runs_away_is_given_up(planted: Planted, tmp_path: Path) -> None:
    trainer, train, validation = _trainer(planted, tmp_path)
    trainer._backward = lambda parts, examples: math.inf  # type: ignore[method-assign]
    with pytest.raises(TrainError, match=r"at 0\.125 of the learning rate"):
        trainer.run(train, validation)
    assert trainer.guard.rescues == MOST_RESCUES + 1


def test_the_guard_forgives_one_outlier_but_no_explosion() -> None:
    guard = Guard()
    assert not any(guard.ran_away(loss, 1.0) for loss in (0.7, 0.6, 0.5, EXPLODED * 3, 0.6))
    assert any(guard.ran_away(0.5 * 2.0**step, 1.0) for step in range(12))
    assert guard.rescue()
    assert guard.rate == 0.5
    assert not guard.ran_away(0.5, 1.0)
    assert Guard(**guard.as_dict()) == guard  # type: ignore[arg-type]


def test_idle_share_is_told(planted: Planted, tmp_path: Path) -> None:
    trainer, train, validation = _trainer(planted, tmp_path, max_epochs=1)
    (epoch,) = trainer.run(train, validation).epochs
    assert 0.0 <= epoch["idle"] <= 1.0
