"""Reliability: whether probabilities mean what they say, and whether intervals and sets hold what they promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.model.calibrate import log_losses
from kincast.model.certainty import Bounds
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
Weighted = Callable[[Floats], float]
Metric = Callable[[Any, Any], Weighted]
BINS = 15
UNCALIBRATED = "uncalibrated"
"""What follows the name of a metric of raw scores."""


def log_loss(target: Floats, scores: Floats) -> Weighted:
    """Mean surprise at what happened, in nats; NaN for scores that are no probabilities."""
    kind = TaskKind.BINARY if target.ndim == scores.ndim else TaskKind.MULTICLASS
    return _mean(log_losses(kind, target, scores), scores)


def brier(target: Floats, scores: Floats) -> Weighted:
    """Mean squared distance of probabilities from what happened, of several classes their sum (Brier 1950)."""
    if scores.ndim == 1 or target.ndim == 2:
        errors = (scores - target) ** 2
        return _mean(errors if errors.ndim == 1 else errors.mean(axis=1), scores)
    return _mean(((scores - np.eye(scores.shape[1])[target.astype(np.int64)]) ** 2).sum(axis=1), scores)


def ece(target: Floats, scores: Floats) -> Weighted:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017); of classes that of the likeliest.

    Never 0 on a sample, even of perfect probabilities: the fewer rows, the larger.
    """
    said, happened, width = _said(target, scores)
    return _gap(said, happened, np.minimum((said * BINS).astype(np.int64), BINS - 1), width)


def ece_adaptive(target: Floats, scores: Floats) -> Weighted:
    """The same over 15 bins of as many rows each (Nixon et al. 2019)."""
    said, happened, width = _said(target, scores)
    # Rows of equal score share a bin, else the order of rows would decide.
    at, place, count = np.unique(said, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return _gap(
        said, happened, (middle / max(len(said), 1) * BINS).astype(np.int64)[place] if len(at) else place, width
    )


RELIABILITY = {"log_loss": log_loss, "brier": brier, "ece": ece, "ece_adaptive": ece_adaptive}
"""Metrics of probabilities; lower is better for all."""


def bound_metrics(kind: TaskKind, coverage: float, steps: int = 0) -> Mapping[str, Metric]:
    """What intervals and sets are measured by: the share that holds the truth, and how wide or large they are.

    Args:
        kind: of the target.
        coverage: the share they promise.
        steps: of a forecast, each of which is measured too.
    """
    size = "set size" if kind is TaskKind.MULTICLASS else "interval width"
    promised = f"{100 * coverage:g} %"
    found: dict[str, Metric] = {f"coverage at {promised}": _held, f"{size} at {promised}": _size}
    for step in range(steps):
        found |= {f"{name} step {step + 1}": _at_step(metric, step) for name, metric in list(found.items())[:2]}
    return found


def _at_step(metric: Metric, step: int) -> Metric:
    return lambda target, bounds: metric(target[:, step], (bounds[0][:, step], bounds[1][:, step]))


def _held(target: Floats, bounds: Bounds) -> Weighted:
    """Share of true values inside; of a forecast of those that are known."""
    if isinstance(bounds, tuple):
        low, high = bounds
        return _of_known(np.where(np.isnan(target), np.nan, (low <= target) & (target <= high)))
    assert bounds is not None
    return _of_known(bounds[np.arange(len(target)), target.astype(np.int64)].astype(np.float64))


def _size(target: Floats, bounds: Bounds) -> Weighted:
    """Mean width of intervals, in the target's unit, or number of classes; NaN where one is infinite."""
    if isinstance(bounds, tuple):
        if not all(np.isfinite(end).all() for end in bounds):
            return lambda weights: float("nan")
        return _of_known(np.where(np.isnan(target), np.nan, bounds[1] - bounds[0]))
    assert bounds is not None
    return _of_known(bounds.sum(axis=1).astype(np.float64))


def _of_known(numbers: Floats) -> Weighted:
    numbers = numbers.reshape(len(numbers), -1)
    known = ~np.isnan(numbers)
    sums, counts = np.where(known, numbers, 0.0).sum(axis=1), known.sum(axis=1)
    return lambda weights: float((weights * sums).sum() / max((weights * counts).sum(), 1e-12))


def _mean(losses: Floats, scores: Floats) -> Weighted:
    if not _are_probabilities(scores):
        return lambda weights: float("nan")
    return lambda weights: float((weights * losses).sum() / weights.sum())


def _are_probabilities(scores: Floats) -> bool:
    return bool(np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all())


def _said(target: Floats, scores: Floats) -> tuple[Floats, Floats, int]:
    """What was said how surely, whether it happened, and how many such there are in each row."""
    if scores.ndim == 2 and target.ndim == 1:
        return scores.max(axis=1), (scores.argmax(axis=1) == target).astype(np.float64), 1
    return scores.ravel(), target.ravel(), 1 if scores.ndim == 1 else scores.shape[1]


def _gap(said: Floats, happened: Floats, bins: NDArray[np.int64], width: int) -> Weighted:
    """Mean distance of what was said from what happened, bin by bin."""
    if not _are_probabilities(said):
        return lambda weights: float("nan")

    def weighted(weights: Floats) -> float:
        weights = np.repeat(weights, width)
        return float(np.abs(np.bincount(bins, weights * (said - happened))).sum() / weights.sum())

    return weighted
