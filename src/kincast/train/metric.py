"""Metric: how good scores are, each with an interval from resampling entities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.model.calibrate import CALIBRATED
from kincast.query.task import TaskKind
from kincast.registry.version import Cohort, Interval
from kincast.train.ranking import ranking_metrics
from kincast.train.reliability import RELIABILITY

Floats = NDArray[np.float64]
Weighted = Callable[[Floats], float]
"""weights [n], how often each row counts → value."""
Metric = Callable[[Any, Any], Weighted]
"""(target, scores) → its value under any weights.

Of one value or class target [n] with scores [n] or [n, classes]; of labels and forecasts both [n, k], NaN where a step
has no value; of ranked lists ``Lists`` and ``Ranked``.

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


def precision_recall_area(target: Floats, scores: Floats) -> Weighted:
    """Area under the straight lines between the points of precision and recall; NaN without a positive."""
    group = _dense_ranks(-scores)

    def weighted(weights: Floats) -> float:
        hits, count = np.cumsum(np.bincount(group, weights * target)), np.cumsum(np.bincount(group, weights))
        if hits[-1] == 0:
            return float("nan")
        drawn = count > 0
        recall, precision = (hits / hits[-1])[drawn], (hits / np.maximum(count, 1e-12))[drawn]
        recall, precision = np.concatenate([[0.0], recall]), np.concatenate([[1.0], precision])
        return float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())

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
    """Mean absolute error, in the target's unit; of a forecast over all steps that have a value."""
    return _mean_of(np.abs(scores - target))


def mse(target: Floats, scores: Floats) -> Weighted:
    """Mean squared error."""
    return _mean_of((scores - target) ** 2)


def rmse(target: Floats, scores: Floats) -> Weighted:
    """Root of the mean squared error, in the target's unit."""
    mean = mse(target, scores)
    return lambda weights: float(np.sqrt(mean(weights)))


def reciprocal_rank(target: Floats, scores: Floats) -> Weighted:
    """Mean of one over the rank of the true answer; ``scores`` are the ranks, and of the target only they are known."""
    return _mean_of(1 / scores)


def hits_at(top: int) -> Metric:
    """Share of true answers with a rank of ``top`` at most; arguments as of ``reciprocal_rank``."""
    return lambda target, scores: _mean_of((scores <= top).astype(np.float64))


def _mean_of(errors: Floats) -> Weighted:
    """The mean of errors [n], or of those of [n, steps] that are known."""
    if errors.ndim == 1:
        return lambda weights: float((weights * errors).sum() / weights.sum())
    known = ~np.isnan(errors)
    sums, counts = np.where(known, errors, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64)

    def weighted(weights: Floats) -> float:
        total = (weights * counts).sum()
        return float((weights * sums).sum() / total) if total > 0 else float("nan")

    return weighted


def r2(target: Floats, scores: Floats) -> Weighted:
    """Share of the target's variance explained; NaN when the target does not vary."""
    squares = (scores - target) ** 2

    def weighted(weights: Floats) -> float:
        mean = (weights * target).sum() / weights.sum()
        variance = (weights * (target - mean) ** 2).sum()
        return float(1 - (weights * squares).sum() / variance) if variance > 0 else float("nan")

    return weighted


def at_step(metric: Metric, step: int) -> Metric:
    """The metric of one step of a forecast, from 0."""
    return lambda target, scores: metric(target[:, step : step + 1], scores[:, step : step + 1])


def of_label(metric: Metric, code: int) -> Metric:
    """The metric of one label of many."""
    return lambda target, scores: metric(target[:, code], scores[:, code])


def macro(metric: Metric) -> Metric:
    """The mean of a metric over the labels for which it is a number."""

    def whole(target: Floats, scores: Floats) -> Weighted:
        parts = [metric(target[:, code], scores[:, code]) for code in range(target.shape[1])]

        def weighted(weights: Floats) -> float:
            values = np.array([part(weights) for part in parts])
            known = values[~np.isnan(values)]
            return float(known.mean()) if len(known) else float("nan")

        return weighted

    return whole


def micro(metric: Metric) -> Metric:
    """A metric over all pairs of a row and a label."""

    def whole(target: Floats, scores: Floats) -> Weighted:
        found, width = metric(target.ravel(), scores.ravel()), target.shape[1]
        return lambda weights: found(np.repeat(weights, width))

    return whole


def _dense_ranks(scores: Floats) -> NDArray[np.int64]:
    """[n] from 0, the lowest score; equal scores have equal ranks."""
    return np.unique(scores, return_inverse=True)[1].astype(np.int64, copy=False)


def _classes(scores: Floats) -> Floats:
    return (scores >= 0.5).astype(np.float64) if scores.ndim == 1 else scores.argmax(axis=1).astype(np.float64)


