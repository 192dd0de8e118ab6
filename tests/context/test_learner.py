"""What learns: trees, or a class of the user's in the form of scikit-learn's, held to that form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kincast.context import learner
from kincast.context.learner import Lesson, check_learner, learn, name_of
from kincast.errors import ProjectError
from kincast.model.aggregate import Aggregates
from kincast.query.task import TaskKind

HERE = __name__


class Nearest:
    """The nearest row's class or value; where nothing is known counts as 0."""

    def fit(self, inputs: np.ndarray, target: np.ndarray) -> Nearest:
        assert inputs.dtype == np.float32
        self.inputs, self.target, self.classes_ = np.nan_to_num(inputs), target, np.unique(target)
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        away = ((np.nan_to_num(inputs)[:, None] - self.inputs) ** 2).sum(axis=2)
        return self.target[away.argmin(axis=1)]

    def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
        return (self.predict(inputs)[:, None] == self.classes_).astype(np.float64)


class Valuer:
    """Has no probabilities."""

    fit = predict = Nearest.fit


class Failing(Nearest):
    def fit(self, inputs: np.ndarray, target: np.ndarray) -> Nearest:
        raise ValueError("at most 10 rows\nand more")


class Wide(Nearest):
    def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
        return np.ones((len(inputs), 7))


class Unsure(Nearest):
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.full(len(inputs), np.nan)


not_callable = 3


def lesson(kind: TaskKind, num_columns: int = 6, num: int = 200) -> Lesson:
    random = np.random.default_rng(0)
    values = random.normal(size=(num, num_columns)).astype(np.float32)
    target = {
        TaskKind.BINARY: (values[:, 0] > 0).astype(np.float64),
        TaskKind.MULTICLASS: np.digitize(values[:, 0], [-0.5, 0.5]) + 1.0,  # no row is of class 0
        TaskKind.REGRESSION: values[:, 0] * 10.0,
    }[kind]
    values[::7, 1] = np.nan
    values[:, 2] = 5
    classes = {TaskKind.BINARY: ("false", "true"), TaskKind.MULTICLASS: ("a", "b", "c", "d")}.get(kind, ())
    return Lesson(kind, classes, Aggregates(tuple(map(str, range(num_columns))), values, ()), target, 0)


@pytest.mark.parametrize("of", [None, f"{HERE}:Nearest", Nearest, lambda: Nearest()])
@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION])
def test_it_learns(kind: TaskKind, of: Any) -> None:
    known = lesson(kind)
    scores = learn(known, known.aggregates.values, of)
    if kind is TaskKind.MULTICLASS:
        assert scores.shape == (200, 4)
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
        assert (scores.argmax(axis=1) == known.target).mean() > 0.9
        assert scores[:, 0].max() < 0.1
    elif kind is TaskKind.BINARY:
        assert ((scores > 0.5) == known.target).mean() > 0.9
    else:
        assert np.abs(scores - known.target).mean() < 4  # of 8 by a constant


@pytest.mark.parametrize(
    ("of", "kind", "said"),
    [
        ("nonsense", TaskKind.BINARY, "names no class"),
        ("no.such.package:Class", TaskKind.BINARY, "no.such.package cannot be imported"),
        (f"{HERE}:Nothing", TaskKind.BINARY, "has no Nothing"),
        (f"{HERE}:not_callable", TaskKind.BINARY, "cannot be called"),
        (f"{HERE}:Valuer", TaskKind.MULTICLASS, "has no predict_proba, which multiclass classification needs"),
        (dict, TaskKind.REGRESSION, "has no fit and no predict"),
    ],
)
def test_what_cannot_learn_is_refused_before_anything_is_read(of: Any, kind: TaskKind, said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        check_learner(of, kind)


@pytest.mark.parametrize(
    ("of", "kind", "said"),
    [
        (Failing, TaskKind.BINARY, r"Failing cannot be fitted: ValueError: at most 10 rows\n  hint"),
        (Wide, TaskKind.BINARY, r"answered \(200, 7\), expected \(200, 2\)"),
        (Unsure, TaskKind.REGRESSION, "finite"),
        (lambda: object(), TaskKind.REGRESSION, "has no fit"),
    ],
)
def test_what_answers_something_else_is_said(of: Any, kind: TaskKind, said: str) -> None:
    known = lesson(kind)
    with pytest.raises(ProjectError, match=said):
        learn(known, known.aggregates.values, of)


def test_a_class_of_the_users_gets_the_columns_that_tell_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "MAX_OWN_COLUMNS", 2)
    seen = []

    class Looking(Nearest):
        def fit(self, inputs: np.ndarray, target: np.ndarray) -> Nearest:
            seen.append(inputs)
            return super().fit(inputs, target)

    known = lesson(TaskKind.REGRESSION, num_columns=30)
    learn(known, known.aggregates.values, Looking)
    assert seen[0].shape == (200, 2)
    np.testing.assert_array_equal(seen[0][:, 0], known.aggregates.values[:, 0])
    monkeypatch.setattr(learner, "MAX_OWN_COLUMNS", 100)
    learn(known, known.aggregates.values, Looking)
    assert seen[1].shape == (200, 29)  # without the one that is always 5


def test_names() -> None:
    assert [name_of(of) for of in (None, "a.b:C", Nearest)] == ["LightGBM", "a.b:C", "Nearest"]
