"""A linear model of places: what a place is, and that what was trained is the least of its loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kincast.model.aggregate import Aggregates
from kincast.model.linear import Linear, places
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train import linear
from kincast.train.judge import Judge
from kincast.train.metric import metrics_of

NAN = float("nan")


def test_places_are_between_knots_in_the_middle_of_equal_ones_and_at_the_ends_beyond() -> None:
    knots = np.array([[0.0, 1.0, 3.0], [2.0, 2.0, 5.0], [NAN, NAN, NAN]])
    values = np.array([[0.0, 2.0, 1.0], [2.0, 5.0, 1.0], [-9.0, 9.0, 1.0], [NAN, 3.5, NAN]], np.float32)
    expected = [[-0.5, -0.25, 0.0], [0.25, 0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.25, 0.0]]
    np.testing.assert_allclose(places(values, knots), expected)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=9), st.floats(-1e6, 1e6, width=32))
def test_places_rise_with_the_number_and_never_leave_the_range(knots: list[float], value: float) -> None:
    ordered = np.array([sorted(knots)])
    values = np.array(sorted([*knots, value]), np.float32)[:, None]
    found = places(values, ordered)[:, 0]
    assert (np.diff(found) >= 0).all()
    assert (np.abs(found) <= 0.5).all()


def make(kind: TaskKind, num: int = 600) -> tuple[Labels, Aggregates]:
    random = np.random.default_rng(1)
    values = np.exp(random.normal(0, 3, (num, 4))).astype(np.float32)  # of the kind of amounts: long tails
    values[::7, 1] = NAN
    rank = values[:, 0].argsort().argsort() / num
    target = rank + random.normal(0, 0.1, num)
    if kind is not TaskKind.REGRESSION:
        target = np.digitize(target, [1 / 3, 2 / 3]) if kind is TaskKind.MULTICLASS else target > 0.5
    split = np.repeat([0, 1, 2], num // 3).astype(np.int8)
    classes = ("a", "b", "c") if kind is TaskKind.MULTICLASS else ()
    labels = Labels("t", kind, np.arange(num), np.arange(num), target.astype(np.float64), split, classes)
    return labels, Aggregates(("a", "b", "c", "d"), values, (3,))


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION])
def test_it_learns_what_depends_on_ranks(kind: TaskKind) -> None:
    labels, aggregates = make(kind)
    judge = Judge(kind, metrics_of(kind, classes=("a", "b", "c")))
    model, penalty = linear.fit_linear(labels, aggregates, judge, seed=0)
    test = labels.split == 2
    value = judge.value(labels.target[test], model.score(aggregates.values[test]))
    chance = {TaskKind.BINARY: 0.5, TaskKind.MULTICLASS: 1 / 3, TaskKind.REGRESSION: 0.25}[kind]
    assert value < chance / 2 if kind is TaskKind.REGRESSION else value > chance + 0.3
    assert penalty in linear.PENALTIES
    assert not model.weights[3].any()  # a code has no order, so it has no weight
    same = linear.refit_linear(penalty, labels, aggregates, labels.split == 0, seed=0)
    np.testing.assert_allclose(same.score(aggregates.values), model.score(aggregates.values), atol=2e-3)


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION])
def test_the_slope_is_that_of_the_loss(kind: TaskKind) -> None:
    random = np.random.default_rng(2)
    outputs = random.normal(0, 1, (5, 3 if kind is TaskKind.MULTICLASS else 1))
    target = random.integers(0, 2, 5).astype(np.float64)
    _, slope = linear._loss(kind, outputs, target)
    for place in np.ndindex(outputs.shape):
        step = np.zeros_like(outputs)
        step[place] = 1e-5
        above, below = (linear._loss(kind, outputs + sign * step, target)[0] for sign in (1, -1))
        assert (above - below) / 2e-5 * len(target) == pytest.approx(slope[place], abs=1e-4)


def test_one_row_and_columns_without_a_value_are_enough() -> None:
    split, target = np.array([0, 1, 2], np.int8), np.array([1.0, 2.0, 3.0])
    labels = Labels("t", TaskKind.REGRESSION, np.arange(3), np.arange(3), target, split)
    values = np.full((3, 2), NAN, np.float32)
    model, _ = linear.fit_linear(
        labels, Aggregates(("a", "b"), values, ()), Judge(labels.kind, metrics_of(labels.kind)), seed=0
    )
    np.testing.assert_allclose(model.score(values), 1.0, atol=1e-6)
    again = Linear.from_dict(model.kind, model.as_dict())
    np.testing.assert_array_equal(again.score(values), model.score(values))