_OF_LABELS: dict[str, Metric] = {"ap": average_precision, "auroc": auroc, "auprc": precision_recall_area}
# The first metric of a kind selects the best epoch and decides gates.
METRICS: dict[TaskKind, dict[str, Metric]] = {
    TaskKind.BINARY: {"auroc": auroc, "ap": average_precision, "accuracy": accuracy, "f1": f1},
    TaskKind.MULTICLASS: {"accuracy": accuracy, "f1": f1},
    TaskKind.REGRESSION: {"mae": mae, "rmse": rmse, "mse": mse, "r2": r2},
    TaskKind.FORECASTING: {"mae": mae, "rmse": rmse, "mse": mse},
    TaskKind.KNOWLEDGE: {"mrr": reciprocal_rank, **{f"hits@{top}": hits_at(top) for top in (1, 3, 10)}},
    TaskKind.MULTILABEL: {
        f"{name}_{kind}": average(metric)
        for kind, average in (("macro", macro), ("micro", micro))
        for name, metric in _OF_LABELS.items()
    },
}
_LOWER_IS_BETTER = frozenset({"mae", "rmse", "mse", *RELIABILITY})
_RANKED = frozenset({TaskKind.RANKING, TaskKind.TEMPORAL_LINK, TaskKind.STATIC_LINK})
MAX_PER_LABEL = 50


def metrics_of(kind: TaskKind, *, steps: int = 1, top: int = 10, classes: Sequence[str] = ()) -> dict[str, Metric]:
    """All metrics of a kind, the one that decides first; those of single steps and labels last.

    Args:
        kind: of the task.
        steps: of a forecast.
        top: length of the lists that are asked for.
        classes: names of the labels; the first 50 get metrics of their own.
    """
    if kind in _RANKED:
        return ranking_metrics(top)
    found = METRICS[kind] | (RELIABILITY if kind in CALIBRATED else {})
    if kind is TaskKind.FORECASTING:
        for step in range(steps):
            found |= {f"{name} step {step + 1}": at_step(m, step) for name, m in METRICS[kind].items()}
    if kind is TaskKind.MULTILABEL:
        for code, label in enumerate(classes[:MAX_PER_LABEL]):
            found |= {f"{name} of {label}": of_label(metric, code) for name, metric in _OF_LABELS.items()}
    return found


def is_error(metric: str) -> bool:
    """True when lower values of a metric are better; a metric may be one of a step, label or target."""
    return metric.split(" ")[0] in _LOWER_IS_BETTER


_RANKED_HEADLINE = ("map", "recall", "ndcg", "mrr", "hit_rate", "coverage")


def headline(kind: TaskKind, decides: Sequence[str], measured: Collection[str]) -> list[str]:
    """The measured metrics that stand for all of them, those that decide first; one for each of several targets.

    Args:
        kind: of the task.
        decides: as a version names them; empty for the usual one of its kind.
        measured: names of all.
    """
    first = list(decides) or [main_metric(kind)]
    if len(first) > 1:
        names = first
    elif kind in _RANKED:
        names = first + [f"{name}@{first[0].partition('@')[2]}" for name in _RANKED_HEADLINE]
    else:
        names = [*first, *METRICS[kind], *sorted(name for name in measured if " " not in name)]
        names = [name for name in names if name not in RELIABILITY]
    return [name for name in dict.fromkeys(names) if name in measured]


def main_metric(kind: TaskKind) -> str:
    """The metric that selects and gates models of a kind."""
    return next(iter(metrics_of(kind)))


def is_better(metric: str, value: float, than: float) -> bool:
    """True when a value of a metric is strictly better than another; anything is better than NaN."""
    if np.isnan(value) or np.isnan(than):
        return not np.isnan(value)
    return value < than if is_error(metric) else value > than


SMALL = 30
"""Rows below which a cohort's metrics say little."""


def worst_of(cohorts: Sequence[Cohort], metric: str) -> Cohort | None:
    """The cohort that fares worst by a metric, small ones aside; None where there is none."""
    known = [c for c in cohorts if c.rows >= SMALL and not np.isnan(c.metrics[metric].value)]
    sign = -1 if is_error(metric) else 1
    return min(known, key=lambda cohort: sign * cohort.metrics[metric].value, default=None)


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
    metrics: Mapping[str, Metric],
    target: Any,
    scores: Any,
    groups: NDArray[Any],
    *,
    num_samples: int = 200,
    seed: int = 0,
) -> Measured:
    """Some metrics, on the rows and on bootstrap samples of entities.

    Rows of one entity are drawn together, since they are alike (cluster bootstrap: Field and Welsh 2007,
    "Bootstrapping clustered data").

    Args:
        metrics: name → metric.
        target: as the metrics take them, of n rows.
        scores: as the metrics take them.
        groups: [n] whose rows belong together, such as the entity's row.
        num_samples: bootstrap samples.
        seed: of the samples; the same seed and groups give the same samples.
    """
    _, group = np.unique(groups, return_inverse=True)
    num_groups = int(group.max()) + 1 if len(group) else 0
    random = np.random.default_rng(seed)
    found = {name: metric(target, scores) for name, metric in metrics.items()}
    samples = {name: np.empty(num_samples) for name in found}
    for sample in range(num_samples):
        draw = np.bincount(random.integers(0, num_groups, num_groups), minlength=num_groups)
        weights = draw[group].astype(np.float64)
        for name, metric in found.items():
            samples[name][sample] = metric(weights)
    return Measured({name: metric(np.ones(len(groups))) for name, metric in found.items()}, samples)


def _interval(value: float, samples: Floats) -> Interval:
    finite = samples[np.isfinite(samples)]
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (value, value)
    return Interval(value, float(low), float(high))
