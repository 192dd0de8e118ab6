"""Learner: what is learnt on the fly: trees of few rounds, or a class of the user's in the form of scikit-learn's."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.errors import ProjectError
from kincast.model.aggregate import Aggregates
from kincast.query.task import TaskKind
from kincast.train.boost import quick_trees

TREES = "LightGBM"
MAX_CLASSES = 50
"""Classes that trees learn, each with a model of its own; with more the entity's own shares answer."""
MAX_OWN_COLUMNS = 500
"""Columns that a class of the user's is given: those that say most of the target by themselves."""

Floats = NDArray[np.float64]
Learner = str | Callable[[], Any]
"""``package.module:Class``, or what makes a fresh object with ``fit`` and ``predict`` or ``predict_proba``."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learnt from.

    Attributes:
        kind: binary, multiclass or regression.
        classes: names of the classes.
        aggregates: [n] features.
        target: [n] class codes or values.
        seed: of random draws.
    """

    kind: TaskKind
    classes: tuple[str, ...]
    aggregates: Aggregates
    target: Floats
    seed: int

    def where(self, chosen: NDArray[np.bool_]) -> Lesson:
        """The same of some rows."""
        part = replace(self.aggregates, values=self.aggregates.values[chosen])
        return replace(self, aggregates=part, target=self.target[chosen])


def learn(lesson: Lesson, asked: NDArray[np.float32], learner: Learner | None) -> Floats:
    """Scores of rows by what is learnt: [m], or [m, classes] of several classes.

    Args:
        lesson: what is learnt from.
        asked: [m, columns] features of the rows.
        learner: the user's; None for trees.

    Raises:
        ProjectError: the user's class cannot be imported, made, fitted or asked, or answers something else.
    """
    if learner is not None:
        return _own(lesson, asked, learner)
    kind, num_classes = lesson.kind, len(lesson.classes)
    return quick_trees(kind, num_classes, lesson.target, lesson.aggregates, seed=lesson.seed).score(asked)


def name_of(learner: Learner | None) -> str:
    """What the learner is called."""
    if learner is None:
        return TREES
    return learner if isinstance(learner, str) else getattr(learner, "__name__", type(learner).__name__)


def check_learner(learner: Learner | None, kind: TaskKind) -> None:
    """Refuse a learner that does not have what the kind of task needs, before anything is read.

    Raises:
        ProjectError: it cannot be imported, or has no ``fit``, or not what it is asked by.
    """
    if learner is None:
        return
    found = _imported(learner) if isinstance(learner, str) else learner
    if not callable(found):
        what = f"{name_of(learner)} cannot be called to make a learner"
        raise ProjectError(what, where="learner", hint="name a class, or give a function that returns a fresh object")
    if inspect.isclass(found):  # what a function makes is seen once it is made
        _check_methods(found, name_of(learner), kind)


def _own(lesson: Lesson, asked: NDArray[np.float32], learner: Learner) -> Floats:
    """The answer of the user's class, held to its form."""
    name = name_of(learner)
    columns = _telling(lesson)
    inputs, rows = lesson.aggregates.values[:, columns], asked[:, columns]
    is_value = lesson.kind is TaskKind.REGRESSION
    target = lesson.target if is_value else lesson.target.astype(np.int64)
    make = _imported(learner) if isinstance(learner, str) else learner
    step = "made"
    try:
        model = make()
        _check_methods(model, name, lesson.kind)
        step = "fitted"
        model.fit(inputs, target)
        step = "asked"
        said = np.asarray(model.predict(rows) if is_value else model.predict_proba(rows), np.float64)
    except ProjectError:
        raise
    except Exception as error:
        hint = "it is given float32 with NaN where there is nothing; --context and docs/how-to/ask.md say how much"
        said_by_it = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ProjectError(f"{name} cannot be {step}: {said_by_it}", where="learner", hint=hint) from error
    codes = np.asarray(getattr(model, "classes_", np.unique(target)), np.int64)
    wanted = (len(rows),) if is_value else (len(rows), len(codes))
    if is_value and said.shape == (len(rows), 1):
        said = said[:, 0]
    if said.shape != wanted or not np.isfinite(said).all():
        what = f"{name} answered {said.shape}, expected {wanted} finite numbers"
        raise ProjectError(what, where="learner", hint="one value for each row, or a probability for each class")
    if is_value:
        return said
    shares = np.zeros((len(rows), len(lesson.classes)))
    shares[:, codes] = said
    return shares[:, 1] if lesson.kind is TaskKind.BINARY else shares


def _check_methods(found: Any, name: str, kind: TaskKind) -> None:
    wanted = ("fit", "predict" if kind is TaskKind.REGRESSION else "predict_proba")
    missing = [method for method in wanted if not callable(getattr(found, method, None))]
    if missing:
        what = f"{name} has no {' and no '.join(missing)}, which {kind.words} needs"
        raise ProjectError(what, where="learner", hint="give a class in the form of scikit-learn's")


def _imported(name: str) -> Any:
    """The class of that name."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise ProjectError(f"'{name}' names no class", where="learner", hint="write package.module:Class")
    module, _, wanted = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        hint = f"install {module.split('.')[0]}, or put the folder it lies in on PYTHONPATH"
        raise ProjectError(f"{module} cannot be imported: {error}", where="learner", hint=hint) from None
    if not hasattr(found, wanted):
        raise ProjectError(f"{module} has no {wanted}", where="learner")
    return getattr(found, wanted)


def _telling(lesson: Lesson) -> NDArray[np.int64]:
    """Columns that a class of the user's is given: not constant, and those that go with the target most, in order."""
    values = lesson.aggregates.values
    known = ~np.isnan(values)
    filled = np.where(known, values, np.nanmean(np.where(known.any(axis=0), values, 0.0), axis=0)).astype(np.float64)
    spread = filled.std(axis=0)
    target = lesson.target[:, None]
    if lesson.kind is TaskKind.MULTICLASS:
        target = np.eye(len(lesson.classes))[lesson.target.astype(np.int64)]
    centred = target - target.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        both = np.abs((filled - filled.mean(axis=0)).T @ centred) / (
            spread[:, None] * centred.std(axis=0) * len(values)
        )
    strength = np.where(np.isnan(both), 0.0, both).max(axis=1)
    varies = np.flatnonzero((spread > 0) | (known.any(axis=0) & ~known.all(axis=0)))
    best = varies[np.argsort(-strength[varies], kind="stable")[:MAX_OWN_COLUMNS]]
    return np.sort(best)
