"""Past labels count only once their windows are over, and not before the freeze."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kincast.clock import DAY_US, Span
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.heuristic import HEURISTICS, entity_mean, last_value
from kincast.train.history import label_history


def make_labels(as_of_days: list[int], target: list[float], rows: list[int], freeze: int | None = None) -> Labels:
    return Labels(
        entity="customers",
        kind=TaskKind.BINARY,
        rows=np.array(rows, np.int64),
        as_of_us=np.array(as_of_days, np.int64) * DAY_US,
        target=np.array(target),
        split=np.zeros(len(rows), np.int8),
        classes=("false", "true"),
        freeze_us=None if freeze is None else freeze * DAY_US,
    )


def task(days: int) -> Any:
    return SimpleNamespace(window=(Span(0), Span(days)))


def test_a_label_is_known_from_the_end_of_its_window_on() -> None:
    labels = make_labels([0, 10, 29, 30, 60], [1, 0, 1, 0, 1], [5] * 5)
    history = label_history(task(30), labels)
    assert history.count.tolist() == [0, 0, 0, 1, 4]
    assert np.isnan(history.last[:3]).all()
    assert history.last[3:].tolist() == [1.0, 0.0]
    assert history.mean[4] == pytest.approx(2 / 4)
    assert history.class_counts[4].tolist() == [2.0, 2.0]


def test_entities_do_not_share_labels_and_order_does_not_matter() -> None:
    labels = make_labels([60, 0, 60, 0], [0, 1, 0, 0], [2, 1, 1, 2])
    history = label_history(task(30), labels)
    assert history.last[0] == 0.0
    assert history.last[2] == 1.0
    assert history.count.tolist() == [1, 0, 1, 0]


def test_frozen_seeds_know_nothing_later_than_the_freeze() -> None:
    labels = make_labels([0, 40, 100], [1, 0, 1], [3] * 3, freeze=50)
    assert label_history(task(30), labels).count.tolist() == [0, 1, 1]


def test_heuristics_fall_back_to_the_prior() -> None:
    labels = make_labels([0, 30], [1, 0], [1, 1])
    history = label_history(task(30), labels)
    assert last_value(labels, history).tolist() == [0.5, 1.0]
    assert entity_mean(labels, history).tolist() == [0.5, 1.0]
    assert set(HEURISTICS) == {TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION}
