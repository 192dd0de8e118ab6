"""Models are weighed by what they are worth on rows that none of them knows, and all are as they will be served."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kincast.clock import DAY_US
from kincast.model.aggregate import Aggregates, AggregateSpec
from kincast.model.blend import Blend, blended
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train import blend, boost
from kincast.train.judge import Judge
from kincast.train.metric import metrics_of

KINDS = [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION]
SPEC = AggregateSpec("t", ())


def judge_of(kind: TaskKind) -> Judge:
    return Judge(kind, metrics_of(kind, classes=("no", "yes")))


def make_labels(kind: TaskKind, seed: int = 0) -> tuple[Labels, Aggregates]:
    """200 rows at each of 14 instants: 8 of training, 4 of validation, 2 of test; the first column tells the target."""
    random = np.random.default_rng(seed)
    days = np.repeat(np.arange(14), 200)
    values = random.normal(0, 1, (len(days), 3)).astype(np.float32)
    target = values[:, 0] + random.normal(0, 1, len(days))
    if kind is not TaskKind.REGRESSION:
        target = (target > 0).astype(np.float64)
    split = np.select([days < 8, days < 12], [0, 1], 2).astype(np.int8)
    classes = ("no", "yes") if kind is TaskKind.MULTICLASS else ()
    labels = Labels("t", kind, np.arange(len(days)), days * DAY_US, target.astype(np.float64), split, classes)
    return labels, Aggregates(("a", "b", "c"), values, ())


@pytest.mark.parametrize("kind", KINDS)
def test_what_knows_more_weighs_more(kind: TaskKind) -> None:
    random = np.random.default_rng(0)
    truth = random.random(2_000)
    if kind is TaskKind.REGRESSION:
        target, good, bad = truth, truth + random.normal(0, 0.05, 2_000), random.random((2, 2_000))
    else:
        target = (random.random(2_000) < truth).astype(np.float64)
        good, bad = truth, random.uniform(0.3, 0.7, (2, 2_000))
        if kind is TaskKind.MULTICLASS:
            good, bad = np.stack([1 - good, good], axis=-1), np.stack([1 - bad, bad], axis=-1)
    members = [bad[0], good, bad[1]]
    weights = blend.fit_weights(kind, target, members, judge_of(kind), np.repeat(np.arange(20), 100))
    assert max(weights[0], weights[2]) < 0.3 * weights[1]
    mixed = blended(kind, weights, members)
    assert mixed.shape == good.shape
    assert np.abs(mixed - good).mean() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_blend_is_what_was_weighed_and_comes_back_from_json(kind: TaskKind) -> None:
    labels, aggregates = make_labels(kind)
    beside = blend.fit_beside(labels, aggregates, judge_of(kind), seed=0)
    held, test = labels.split == 1, labels.split == 2
    network = beside.scores["LightGBM"][held]
    found = blend.fit_blend(labels, network, beside, SPEC, judge_of(kind))
    again = Blend.from_dict(kind, json.loads(json.dumps(found.as_dict())))
    members = [beside.scores["LightGBM"][test], *(beside.scores[name][test] for name in ("LightGBM", "linear model"))]
    expected = found.of_members(members)
    np.testing.assert_array_equal(again.scores(members[0], aggregates.values[test]), expected)
    one = again.scores(members[0][:1], aggregates.values[test][:1])
    np.testing.assert_allclose(one, expected[:1], rtol=1e-12)  # a row alone is scored as among others
    value = judge_of(kind).value(labels.target[test], expected)
    assert value < 0.85 if kind is TaskKind.REGRESSION else value > 0.7


def test_weights_are_fitted_on_the_later_half_by_models_that_know_the_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, aggregates = make_labels(TaskKind.BINARY)
    known: list[np.ndarray] = []
    refit = boost.refit_trees

    def spy(trees, labels, aggregates, chosen, *, seed):  # type: ignore[no-untyped-def]
        known.append(np.unique(labels.as_of_us[chosen] // DAY_US))
        return refit(trees, labels, aggregates, chosen, seed=seed)

    monkeypatch.setattr(blend, "refit_trees", spy)
    beside = blend.fit_beside(labels, aggregates, judge_of(TaskKind.BINARY), seed=0)
    np.testing.assert_array_equal(np.unique(labels.as_of_us[beside.weighed] // DAY_US), [10, 11])
    np.testing.assert_array_equal(known[0], np.arange(10))
    np.testing.assert_array_equal(known[1], np.arange(12))
    assert [len(scores) for scores in beside.later] == [400, 400]


def test_a_network_that_learnt_from_validation_labels_too_is_weighed_on_all_of_them() -> None:
    labels, aggregates = make_labels(TaskKind.BINARY)
    beside = blend.fit_beside(labels, aggregates, judge_of(TaskKind.BINARY), seed=0, ahead=False)
    np.testing.assert_array_equal(beside.weighed, labels.split == 1)
    np.testing.assert_array_equal(beside.later[0], beside.scores["LightGBM"][labels.split == 1])


def test_where_validation_has_one_instant_all_of_it_is_weighed() -> None:
    labels, aggregates = make_labels(TaskKind.BINARY)
    one = labels.where((labels.split != 1) | (labels.as_of_us == 8 * DAY_US))
    kept = np.isin(labels.rows, one.rows)
    few = Aggregates(aggregates.names, aggregates.values[kept], ())
    beside = blend.fit_beside(one, few, judge_of(TaskKind.BINARY), seed=0)
    np.testing.assert_array_equal(beside.weighed, one.split == 1)
    np.testing.assert_array_equal(beside.later[0], beside.scores["LightGBM"][one.split == 1])
