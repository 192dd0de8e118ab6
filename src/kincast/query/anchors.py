"""Anchors: the instants labels are made at, and which split each belongs to.

Without start dates the newest complete window is the last test anchor and everything steps back from it. With them
validation and test anchors step forward from their start, as in RelBench, and training anchors step back. A label is
known only when its window has ended, so the windows of a split end before the first anchor of the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kincast.clock import Span, format_instant
from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.compile import length_of
from kincast.query.statement import shifted
from kincast.query.task import Task
from kincast.query.tree import aggregates
from kincast.source.base import quote
from kincast.source.tables import Tables

MAX_ANCHORS = 5_000


@dataclass(frozen=True, slots=True)
class Anchors:
    """Instants of the label windows, in microseconds, ascending; all empty for a static target.

    Attributes:
        train: of the training split.
        validation: of the validation split.
        test: of the test split.
        notes: what was left out, for people.
    """

    train: tuple[int, ...] = ()
    validation: tuple[int, ...] = ()
    test: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[int, ...]:
        """All anchors, ascending."""
        return (*self.train, *self.validation, *self.test)


def make_anchors(task: Task, tables: Tables, split: SplitSettings) -> Anchors:
    """Lay the anchors of a task over the time range of its fact tables.

    Args:
        task: what is predicted; a static task has no anchors.
        tables: the rows.
        split: steps, numbers and start dates.

    Raises:
        DataError: the data do not reach far enough for an anchor in every split.
    """
    if task.window is None:
        return Anchors()
    first, last = time_range(tables, task.fact_tables)
    plan = _Plan(task, split, first, last)
    if split.validation_start_us is not None and split.test_start_us is not None:
        # RelBench lets training anchors step back to the first time in the whole database.
        plan.first = min(first, time_range(tables, tuple(t.name for t in tables.schema if t.time is not None))[0])
        anchors = plan.forward(split.validation_start_us, split.test_start_us)
    else:
        anchors = plan.backward()
    for name, instants in (("test", anchors.test), ("validation", anchors.validation), ("training", anchors.train)):
        if not instants:
            raise plan.too_short(name)
    history = time_range(tables, history_tables(task))[0] if task.history else plan.first
    return plan.with_history(anchors, history)


def time_range(tables: Tables, names: Sequence[str]) -> tuple[int, int]:
    """First and last row time over some tables, in microseconds.

    Raises:
        DataError: none of them has a row with a time.
    """
    parts = [f"SELECT min(_time) AS lo, max(_time) AS hi FROM {quote(name)}" for name in names]
    low, high = None, None
    if parts:
        statement = f"SELECT epoch_us(min(lo)), epoch_us(max(hi)) FROM ({' UNION ALL '.join(parts)})"
        with tables.connect() as connection:
            low, high = connection.execute(statement).fetchall()[0]
    if low is None or high is None:
        hint = "look at 'kincast check', and at the times in the schema card"
        raise DataError("there are no rows with a time", where=", ".join(names) or "every table", hint=hint)
    return int(low), int(high)


def history_tables(task: Task) -> tuple[str, ...]:
    """Tables that filters look back into, through a window that has a start."""
    parts = (task.query.target, task.query.where, task.query.assuming)
    found = [node for part in parts for node in aggregates(part) if node.window and (node.window.start or 0) < 0]
    return tuple(dict.fromkeys(node.fact for node in found))


@dataclass
class _Plan:
    """The range, the steps and the window that anchors are laid out by."""

    task: Task
    split: SplitSettings
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.task.window is None:
            raise RuntimeError("a static task has no anchors")
        self.end = self.task.window[1]
        length = length_of(self.task.window)
        self.step = self.split.step or length
        self.eval_step = self.split.eval_step or length
        for what, span in (("step", self.step), ("eval_step", self.eval_step)):
            if span.count <= 0:
                raise DataError(f"{what} must be longer than nothing", hint="such as 30 days")

    def backward(self) -> Anchors:
        """From the newest complete window back."""
        newest = shifted(self.last, -self.end)
        test = self.back(newest, self.eval_step, self.split.test_windows)
        validation = self.back(shifted(test[0], -self.end), self.eval_step, self.split.validation_windows)
        # The earliest anchor needs a step of facts before it, or there is nothing to predict from.
        floor = max(shifted(self.first, self.step), self.split.train_start_us or self.first)
        train, notes = self.training(shifted(validation[0], -self.end), floor)
        return Anchors(train, validation, test, notes)

    def forward(self, validation_start: int, test_start: int) -> Anchors:
        """From the two start dates forward, and back from the first for training."""
        count = self.split.validation_windows
        wanted = [shifted(validation_start, self.eval_step * i) for i in range(count)]
        validation = tuple(t for t in wanted if shifted(t, self.end) <= test_start)
        notes = _left_out("validation", len(validation), count, "would end after the test split starts")
        count = self.split.test_windows
        wanted = [shifted(test_start, self.eval_step * i) for i in range(count)]
        test = tuple(t for t in wanted if shifted(t, self.end) <= self.last)
        notes += _left_out("test", len(test), count, "would end after the data")
        floor = max(self.first, self.split.train_start_us or self.first)
        train, more = self.training(shifted(validation_start, -self.end), floor)
        return Anchors(train, validation, test, (*notes, *more))

    def training(self, newest: int, floor: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
        anchors = self.back(newest, self.step, MAX_ANCHORS + 1, lambda instant: instant >= floor)
        if len(anchors) <= MAX_ANCHORS:
            return anchors, ()
        note = f"only the newest {MAX_ANCHORS:,} training windows are used; set a longer step to use older ones"
        return anchors[-MAX_ANCHORS:], (note,)

    def back(self, newest: int, step: Span, count: int, keep: Callable[[int], bool] | None = None) -> tuple[int, ...]:
        """Up to ``count`` anchors stepping back from the newest, ascending."""
        found: list[int] = []
        while len(found) < count:
            instant = shifted(newest, -(step * len(found)))
            if keep is not None and not keep(instant):
                break
            found.append(instant)
        return tuple(reversed(found))

    def with_history(self, anchors: Anchors, first: int) -> Anchors:
        """Leave out training anchors whose filters would look back further than their facts go."""
        if self.task.history is None:
            return anchors
        floor = shifted(first, self.task.history)
        train = tuple(instant for instant in anchors.train if instant >= floor)
        if not train:
            raise self.too_short("training")
        cut = len(anchors.train) - len(train)
        if not cut:
            return anchors
        note = (
            f"{cut} training windows are left out: their filters look back {self.task.history}, before the first fact"
        )
        return Anchors(train, anchors.validation, anchors.test, (*anchors.notes, note))

    def too_short(self, name: str) -> DataError:
        reach = f"{format_instant(self.first)} to {format_instant(self.last)}"
        what = f"no window of {self.end} is left for the {name} split: the facts reach from {reach}"
        back = f" and {self.task.history} of history" if self.task.history else ""
        hint = (
            f"each split needs windows of {self.end}{back}: use a shorter window, fewer windows, or other start dates"
        )
        return DataError(what, where=", ".join(self.task.fact_tables), hint=hint)


def _left_out(name: str, kept: int, wanted: int, why: str) -> tuple[str, ...]:
    return (f"{wanted - kept} of {wanted} {name} windows are left out: they {why}",) if kept < wanted else ()
