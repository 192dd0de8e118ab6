"""The baseline to beat is a fair one, and a blend weighs it by what it is worth."""

from __future__ import annotations

import numpy as np
import pytest

from kincast.model.aggregate import Aggregates
from kincast.model.boost import Trees, blended
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train import boost
from kincast.train.judge import Judge
from kincast.train.metric import metrics_of

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


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION])
def test_what_knows_more_weighs_more(kind: TaskKind) -> None:
    truth = RANDOM.random(2_000)
    if kind is TaskKind.REGRESSION:
        target, good, bad = truth, truth + RANDOM.normal(0, 0.05, 2_000), RANDOM.random(2_000)
    else:
        target = (RANDOM.random(2_000) < truth).astype(np.float64)
        good, bad = truth, RANDOM.uniform(0.3, 0.7, 2_000)
        if kind is TaskKind.MULTICLASS:
            good, bad = np.column_stack([1 - good, good]), np.column_stack([1 - bad, bad])
    weights = boost.fit_weights(kind, target, bad, good, Judge(kind, metrics_of(kind, classes=("no", "yes"))))
    assert weights[0] < 0.3 * weights[1]
    mixed = blended(kind, weights, bad, good)
    assert mixed.shape == good.shape
    assert np.abs(mixed - good).mean() < 0.05
