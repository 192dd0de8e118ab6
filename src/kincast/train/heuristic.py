"""Heuristic: the baselines anyone would try first: one value for all, the last value, the entity's own mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.history import History

Floats = NDArray[np.float64]
Heuristic = Callable[[Labels, History], Floats]
"""(all labels, their history) → scores [n], or [n, classes] for multiclass."""


def global_mean(labels: Labels, history: History) -> Floats:
    """The training labels' mean, or their class shares."""
    return np.broadcast_to(_prior(labels), _shape(labels)).copy()


def global_median(labels: Labels, history: History) -> Floats:
    """The training labels' median, the constant with the least absolute error."""
    return np.full(len(labels.rows), float(np.median(labels.of(0).target)))


def last_value(labels: Labels, history: History) -> Floats:
    """The entity's last known label; the global mean where it has none."""
    if labels.kind is TaskKind.MULTICLASS:
        scores = global_mean(labels, history)
        known = history.count > 0
        scores[known] = np.eye(len(labels.classes))[history.last[known].astype(np.int64)]
        return scores
    return np.where(history.count > 0, history.last, _prior(labels))


def entity_mean(labels: Labels, history: History) -> Floats:
    """The mean of the entity's known labels, or its class shares; the global mean where it has none."""
    if labels.kind is TaskKind.MULTICLASS:
        shares = history.class_counts / np.maximum(history.count, 1)[:, None]
        return np.where(history.count[:, None] > 0, shares, _prior(labels))
    return np.where(history.count > 0, history.mean, _prior(labels))


def _prior(labels: Labels) -> Floats:
    target = labels.of(0).target
    if labels.kind is TaskKind.MULTICLASS:
        return np.bincount(target.astype(np.int64), minlength=len(labels.classes)) / len(target)
    return np.asarray(target.mean())


def _shape(labels: Labels) -> tuple[int, ...]:
    return (len(labels.rows), len(labels.classes)) if labels.kind is TaskKind.MULTICLASS else (len(labels.rows),)


HEURISTICS: dict[TaskKind, dict[str, Heuristic]] = {
    TaskKind.BINARY: {"global mean": global_mean, "last value": last_value, "entity mean": entity_mean},
    TaskKind.MULTICLASS: {"global shares": global_mean, "last value": last_value, "entity shares": entity_mean},
    TaskKind.REGRESSION: {
        "global mean": global_mean,
        "global median": global_median,
        "last value": last_value,
        "entity mean": entity_mean,
    },
}
