"""Infer: from known labels to scores of the rows asked for, with what the newest known labels say of their quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import format_instant
from kincast.context.known import choose_context, hold_out
from kincast.context.learner import MAX_CLASSES, Learner, Lesson, learn, name_of
from kincast.context.room import open_features_of
from kincast.graph.snapshot import Snapshot
from kincast.model.aggregate import Aggregator, fit_aggregates
from kincast.model.history import LabelHistory, fit_history, history_of
from kincast.progress import Progress, silent
from kincast.project import FeatureSettings
from kincast.query.compile import length_of
from kincast.query.labels import Labels
from kincast.query.task import Task, TaskKind
from kincast.registry.version import Interval
from kincast.sample.batch import Seeds
from kincast.train.compare import entities_of
from kincast.train.heuristic import HEURISTICS
from kincast.train.history import label_history
from kincast.train.metric import METRICS, Measured, is_error, measure

MAX_ROWS = 10_000
LEAST_ROWS = 100
"""Rows that are learnt from at least; with fewer a rule answers."""
LEAST_JUDGED = 100
"""Rows held out from which on a rule that was better there, beyond noise, answers instead."""
RULES: dict[TaskKind, tuple[str, str]] = {
    TaskKind.BINARY: ("global mean", "entity mean"),
    TaskKind.MULTICLASS: ("global shares", "entity shares"),
    TaskKind.REGRESSION: ("global median", "entity mean"),
}
"""Kind → the constant and the entity's own mean, by their names among the baselines."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rule = Callable[[Bools], Floats]
"""Which part of the context its constant is taken from [num] → scores of the context, and behind them of the asked."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a question is answered from.

    Attributes:
        snapshot: the rows.
        task: the checked query.
        features: folder of encoded features.
        max_rows: labels that are learnt from at most.
        learner: the user's; None for trees.
        strict: hide facts at the very instant of a prediction.
        seed: of all draws.
        num_threads: that work beside each other; the answer is the same for any number.
        settings: how columns become numbers.
    """

    snapshot: Snapshot
    task: Task
    features: Path
    max_rows: int = MAX_ROWS
    learner: Learner | None = None
    strict: bool = False
    seed: int = 0
    num_threads: int = 1
    settings: FeatureSettings | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """How an answer came about.

    Attributes:
        method: what answered: the learner, or the name of a rule.
        why: why it was a rule; empty where the learner answered.
        num_rows: labels learnt from.
        num_instants: their different instants.
        first_us: the earliest of these.
        last_us: the latest.
        metric: name of the one the estimate is of.
        held_out: method → its metric on the newest labels, by what was known before them, with its 95 % interval over
            entities; empty without any. NaN where the metric says nothing, such as of one class.
        num_held_out: how many labels those are.
    """

    method: str
    why: str
    num_rows: int
    num_instants: int
    first_us: int
    last_us: int
    metric: str
    held_out: dict[str, Interval]
    num_held_out: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {name: plain_interval(interval) for name, interval in self.held_out.items()}
        return {
            "method": self.method,
            "why": self.why,
            "context_rows": self.num_rows,
            "context_instants": self.num_instants,
            "context_from": format_instant(self.first_us),
            "context_until": format_instant(self.last_us),
            "held_out": {"rows": self.num_held_out, "metric": self.metric, "values": values},
        }


def plain_interval(interval: Interval) -> dict[str, float | None]:
    """A value with the ends of its interval as JSON has them."""
    found = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: None if np.isnan(value) else value for name, value in found.items()}


@dataclass(frozen=True, slots=True)
class _Part:
    """The context of a question among all labels.

    Attributes:
        chosen: [n] labels that are learnt from.
        asked: [n] rows that are scored.
        labels: [num] those that are learnt from.
        older: [num] which of them are known before the newest.
        held: [num] the newest of them.
    """

    chosen: Bools
    asked: Bools
    labels: Labels
    older: Bools
    held: Bools


def infer(ground: Ground, labels: Labels, progress: Progress = silent) -> tuple[Floats, Found]:
    """Scores of the labels of split 2, learnt from those of split 0.

    Of the others, targets are facts that are known from the end of their windows on, as for anything else.

    Args:
        ground: rows, task and settings.
        labels: of one value each; NaN where the target is not known.
        progress: told what is done.

    Returns:
        [m] or [m, classes] scores, row for row with ``labels.of(2)``, and how they came about.

    Raises:
        ProjectError: the user's learner does not do what it must.
    """
    chosen = choose_context(labels, ground.max_rows, ground.seed)
    context = labels.where(chosen)
    part = _Part(chosen, labels.split == 2, context, *hold_out(ground.task, context.as_of_us, ground.seed))
    num, why = len(context), _too_little(ground, context)
    rules = _rules(ground, labels, part)
    lesson, values = (None, None) if why else _lesson(ground, labels, part, progress)
    progress("learn from the context", 0, 1)
    beside = ground.num_threads > 1 and ground.learner is None  # nobody knows whether the user's may be
    with ThreadPoolExecutor(1) as pool:
        learnt = None if lesson is None or values is None else pool.submit(learn, lesson, values, ground.learner)
        if learnt is not None and not beside:
            learnt.result()
        measured = _judged(ground, part, rules, lesson)
        scores = None if learnt is None else learnt.result()
    progress("learn from the context", 1, 1)
    metric = next(iter(METRICS[ground.task.kind]))
    method = RULES[ground.task.kind][1] if lesson is None else name_of(ground.learner)
    better = _better(measured, method, metric) if part.held.sum() >= LEAST_JUDGED else None
    if lesson is not None and ground.learner is None and better is not None:
        method, why = better, f"better beyond noise on the {part.held.sum():,} newest labels, held out"
    if scores is None or method in rules:
        scores = rules[method](np.ones(num, bool))[num:]
    instants = np.unique(context.as_of_us)
    ends = int(instants[0]), int(instants[-1])
    held_out = {name: found.intervals()[metric] for name, found in measured.items()}
    return scores, Found(method, why, num, len(instants), *ends, metric, held_out, int(part.held.sum()))


