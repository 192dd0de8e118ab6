"""Metrics equal their definitions, with ties, weights and absent classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kincast.query.task import TaskKind
from kincast.train import metric

OF_CLASSES, OF_VALUES = metric.METRICS[TaskKind.BINARY], metric.METRICS[TaskKind.REGRESSION]
pairs = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40)


@settings(max_examples=150, deadline=None)
@given(pairs)
def test_auroc_counts_pairs(rows: list[tuple[bool, int]]) -> None:
    target, scores = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    value = metric.auroc(target, scores)(np.ones(len(rows)))
    won = [(p > n) + 0.5 * (p == n) for p in scores[target == 1] for n in scores[target == 0]]
    if not won:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(np.mean(won))


@settings(max_examples=100, deadline=None)
@given(pairs, st.integers(0, 99))
def test_weights_count_as_repeated_rows(rows: list[tuple[bool, int]], seed: int) -> None:
    target, scores = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    weights = np.random.default_rng(seed).integers(0, 4, len(rows))
    again = np.repeat(np.arange(len(rows)), weights)
    for function in (metric.auroc, metric.average_precision):
        value = function(target, scores)(weights.astype(float))
        assert value == pytest.approx(function(target[again], scores[again])(np.ones(len(again))), nan_ok=True)


def test_average_precision_of_a_known_ranking() -> None:
    target = np.array([1.0, 0.0, 1.0, 0.0])
    assert metric.average_precision(target, np.array([4.0, 3.0, 2.0, 1.0]))(np.ones(4)) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert metric.average_precision(target, np.ones(4))(np.ones(4)) == pytest.approx(0.5)


def test_errors_of_values() -> None:
    target, scores, ones = np.array([0.0, 2.0]), np.array([1.0, 5.0]), np.ones(2)
    assert metric.mae(target, scores)(ones) == 2.0
    assert metric.rmse(target, scores)(ones) == pytest.approx(np.sqrt(5))
    assert metric.r2(target, scores)(ones) == pytest.approx(1 - 10 / 2)
    assert np.isnan(metric.r2(np.ones(2), scores)(ones))


def test_f1_and_accuracy() -> None:
    target, scores, ones = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.2, 0.7, 0.1]), np.ones(4)
    assert metric.accuracy(target, scores)(ones) == 0.5
    assert metric.f1(target, scores)(ones) == pytest.approx(0.5)
    classes = np.eye(3)[[0, 1, 1]]
    assert metric.accuracy(np.array([0.0, 1.0, 2.0]), classes)(np.ones(3)) == pytest.approx(2 / 3)


def test_intervals_hold_the_value_and_widen_for_few_entities() -> None:
    random = np.random.default_rng(0)
    target = (random.random(600) < 0.5).astype(float)
    scores = target + random.normal(0, 1, 600)
    many = metric.measure(OF_CLASSES, target, scores, np.arange(600)).intervals()["auroc"]
    few = metric.measure(OF_CLASSES, target, scores, np.arange(600) % 8).intervals()["auroc"]
    assert many.low < many.value < many.high
    assert few.value == many.value
    assert metric.measure(OF_CLASSES, target, scores, np.arange(600)).intervals()["auroc"] == many


def test_several_classes_and_weights_in_f1() -> None:
    target, classes = np.array([0.0, 0.0, 1.0, 2.0]), np.eye(4)[[0, 1, 1, 3]]
    # Class 0: 1 hit of 1 said and 2 true; class 1: 1 hit of 2 said and 1 true; class 2: never said; 3: never true.
    assert metric.f1(target, classes)(np.ones(4)) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metric.f1(target, classes)(np.array([1.0, 0.0, 1.0, 0.0])) == pytest.approx((1 + 1 + 0) / 3)


def test_rows_are_sorted_once_for_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_sizes: list[int] = []

    ranks = metric._dense_ranks

    def counting(values: NDArray[np.float64]) -> NDArray[np.int64]:
        sorted_sizes.append(len(values))
        return ranks(values)

    monkeypatch.setattr(metric, "_dense_ranks", counting)
    metric.measure(
        metric.METRICS[TaskKind.BINARY], (np.arange(60) % 2).astype(np.float64), np.arange(60.0), np.arange(60)
    )
    assert sorted_sizes == [60, 60]  # AUROC and average precision, whatever the number of samples


def test_margins_are_paired() -> None:
    random = np.random.default_rng(1)
    target = random.normal(0, 10, 400)
    scores = target + random.normal(0, 5, 400)
    one = metric.measure(OF_VALUES, target, scores, np.arange(400))
    other = metric.measure(
        metric.METRICS[TaskKind.REGRESSION], target, scores + np.sign(scores - target) * 0.1, np.arange(400)
    )
    margin = one.margins(other)["mae"]
    assert margin.value == pytest.approx(-0.1)
    assert margin.high < 0  # though the two intervals overlap almost wholly
    assert one.intervals()["mae"].high > other.intervals()["mae"].low
    assert one.margins(one)["mae"].value == 0.0


def test_better_depends_on_the_metric() -> None:
    assert metric.is_better("auroc", 0.8, 0.7)
    assert metric.is_better("mae", 0.7, 0.8)
    assert metric.is_better("mae", 1.0, float("nan"))
    assert not metric.is_better("auroc", float("nan"), 0.1)
