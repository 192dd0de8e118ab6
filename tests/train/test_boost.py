"""The baseline to beat is a fair one."""

from __future__ import annotations

import numpy as np
import pytest

from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train import boost
from kincast.train.aggregate import Aggregates
from kincast.train.history import History


def test_rare_classes_do_not_break_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boost, "MAX_ROUNDS", 5)
    random = np.random.default_rng(0)
    n, num_classes = 9_000, 30
    target = np.where(random.random(n) < 0.4, 1, 0)
    target[: 2 * (num_classes - 2)] = np.repeat(np.arange(2, num_classes), 2)  # two training rows of each rare class
    labels = Labels(
        "t",
        TaskKind.MULTICLASS,
        np.arange(n),
        np.arange(n),
        target.astype(np.float64),
        np.repeat([0, 1, 2], [7_000, 1_000, 1_000]).astype(np.int8),
        tuple(map(str, range(num_classes))),
    )
    nothing = np.full(n, np.nan)
    history = History(nothing, nothing, np.zeros(n, np.int64), np.zeros((n, num_classes)))
    noise = Aggregates(("a", "b", "c"), random.normal(0, 1, (n, 3)), ())
    scores = boost.boosted_scores(labels, noise, history, seed=0)
    test = labels.split == 2
    # Of pure noise nothing can be learnt but the shares, so no row looks like one of a class that hardly ever comes.
    assert scores[test, 2:].max() < 0.1
    assert (scores[test].argmax(axis=1) == target[test]).mean() > (target[test] == 0).mean() - 0.02


def test_one_training_row_is_enough_for_a_baseline() -> None:
    labels = Labels(
        "t",
        TaskKind.REGRESSION,
        np.arange(3),
        np.arange(3),
        np.array([1.0, 2.0, 3.0]),
        np.array([0, 1, 2], np.int8),
        (),
    )
    nothing = np.full(3, np.nan)
    history = History(nothing, nothing, np.zeros(3, np.int64), np.zeros((3, 0)))
    scores = boost.boosted_scores(labels, Aggregates(("a",), np.arange(3.0)[:, None], ()), history, seed=0)
    assert scores.tolist() == [1.0, 1.0, 1.0]
