"""Objectives: scores undo what the loss was given, and stay in range."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from kincast.model.objective import Objective, fit_objective
from kincast.query.task import TaskKind


def test_regression_scores_invert_the_scaling() -> None:
    target = np.concatenate([np.zeros(50), np.exp(np.linspace(0, 9, 50))])
    objective = fit_objective(TaskKind.REGRESSION, target, 0)
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
    objective = fit_objective(TaskKind.BINARY, target, 2, class_weights=True)
    assert objective.class_weights == pytest.approx((10 / 18, 5.0))
    assert np.mean([objective.class_weights[int(code)] for code in target]) == pytest.approx(1.0)


def test_multiclass_scores_sum_to_one() -> None:
    objective = fit_objective(TaskKind.MULTICLASS, np.array([0.0, 1.0, 2.0]), 3)
    assert objective.scores(torch.randn(5, 3)).sum(axis=1) == pytest.approx(np.ones(5))


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION])
def test_json_round_trip(kind: TaskKind) -> None:
    objective = fit_objective(kind, np.array([0.0, 1.0, 1.0]), 2, class_weights=True)
    assert Objective.from_dict(json.loads(json.dumps(objective.as_dict()))) == objective
