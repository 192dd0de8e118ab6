"""Heuristic: the baselines anyone would try first: one value for all, the last value, the entity's own mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kincast.clock import Span
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.history import History, ListHistory

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


def label_heuristics(labels: Labels, history: ListHistory) -> dict[str, Floats]:
    """Baselines of labels: scores [n, classes] for how often each is named at all, lately, and by the entity."""
    assert labels.lists is not None
    own = labels.of(0)
    assert own.lists is not None
    shares = np.bincount(own.lists.items.astype(np.int64), minlength=len(labels.classes)) / max(len(own), 1)
    known = (history.num_known > 0)[:, None]
    small = 1e-3 * shares  # what the entity never had comes in the order of all
    mine = history.counts / np.maximum(history.num_known, 1)[:, None]
    return {
        "global shares": np.broadcast_to(shares, history.last.shape).copy(),
        "last value": np.where(known, history.last + small, shares),
        "entity shares": np.where(known, mine + small, shares),
    }


SEASONS = {"hours": 24, "days": 7, "weeks": 52, "months": 12}
"""Steps of a season, by the unit of a step that is one of it."""


def season_of(step: Span) -> int:
    """Steps after which a forecast's values may come again; 1 where nothing is known of it."""
    return SEASONS.get(step.unit, 1) if step.count == 1 else 1


def forecast_heuristics(labels: Labels, past: NDArray[np.float32], season: int) -> dict[str, Floats]:
    """Baselines of forecasts, [n, steps] each.

    Args:
        labels: of all splits.
        past: [n, lags] values known at each instant, the newest first; at least ``season`` of them.
        season: steps of a season; 1 for none.
    """
    assert labels.lists is not None
    target = labels.lists.as_matrix()
    train = target[labels.split == 0]
    flat = train[~np.isnan(train)]
    steps = target.shape[1]
    known = ~np.isnan(past)
    mean = np.where(known, past, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    mean = np.where(known.any(axis=1), mean, flat.mean())
    newest = np.where(known.any(axis=1), past[np.arange(len(past)), known.argmax(axis=1)], flat.mean())
    found = {
        "global mean": np.full(target.shape, flat.mean()),
        "global median": np.full(target.shape, np.median(flat)),
        "last value": np.repeat(newest[:, None], steps, axis=1).astype(np.float64),
        "entity mean": np.repeat(mean[:, None], steps, axis=1).astype(np.float64),
    }
    if season > 1:
        seasonal = past[:, [season - 1 - step % season for step in range(steps)]].astype(np.float64)
        found["seasonal naive"] = np.where(np.isnan(seasonal), found["last value"], seasonal)
    return found


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
