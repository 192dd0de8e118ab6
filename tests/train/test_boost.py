"""The baseline to beat is a fair one."""

from __future__ import annotations

import numpy as np
import pytest

from kincast.model.aggregate import Aggregates
from kincast.model.boost import Trees
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train import boost

RANDOM = np.random.default_rng(0)


def test_rare_classes_do_not_break_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boost, "MAX_ROUNDS", 5)
    n, num_classes = 9_000, 30
    target = np.where(RANDOM.random(n) < 0.4, 1, 0)
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
    noise = Aggregates(("a", "b", "c"), RANDOM.normal(0, 1, (n, 3)).astype(np.float32), ())
    scores = boost.fit_trees(labels, noise, seed=0).score(noise.values)
    test = labels.split == 2
    # Of pure noise nothing can be learnt but the shares, so no row looks like one of a class that hardly ever comes.
    assert scores[test, 2:].max() < 0.1
    assert (scores[test].argmax(axis=1) == target[test]).mean() > (target[test] == 0).mean() - 0.02


def test_one_training_row_is_enough_for_a_baseline() -> None:
    split, target = np.array([0, 1, 2], np.int8), np.array([1.0, 2.0, 3.0])
    labels = Labels("t", TaskKind.REGRESSION, np.arange(3), np.arange(3), target, split, ())
    values = np.arange(3, dtype=np.float32)[:, None]
    trees = boost.fit_trees(labels, Aggregates(("a",), values, ()), seed=0)
    assert trees.score(values).tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(Trees(trees.kind, trees.texts).score(values), trees.score(values))
