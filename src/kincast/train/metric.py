"""Metric: how good scores are, each with an interval from resampling entities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from kincast.query.task import TaskKind
from kincast.registry.version import Interval

Floats = NDArray[np.float64]
Weighted = Callable[[Floats], float]
"""weights [n], how often each row counts → value."""
Metric = Callable[[Floats, Floats], Weighted]
"""(target [n], scores [n] or [n, classes]) → its value under any weights.

What does not depend on the weights, such as sorting, is done once for all bootstrap samples.
"""


def auroc(target: Floats, scores: Floats) -> Weighted:
    """Probability that a positive scores above a negative, ties counting half; NaN when one class is absent.

    Args:
        target: [n] 0 or 1.
        scores: [n] higher means positive.
    """
    # Equal scores share a group; a positive beats all negatives of lower groups and half of its own.
    group = _dense_ranks(scores)

    def weighted(weights: Floats) -> float:
        positive = np.bincount(group, weights * target)
        negative = np.bincount(group, weights * (1 - target))
        total = positive.sum() * negative.sum()
        if total == 0:
            return float("nan")
        below = np.cumsum(negative) - negative
        return float((positive * (below + 0.5 * negative)).sum() / total)

    return weighted


def average_precision(target: Floats, scores: Floats) -> Weighted:
    """Area under the precision-recall steps, ties in one step; NaN without a positive.

    The step form of Manning et al. 2008, "Introduction to Information Retrieval", chapter 8.
    """
    group = _dense_ranks(-scores)

    def weighted(weights: Floats) -> float:
        positive = np.bincount(group, weights * target)
        count = np.bincount(group, weights)
        if positive.sum() == 0:
            return float("nan")
        precision = np.cumsum(positive) / np.maximum(np.cumsum(count), 1e-12)
        return float((precision * positive).sum() / positive.sum())

    return weighted


def accuracy(target: Floats, scores: Floats) -> Weighted:
    """Share of rows whose most probable class is the true one."""
    hit = (_classes(scores) == target).astype(np.float64)
    return lambda weights: float((weights * hit).sum() / weights.sum())


def f1(target: Floats, scores: Floats) -> Weighted:
    """F1 of the positive class at probability one half; the unweighted mean over classes when there are several."""
    chosen, true = _classes(scores).astype(np.int64), target.astype(np.int64)
    hit = (chosen == true).astype(np.float64)
    classes = np.array([1]) if scores.ndim == 1 else np.unique(true)
    num_codes = int(max(chosen.max(initial=1), true.max(initial=1))) + 1

    def weighted(weights: Floats) -> float:
        hits = np.bincount(true, weights * hit, num_codes)[classes]
        said = (np.bincount(chosen, weights, num_codes) + np.bincount(true, weights, num_codes))[classes]
        return float(np.mean(2 * hits / np.maximum(said, 1e-12)))

    return weighted


def mae(target: Floats, scores: Floats) -> Weighted:
    """Mean absolute error, in the target's unit."""
    errors = np.abs(scores - target)
    return lambda weights: float((weights * errors).sum() / weights.sum())


def rmse(target: Floats, scores: Floats) -> Weighted:
    """Root of the mean squared error, in the target's unit."""
    squares = (scores - target) ** 2
    return lambda weights: float(np.sqrt((weights * squares).sum() / weights.sum()))


def r2(target: Floats, scores: Floats) -> Weighted:
    """Share of the target's variance explained; NaN when the target does not vary."""
    squares = (scores - target) ** 2

    def weighted(weights: Floats) -> float:
        mean = (weights * target).sum() / weights.sum()
        variance = (weights * (target - mean) ** 2).sum()
        return float(1 - (weights * squares).sum() / variance) if variance > 0 else float("nan")

    return weighted


def _dense_ranks(scores: Floats) -> NDArray[np.int64]:
    """[n] from 0, the lowest score; equal scores have equal ranks."""
    return np.asarray(rankdata(scores, method="dense"), dtype=np.int64) - 1


def _classes(scores: Floats) -> Floats:
    return (scores >= 0.5).astype(np.float64) if scores.ndim == 1 else scores.argmax(axis=1).astype(np.float64)


# The first metric of a kind selects the best epoch and decides gates.
METRICS: dict[TaskKind, dict[str, Metric]] = {
    TaskKind.BINARY: {"auroc": auroc, "ap": average_precision, "accuracy": accuracy, "f1": f1},
    TaskKind.MULTICLASS: {"accuracy": accuracy, "f1": f1},
    TaskKind.REGRESSION: {"mae": mae, "rmse": rmse, "r2": r2},
}
LOWER_IS_BETTER = frozenset({"mae", "rmse"})


def main_metric(kind: TaskKind) -> str:
    """The metric that selects and gates models of a kind."""
    return next(iter(METRICS[kind]))


def is_better(metric: str, value: float, than: float) -> bool:
    """True when a value of a metric is strictly better than another; anything is better than NaN."""
    if np.isnan(value) or np.isnan(than):
        return not np.isnan(value)
    return value < than if metric in LOWER_IS_BETTER else value > than


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender on one split: each metric, on the rows and on every bootstrap sample of them.

    Attributes:
        values: metric → value on the rows.
        samples: metric → [num_samples] values on the samples, the same samples for every contender.
    """

    values: dict[str, float]
    samples: dict[str, Floats]

    def intervals(self) -> dict[str, Interval]:
        """Each metric with its 95 % percentile interval."""
        return {name: _interval(value, self.samples[name]) for name, value in self.values.items()}

    def margins(self, other: Measured) -> dict[str, Interval]:
        """Each metric's difference to another contender on the very same samples, with its 95 % interval.

        Paired differences are far less noisy than the two intervals suggest: hard rows are hard for both.
        """
        return {
            name: _interval(value - other.values[name], self.samples[name] - other.samples[name])
            for name, value in self.values.items()
        }


def measure(
    kind: TaskKind, target: Floats, scores: Floats, groups: NDArray[Any], *, num_samples: int = 200, seed: int = 0
) -> Measured:
    """All metrics of a kind, on the rows and on bootstrap samples of entities.

    Rows of one entity are drawn together, since they are alike (cluster bootstrap: Field and Welsh 2007,
    "Bootstrapping clustered data").

    Args:
        kind: decides the metrics.
        target: [n] class codes or values.
        scores: [n] probabilities of the positive class or values, or [n, classes] probabilities.
        groups: [n] whose rows belong together, such as the entity's row.
        num_samples: bootstrap samples.
        seed: of the samples; the same seed and groups give the same samples.
    """
    _, group = np.unique(groups, return_inverse=True)
    num_groups = int(group.max()) + 1 if len(group) else 0
    random = np.random.default_rng(seed)
    metrics = {name: metric(target, scores) for name, metric in METRICS[kind].items()}
    samples = {name: np.empty(num_samples) for name in metrics}
    for sample in range(num_samples):
        draw = np.bincount(random.integers(0, num_groups, num_groups), minlength=num_groups)
        weights = draw[group].astype(np.float64)
        for name, metric in metrics.items():
            samples[name][sample] = metric(weights)
    return Measured({name: metric(np.ones(len(target))) for name, metric in metrics.items()}, samples)


def _interval(value: float, samples: Floats) -> Interval:
    finite = samples[np.isfinite(samples)]
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (value, value)
    return Interval(value, float(low), float(high))
