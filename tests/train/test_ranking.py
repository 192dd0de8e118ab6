"""Metrics of ranked lists and of labels equal slow, obvious references."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from kincast.model.ranked import NOBODY, Ranked, rank
from kincast.query.encode import Lists
from kincast.query.task import TaskKind
from kincast.train import metric
from kincast.train.ranking import ranking_metrics

RANDOM = np.random.default_rng(3)
NUM_ITEMS = 30


def _example() -> tuple[Lists, Ranked, list[set[int]]]:
    true = [set(RANDOM.choice(NUM_ITEMS, RANDOM.integers(1, 8), replace=False).tolist()) for _ in range(25)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in true])])
    lists = Lists(offsets, np.array([item for row in true for item in sorted(row)], np.int64))
    scores = RANDOM.normal(0, 1, (25, NUM_ITEMS))
    scores[4, 3:] = -np.inf  # a row with three candidates only
    return lists, rank(scores, 12), true


def _slow(name: str, ranked: list[int], true: set[int], k: int) -> float:
    top = ranked[:k]
    hits = [item in true for item in top]
    found = sum(hits)
    if name == "precision":
        return found / k
    if name == "recall":
        return found / len(true)
    if name == "f1":
        p, r = found / k, found / len(true)
        return 2 * p * r / (p + r) if found else 0.0
    if name == "hit_rate":
        return float(found > 0)
    if name == "mrr":
        return next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0)
    if name == "map":
        return sum(sum(hits[: i + 1]) / (i + 1) for i in range(len(top)) if hits[i]) / min(k, len(true))
    best = sum(1 / math.log2(place + 2) for place in range(min(k, len(true))))
    return sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit) / best


@pytest.mark.parametrize("k", [1, 5, 10, 100])
@pytest.mark.parametrize("name", ["map", "precision", "recall", "f1", "ndcg", "mrr", "hit_rate"])
def test_means_over_rows(name: str, k: int) -> None:
    lists, ranked, true = _example()
    rows = [[item for item in row if item != NOBODY] for row in ranked.items.tolist()]
    slow = np.array([_slow(name, row, want, k) for row, want in zip(rows, true, strict=True)])
    weights = RANDOM.integers(0, 3, len(true)).astype(float)
    weighted = ranking_metrics(5)[f"{name}@{k}"](lists, ranked)
    assert weighted(weights) == pytest.approx((weights * slow).sum() / weights.sum())


def test_coverage_and_diversity() -> None:
    lists, ranked, _ = _example()
    rows = [{item for item in row if item != NOBODY} for row in ranked.first(10).items.tolist()]
    found, ones = ranking_metrics(10), np.ones(len(rows))
    assert found["coverage@10"](lists, ranked)(ones) == len(set().union(*rows)) / NUM_ITEMS
    overlap = np.mean([len(one & other) / 10 for one, other in combinations(rows, 2)])
    assert found["diversity@10"](lists, ranked)(ones) == pytest.approx(1 - overlap)


def test_ranks_are_exact_and_equal_scores_keep_their_order() -> None:
    scores = RANDOM.integers(0, 4, (50, 20)).astype(float)
    for row, items in zip(scores, rank(scores, 7).items, strict=True):
        assert items.tolist() == sorted(range(20), key=lambda item: (-row[item], item))[:7]
    assert rank(np.full((1, 3), -np.inf), 2).items.tolist() == [[NOBODY, NOBODY]]


def test_labels_are_averaged_over_labels_and_over_pairs() -> None:
    target = (RANDOM.random((60, 3)) < 0.4).astype(float)
    scores = RANDOM.random((60, 3))
    target[:, 2] = 0  # never said: no average precision of its own
    found = metric.metrics_of(TaskKind.MULTILABEL, classes=("a", "b", "c"))
    ones = np.ones(60)
    each = [found[f"ap of {name}"](target, scores)(ones) for name in "abc"]
    assert np.isnan(each[2])
    assert found["ap_macro"](target, scores)(ones) == pytest.approx(np.mean(each[:2]))
    whole = metric.auroc(target.ravel(), scores.ravel())(np.ones(180))
    assert found["auroc_micro"](target, scores)(ones) == pytest.approx(whole)


def test_area_under_the_lines_between_precision_and_recall() -> None:
    target, scores = np.array([1.0, 0.0, 1.0, 1.0]), np.array([4.0, 3.0, 2.0, 2.0])
    # Points (recall, precision): (0, 1), (1/3, 1), (1/3, 1/2), (1, 3/4).
    area = 1 / 3 + (2 / 3) * (1 / 2 + 3 / 4) / 2
    assert metric.precision_recall_area(target, scores)(np.ones(4)) == pytest.approx(area)


def test_forecasts_are_judged_step_by_step_where_a_step_has_a_value() -> None:
    target = np.array([[1.0, 5.0], [np.nan, 3.0]])
    scores = np.array([[2.0, 5.0], [9.0, 0.0]])
    found = metric.metrics_of(TaskKind.FORECASTING, steps=2)
    ones = np.ones(2)
    assert found["mae"](target, scores)(ones) == pytest.approx((1 + 0 + 3) / 3)
    assert found["mae step 1"](target, scores)(ones) == 1.0
    assert found["mse step 2"](target, scores)(ones) == pytest.approx(4.5)
    assert found["mae"](target, scores)(np.array([0.0, 2.0])) == 3.0
    assert next(iter(found)) == "mae"
