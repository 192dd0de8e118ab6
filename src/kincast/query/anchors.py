"""Anchors: the instants labels are made at, and which split each belongs to.

The newest complete window is the last test anchor and everything steps back from it. With start dates validation and
test anchors step forward from their start, as in RelBench, and training anchors step back; with ranges each split
steps back from the end of its own. A label is known only when its window has ended, so the windows of a split end
before the first anchor of the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kincast.clock import Span, format_instant
from kincast.errors import DataError
from kincast.project import SplitFamily, SplitSettings
from kincast.query.compile import length_of
from kincast.query.grid import shifted
from kincast.query.task import Task, TaskKind
from kincast.query.tree import aggregates
from kincast.source.base import quote
from kincast.source.tables import Tables

MAX_ANCHORS = 5_000
BY_ANCHOR = frozenset({"approx_date_offset", "date_offset", "time_range"})
"""Families that say the split of a windowed label by its anchor alone."""

_WINDOWED = BY_ANCHOR | {"temporal", "random", "manual"}
_FITTING: dict[TaskKind, frozenset[str]] = {
    TaskKind.STATIC_LINK: frozenset({"random_link", "random"}),
    TaskKind.TEMPORAL_LINK: _WINDOWED - {"random"},
    TaskKind.FORECASTING: frozenset({"date_offset", "time_range"}),
}


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


def split_family(task: Task, split: SplitSettings) -> SplitFamily:
    """How the labels of a task are told apart: as the settings say, or as suits the task.

    Raises:
        DataError: the family does not suit the task.
    """
    timed = task.entity_table.time is not None
    if split.implied is not None:
        fitting = _FITTING.get(task.kind, _WINDOWED if not task.is_static else frozenset({"random", "manual"}))
        if task.is_static and timed:
            fitting |= {"temporal", "time_range"}
        if task.is_static and split.family is None and split.implied not in fitting:
            return _default_family(task)  # counts and dates are about windows; a column has none
        if split.implied not in fitting:
            what = f"a {split.implied} split does not suit {task.kind.words}"
            if task.is_static and not timed:
                what += f" of {task.entity}, whose rows have no time"
            raise DataError(what, where="split", hint=f"use {' or '.join(sorted(fitting))}")
        return split.implied
    return _default_family(task)


def _default_family(task: Task) -> SplitFamily:
    if task.kind is TaskKind.STATIC_LINK:
        return "random_link"
    if task.window is None:
        return "temporal" if task.entity_table.time is not None else "random"
    lead = task.window[0].count != 0
    links = task.kind in (TaskKind.TEMPORAL_LINK, TaskKind.FORECASTING)
    return "date_offset" if lead or links else "approx_date_offset"


def make_anchors(task: Task, tables: Tables, split: SplitSettings) -> Anchors:
    """Lay the anchors of a task over the time range of its fact tables.

    Args:
        task: what is predicted; a static task has no anchors.
        tables: the rows.
        split: steps, numbers, dates and shares.

    Returns:
        Anchors of each split; all of them in ``train`` where the family tells labels apart otherwise.

    Raises:
        DataError: the data do not reach far enough for an anchor in every split.
    """
    family = split_family(task, split)
    if task.window is None:
        return Anchors()
    first, last = time_range(tables, task.fact_tables)
    last = last if split.end_us is None else min(last, split.end_us)
    reach = time_range(tables, history_tables(task))[0] if task.history else first
    plan = _Plan(task, split, first, last, reach)
    if split.validation_start_us is not None and split.test_start_us is not None:
        # RelBench lets training anchors step back to the first time in the whole database.
        plan.first = min(first, time_range(tables, tuple(t.name for t in tables.schema if t.time is not None))[0])
        anchors = plan.forward(split.validation_start_us, split.test_start_us)
    elif split.ranges:
        anchors = plan.within(split.ranges)
    elif family not in BY_ANCHOR:
        anchors = plan.everything()
    elif split.offsets is not None:
        anchors = plan.offset(*split.offsets)
    else:
        anchors = plan.backward(family == "approx_date_offset")
    parts = [("test", anchors.test), ("validation", anchors.validation), ("training", anchors.train)]
    for name, instants in parts if family in BY_ANCHOR else parts[2:]:
        if not instants:
            raise plan.too_short(name)
    return plan.with_history(anchors)


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
    """The range, the steps and the window that anchors are laid out by; ``reach`` is how far back filters can look."""

    task: Task
    split: SplitSettings
    first: int
    last: int
    reach: int

    def __post_init__(self) -> None:
        if self.task.window is None:
            raise RuntimeError("a static task has no anchors")
        self.end = self.task.window[1]
        length = length_of(self.task.window)
        self.step = self.split.step or self.task.step_length or length
        self.eval_step = self.split.eval_step or length
        for what, span in (("step", self.step), ("eval_step", self.eval_step)):
            if span.count <= 0:
                raise DataError(f"{what} must be longer than nothing", hint="such as 30 days")

    @property
    def floor(self) -> int:
        """The earliest anchor needs a step of facts before it, or there is nothing to predict from."""
        return max(shifted(self.first, self.step), self.split.train_start_us or self.first)

    def backward(self, by_share: bool) -> Anchors:
        """From the newest complete window back: so many windows, or as many as the shares of the range ask for."""
        newest = shifted(self.last, -self.end)
        validation_count, test_count = self.split.validation_windows or 1, self.split.test_windows or 1
        if by_share:
            floor = self.floor
            if self.task.history is not None:
                floor = max(floor, shifted(self.reach, self.task.history))
            grid = len(self.back(newest, self.eval_step, MAX_ANCHORS, lambda instant: instant >= floor))
            validation_count, test_count = (max(1, round(share * grid)) for share in self.split.shares[1:])
        test = self.back(newest, self.eval_step, test_count)
        validation = self.back(shifted(test[0], -self.end), self.eval_step, validation_count)
        train, notes = self.training(shifted(validation[0], -self.end), self.floor)
        return Anchors(train, validation, test, notes)

    def offset(self, validation_offset: Span, test_offset: Span) -> Anchors:
        """From the newest complete window back as far as two offsets from it."""
        newest = shifted(self.last, -self.end)
        floors = shifted(newest, validation_offset), shifted(newest, test_offset)
        test = self.back(newest, self.eval_step, MAX_ANCHORS, lambda instant: instant >= floors[1])
        before = shifted(test[0], -self.end)
        validation = self.back(before, self.eval_step, MAX_ANCHORS, lambda instant: instant >= floors[0])
        if not validation:
            return Anchors((), (), test)
        train, notes = self.training(shifted(validation[0], -self.end), self.floor)
        return Anchors(train, validation, test, notes)

    def within(self, ranges: Mapping[str, tuple[int, int]]) -> Anchors:
        """Windows inside of three ranges, each stepping back from the range's end."""
        found: dict[str, tuple[int, ...]] = {}
        for name, (start, end) in ranges.items():
            newest = shifted(min(end, self.last), -self.end)
            step = self.step if name == "train" else self.eval_step
            found[name] = self.back(newest, step, MAX_ANCHORS, _not_before(max(start, self.first)))
        return Anchors(found["train"], found["validation"], found["test"])

    def everything(self) -> Anchors:
        """One grid of anchors for all splits together."""
        train, notes = self.training(shifted(self.last, -self.end), self.floor)
        return Anchors(train, notes=notes)

    def forward(self, validation_start: int, test_start: int) -> Anchors:
        """From the two start dates forward, and back from the first for training."""
        count = self.split.validation_windows or 1
        wanted = [shifted(validation_start, self.eval_step * i) for i in range(count)]
        validation = tuple(t for t in wanted if shifted(t, self.end) <= test_start)
        notes = _left_out("validation", len(validation), count, "would end after the test split starts")
        count = self.split.test_windows or 1
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

    def with_history(self, anchors: Anchors) -> Anchors:
        """Leave out training anchors whose filters would look back further than their facts go."""
        if self.task.history is None:
            return anchors
        floor = shifted(self.reach, self.task.history)
        train = tuple(instant for instant in anchors.train if instant >= floor)
        if not train:
            raise self.too_short("training")
        cut = len(anchors.train) - len(train)
        if not cut:
            return anchors
        windows = "1 training window is" if cut == 1 else f"{cut:,} training windows are"
        note = f"{windows} left out: the filters look back {self.task.history}, before the first fact"
        return Anchors(train, anchors.validation, anchors.test, (*anchors.notes, note))

    def too_short(self, name: str) -> DataError:
        reach = f"{format_instant(self.first)} to {format_instant(self.last)}"
        what = f"no window of {self.end} is left for the {name} split: the facts reach from {reach}"
        back = f" and {self.task.history} of history" if self.task.history else ""
        hint = (
            f"each split needs windows of {self.end}{back}: use a shorter window, fewer windows, or other start dates"
        )
        return DataError(what, where=", ".join(self.task.fact_tables), hint=hint)


def _not_before(floor: int) -> Callable[[int], bool]:
    return lambda instant: instant >= floor


def _left_out(name: str, kept: int, wanted: int, why: str) -> tuple[str, ...]:
    return (f"{wanted - kept} of {wanted} {name} windows are left out: they {why}",) if kept < wanted else ()
