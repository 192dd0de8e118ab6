"""Linear: train a linear model on the places of aggregates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from kincast.model.aggregate import Aggregates
from kincast.model.linear import Linear, places
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.judge import Judge
from kincast.train.metric import is_better

Floats = NDArray[np.float64]
PENALTIES = (0.1, 0.03, 0.01, 0.003)  # on half the squares of the weights, beside the mean loss
NUM_KNOTS = 21
MAX_KNOT_ROWS = 10_000
MAX_TRAIN_ROWS = 50_000
SMOOTH = 0.2  # of the mean deviation, below which an absolute error counts as a square
MAX_STEPS = 200


def fit_linear(labels: Labels, aggregates: Aggregates, judge: Judge, *, seed: int) -> tuple[Linear, float]:
    """Train on the training split, with the penalty that is best on the validation split.

    Args:
        labels: of all splits.
        aggregates: their features, row for row.
        judge: of the task.
        seed: of the sample of training rows.

    Returns:
        the model and its penalty.
    """
    held = labels.split == 1
    best, found = float("nan"), None
    trained = _trained(labels, aggregates, labels.split == 0, PENALTIES, seed)
    for penalty, linear in zip(PENALTIES, trained, strict=True):
        value = judge.value(labels.target[held], linear.score(aggregates.values[held])) if held.any() else float("nan")
        if found is None or is_better(judge.decides[0], value, best):
            best, found = value, (linear, penalty)
    assert found is not None
    return found


def refit_linear(
    penalty: float, labels: Labels, aggregates: Aggregates, chosen: NDArray[np.bool_], *, seed: int
) -> Linear:
    """Train on the chosen labels [n], with a penalty that is known."""
    return _trained(labels, aggregates, chosen, (penalty,), seed)[0]


def _trained(
    labels: Labels, aggregates: Aggregates, chosen: NDArray[np.bool_], penalties: tuple[float, ...], seed: int
) -> list[Linear]:
    """A model for each penalty, each search beginning where the one before ended."""
    random = np.random.default_rng(seed)
    rows = np.flatnonzero(chosen)
    if len(rows) > MAX_TRAIN_ROWS:
        rows = np.sort(random.choice(rows, MAX_TRAIN_ROWS, replace=False))
    values, target = aggregates.values[rows], labels.target[rows]
    few = rows if len(rows) <= MAX_KNOT_ROWS else random.choice(rows, MAX_KNOT_ROWS, replace=False)
    knots = _knots(aggregates.values[few])
    knots[list(aggregates.categorical)] = np.nan  # codes have no order
    center = scale = 0.0
    if labels.kind is TaskKind.REGRESSION:
        center = float(np.median(target))
        scale = max(float(np.abs(target - center).mean()), 1e-12)
        target = (target - center) / scale
    inputs = np.column_stack([places(values, knots), np.ones(len(rows), np.float32)])
    outputs = len(labels.classes) if labels.kind is TaskKind.MULTICLASS else 1
    weights, found = np.zeros((inputs.shape[1], outputs)), []
    for penalty in penalties:
        weights = _descend(labels.kind, inputs, target, weights, penalty)
        found.append(Linear(labels.kind, knots, weights, center, scale))
    return found


def _knots(values: NDArray[np.float32]) -> Floats:
    """[columns, NUM_KNOTS] numbers of equal distance in rank; NaN for columns without any."""
    ordered = np.sort(values, axis=0).astype(np.float64)  # NaN come last
    known = (~np.isnan(values)).sum(axis=0)
    ranks = np.rint(np.linspace(0, 1, NUM_KNOTS)[None, :] * np.maximum(known - 1, 0)[:, None]).astype(np.int64)
    return np.take_along_axis(ordered.T, ranks, axis=1)


def _descend(kind: TaskKind, inputs: NDArray[np.float32], target: Floats, weights: Floats, penalty: float) -> Floats:
    """The weights [columns + 1, outputs] of least loss, found from those given."""
    from scipy.optimize import minimize  # which takes long to import

    num = len(target)

    def loss(flat: Floats) -> tuple[float, Floats]:
        now = flat.reshape(weights.shape)
        value, slope = _loss(kind, inputs @ now.astype(np.float32), target)
        bound = now.copy()
        bound[-1] = 0.0
        gradient = (inputs.T @ (slope / num).astype(np.float32)).astype(np.float64) + penalty * bound
        return value + penalty / 2 * float((bound * bound).sum()), gradient.ravel()

    found = minimize(loss, weights.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS})
    return np.asarray(found.x).reshape(weights.shape)


def _loss(kind: TaskKind, outputs: NDArray[np.float32], target: Floats) -> tuple[float, Floats]:
    """Mean loss of outputs [n, outputs], and the slope of each row's."""
    outputs = outputs.astype(np.float64)
    if kind is TaskKind.MULTICLASS:
        logs, codes = log_softmax(outputs, axis=1), target.astype(np.int64)
        slope = np.exp(logs)
        rows = np.arange(len(codes))
        slope[rows, codes] -= 1.0
        return float(-logs[rows, codes].mean()), slope
    if kind is TaskKind.BINARY:
        value = np.logaddexp(0.0, outputs[:, 0]) - target * outputs[:, 0]
        return float(value.mean()), expit(outputs) - target[:, None]
    far = outputs - target[:, None]
    long = np.sqrt(far * far + SMOOTH**2)
    return float(long.mean()), far / long
