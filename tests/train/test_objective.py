"""Objectives: scores undo what the loss was given, and stay in range."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kincast.errors import DataError, ProjectError
from kincast.model.joint import JointObjective, read_objective
from kincast.model.objective import LOSSES, Objective, fit_objective
from kincast.project import TrainSettings
from kincast.query.encode import Lists
from kincast.query.labels import Labels
from kincast.query.task import TaskKind

SCALARS = (TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION)


def labels_of(kind: TaskKind, target: NDArray[np.float64], num_classes: int = 0, lists: Lists | None = None) -> Labels:
    """Training labels of a kind."""
    num = len(target)
    rows, split = np.arange(num, dtype=np.int64), np.zeros(num, np.int8)
    classes = tuple(str(code) for code in range(num_classes))
    return Labels("t", kind, rows, np.zeros(num, np.int64), target, split, classes, lists=lists)


def fit(kind: TaskKind, target: NDArray[np.float64], num_classes: int = 0, **settings: object) -> Objective:
    """The objective of labels of one value."""
    return fit_objective(labels_of(kind, target, num_classes), TrainSettings.model_validate(settings))


def test_regression_scores_invert_the_scaling() -> None:
    target = np.concatenate([np.zeros(50), np.exp(np.linspace(0, 9, 50))])
    objective = fit(TaskKind.REGRESSION, target)
    assert objective.transform == "log"
    outputs = torch.linspace(-5, 50, 40).unsqueeze(1)
    values = objective.scores(outputs)
    assert values.min() >= target.min()
    assert values.max() <= target.max()
    seen = torch.tensor([3.0, 100.0])
    perfect = (seen.log1p() - objective.center) / objective.scale
    assert objective.scores(perfect.unsqueeze(1)) == pytest.approx([3.0, 100.0], rel=1e-5)
    assert float(objective.loss(perfect.unsqueeze(1), seen.double())) == pytest.approx(0.0, abs=1e-6)


def test_class_weights_balance_and_average_to_one() -> None:
    target = np.array([0.0] * 9 + [1.0])
    objective = fit(TaskKind.BINARY, target, 2, class_weights=True)
    assert objective.class_weights == pytest.approx((10 / 18, 5.0))
    assert np.mean([objective.class_weights[int(code)] for code in target]) == pytest.approx(1.0)
    with pytest.raises(ProjectError, match="not for multilabel"):
        fit_objective(labels_of(TaskKind.MULTILABEL, target), TrainSettings(class_weights=True))


def test_multiclass_scores_sum_to_one() -> None:
    objective = fit(TaskKind.MULTICLASS, np.array([0.0, 1.0, 2.0]), 3)
    assert objective.scores(torch.randn(5, 3)).sum(axis=1) == pytest.approx(np.ones(5))


@pytest.mark.parametrize("kind", SCALARS)
def test_json_round_trip(kind: TaskKind) -> None:
    weighted = kind is not TaskKind.REGRESSION
    objective = fit(kind, np.array([0.0, 1.0, 1.0]), 2, class_weights=weighted)
    assert Objective.from_dict(json.loads(json.dumps(objective.as_dict()))) == objective
    joint = JointObjective((objective, objective.named("x", ("a",))), (1.0, 0.5))
    assert read_objective(json.loads(json.dumps(joint.as_dict()))) == joint


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in SCALARS for name in LOSSES[kind]])
def test_every_loss_is_least_where_the_outputs_are_right(kind: TaskKind, name: str) -> None:
    """Trained alone, a bias for each output finds the best constant: of quantiles theirs, of classes the shares."""
    torch.manual_seed(0)
    random = np.random.default_rng(1)
    target = random.poisson(4, 400).astype(float) if kind is TaskKind.REGRESSION else (random.random(400) < 0.7) * 1.0
    quantiles = (0.8,) if name == "quantile" else (0.2, 0.5, 0.8)
    objective = fit(kind, target, 2, loss=name, quantiles=quantiles)
    bias = torch.zeros(objective.num_outputs, requires_grad=True)
    optimizer = torch.optim.Adam([bias], lr=0.03)
    for _ in range(400):
        loss = objective.loss(bias.expand(400, -1), torch.from_numpy(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = objective.scores(bias.detach().expand(2, -1))[0]
    if kind is not TaskKind.REGRESSION:
        chosen = found if kind is TaskKind.BINARY else found[1]
        # The focal loss pulls probabilities to the middle, and positives count a quarter.
        assert chosen == pytest.approx(0.7, abs=0.03) if name != "focal" else 0.3 < chosen < 0.7
    else:
        expected = {"quantile": np.quantile(target, 0.8), "mse": target.mean(), "normal": target.mean()}
        expected["negative_binomial"] = target.mean()
        assert found == pytest.approx(expected.get(name, np.median(target)), abs=0.6)


def test_weights_count_as_repeated_rows() -> None:
    objective = fit(TaskKind.REGRESSION, np.arange(6.0))
    outputs, target = torch.randn(3, 1), torch.tensor([0.0, 5.0, 2.0], dtype=torch.float64)
    twice = [0, 0, 1, 2, 2, 2]
    weighted = objective.loss(outputs, target, torch.tensor([2.0, 1.0, 3.0]))
    assert float(weighted) == pytest.approx(float(objective.loss(outputs[twice], target[twice])), rel=1e-6)


def test_steps_without_a_value_do_not_count() -> None:
    steps = np.array([[1.0, np.nan], [3.0, 4.0]])
    lists = Lists(np.array([0, 2, 4]), steps.ravel())
    objective = fit_objective(labels_of(TaskKind.FORECASTING, np.zeros(2), lists=lists), TrainSettings())
    assert objective.num_outputs == 2
    perfect = (torch.from_numpy(np.nan_to_num(steps)).float() - objective.center) / objective.scale
    assert float(objective.loss(perfect, torch.from_numpy(steps))) == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(objective.scores(perfect)[1], steps[1], rtol=1e-6)


def test_a_target_that_is_missing_moves_no_head() -> None:
    parts = (fit(TaskKind.BINARY, np.array([0.0, 1.0]), 2), fit(TaskKind.REGRESSION, np.arange(5.0)))
    joint = JointObjective(parts, (0.7, 1.0))
    outputs = torch.randn(3, 2, requires_grad=True)
    target = torch.tensor([[1.0, 2.0], [0.0, float("nan")], [float("nan"), 4.0]], dtype=torch.float64)
    joint.loss(outputs, target).backward()
    assert outputs.grad is not None
    assert outputs.grad[1, 1] == 0
    assert outputs.grad[2, 0] == 0
    given = outputs.detach()
    alone = parts[0].loss(given[:2, :1], target[:2, 0]) / 0.7 + parts[1].loss(given[[0, 2], 1:], target[[0, 2], 1])
    assert float(joint.loss(given, target)) == pytest.approx(float(alone), rel=1e-6)


def test_a_loss_that_does_not_suit_is_refused() -> None:
    with pytest.raises(ProjectError, match="huber is not for binary"):
        fit(TaskKind.BINARY, np.array([0.0, 1.0]), 2, loss="huber")
    with pytest.raises(DataError, match="from 0 on"):
        fit(TaskKind.REGRESSION, np.array([-1.0, 1.0]), loss="negative_binomial")
    with pytest.raises(ProjectError, match="takes one of"):
        fit(TaskKind.REGRESSION, np.array([1.0, 2.0]), loss="quantile")