def _lesson(
    ground: Ground, labels: Labels, part: _Part, progress: Progress
) -> tuple[Lesson | None, NDArray[np.float32] | None]:
    """What is learnt from, and the features of the rows asked for."""
    context, asked = part.labels, labels.where(part.asked)
    # What is held out is not looked at by a statistic either.
    before = context.where(part.older) if part.older.any() else context
    until_us = int(before.visible_us.max())
    snapshot, task, entity = ground.snapshot, ground.task, labels.entity
    features = open_features_of(snapshot, task, until_us - ground.strict, ground.features, ground.settings, progress)
    spec = fit_aggregates(snapshot, task.entity, until_us, task.hidden)
    aggregator = Aggregator(snapshot, features, spec, _history(task, labels, before), strict=ground.strict)
    columns = [(own.rows, own.as_of_us, own.visible_us) for own in (context, asked)]
    seeds = Seeds(entity, *(np.concatenate(column) for column in zip(*columns, strict=True)))
    found = aggregator.of(seeds, ground.num_threads, progress)
    learnt, values = found.values[: len(context)], found.values[len(context) :]
    aggregates = replace(found, values=learnt)
    return Lesson(task.kind, labels.classes, aggregates, context.target, ground.seed), values


def _judged(ground: Ground, part: _Part, rules: Mapping[str, Rule], lesson: Lesson | None) -> dict[str, Measured]:
    """Method → its metric on the newest labels, by what was known before them; empty where none are held out."""
    num, target = len(part.labels), part.labels.target[part.held]
    if not len(target):
        return {}
    metrics = dict(list(METRICS[ground.task.kind].items())[:1])
    found = {name: rule(part.older)[:num][part.held] for name, rule in rules.items()}
    if lesson is not None and len(np.unique(lesson.target[part.older])) > 1:
        older = lesson.where(part.older)
        found[name_of(ground.learner)] = learn(older, lesson.aggregates.values[part.held], ground.learner)
    groups = entities_of(ground.snapshot, part.labels)[part.held]
    return {name: measure(metrics, target, scores, groups) for name, scores in found.items()}


def _too_little(ground: Ground, context: Labels) -> str:
    """Why nothing can be learnt from a context; empty where it can."""
    if len(context) < LEAST_ROWS:
        return f"{len(context)} labels are too few to learn from"
    if len(np.unique(context.target)) < 2:
        return "all labels are the same"
    if ground.learner is None and len(context.classes) > MAX_CLASSES:
        return f"{len(context.classes):,} classes are more than trees learn"
    return ""


def _better(measured: Mapping[str, Measured], method: str, metric: str) -> str | None:
    """The rule that is better than the learner beyond the noise of the rows, the best of them; None where none is."""
    if method not in measured:
        return None
    sign = -1.0 if is_error(metric) else 1.0
    leads = {name: found.margins(measured[method])[metric] for name, found in measured.items() if name != method}
    ahead = {n: sign * lead.value for n, lead in leads.items() if min(sign * lead.low, sign * lead.high) > 0}
    return max(ahead, key=lambda name: ahead[name], default=None)


def _rules(ground: Ground, labels: Labels, part: _Part) -> dict[str, Rule]:
    """The constant and the entity's own mean, by their names."""
    entities, both = entities_of(ground.snapshot, labels), part.chosen | part.asked
    own = np.isin(entities, entities[both])
    history = label_history(ground.task, replace(labels, rows=entities).where(own))
    theirs, known = labels.where(own), part.chosen[own]
    order = np.concatenate([np.flatnonzero(known), np.flatnonzero(part.asked[own])])

    def rule(name: str) -> Rule:
        def scores(learnt: Bools) -> Floats:
            split = np.full(len(theirs), 2, np.int8)
            split[known] = np.where(learnt, 0, 1)
            return np.asarray(HEURISTICS[theirs.kind][name](replace(theirs, split=split), history)[order])

        return scores

    return {name: rule(name) for name in RULES[labels.kind]}


def _history(task: Task, labels: Labels, before: Labels) -> LabelHistory | None:
    """Labels as facts, each known from the end of its window on; None for a column: nobody says since when it is known.

    Args:
        task: what is predicted.
        labels: all of them.
        before: those whose values are looked at by statistics.
    """
    spec = None if task.window is None else fit_history(task, before, length_of(task.window), 1)
    if spec is None:
        return None
    told = labels.where(~np.isnan(labels.target))
    targets = pa.array(told.target)
    if told.classes:
        targets = pa.array(told.classes).take(pa.array(told.target.astype(np.int64)))
    return history_of(task, spec, (told.rows, told.as_of_us, targets), int(labels.visible_us.max()), "float32")
