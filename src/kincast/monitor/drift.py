"""Drift: what changed between the snapshot a model was trained on and a newer one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kincast.clock import DAY_US, format_instant
from kincast.feature import convert
from kincast.feature.spec import SUMMARY
from kincast.graph.snapshot import Snapshot, SnapshotLink
from kincast.monitor.statistic import (
    Distance,
    category_distance,
    count_categories,
    ks_distance,
    psi,
    rate_ratio,
    share_distance,
    unseen_share,
    wasserstein_in_sd,
)
from kincast.report import Check, Report, Verdict
from kincast.schema import Column, Schema, SemanticType, Table

ALPHA = 0.05
"""Probability of any false alarm in a whole report; it is divided among the tests."""
WARN_DISTANCE = 0.05
"""A distance that is larger for certain warns; 0.05 is a shift of an eighth of a standard deviation."""
FAIL_DISTANCE = 0.25
"""A distance that is larger for certain fails; 0.25 is a shift of two thirds of a standard deviation."""
WARN_UNSEEN = 0.01
WARN_RATIO, FAIL_RATIO = 1.5, 4.0
MIN_REFERENCE_ROWS = 1000
MAX_COMPARED_ROWS = 100_000

Floats = npt.NDArray[np.float64]
_CATEGORIES = (SemanticType.CATEGORICAL, SemanticType.BOOLEAN)
_UNCOMPARED = (SemanticType.ID, SemanticType.IGNORED)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows ``start <= row < end`` of a table."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def drift(
    old: Snapshot,
    new: Snapshot,
    predictions_old: Mapping[str, Floats] | None = None,
    predictions_new: Mapping[str, Floats] | None = None,
) -> Report:
    """Compare a newer snapshot with the one a model was trained on.

    Which rows are compared: of a table with a time, those that arrived since the old snapshot ended, with those of
    the stretch of the same length before (its last 1,000 rows at least), so that seasons and old history count
    little; of a timeless table, all rows with all rows, which share most rows, so that a difference shows late
    rather than falsely. When the new snapshot does not reach further than the old one, all rows with all rows. At
    most 100,000 rows, evenly spaced, are read of each side.

    When it alarms: a distance between 0 and 1 is measured for each column, link and prediction, and its lower
    confidence bound is held against 0.05 (warn) and 0.25 (fail). So small samples need large differences, and large
    samples do not alarm at differences that are certain but do not matter. The confidence is shared by all tests of
    the report: without drift, one report in twenty at most has a false alarm, as far as rows are independent.

    Args:
        old: the training snapshot.
        new: a newer one.
        predictions_old: name → [n] scores on the old snapshot, such as ``.class_0``, or without a name where there is
            one; None leaves predictions out.
        predictions_new: name → [m] scores on the new one.
    """
    comparison = _Comparison(old, new)
    checks = [*_schema_checks(old.schema, new.schema)]
    for table in old.schema:
        if new.schema.has_table(table.name):
            checks += comparison.rows(table.name)
            checks += comparison.columns(table)
    checks += comparison.links()
    if predictions_old is not None and predictions_new is not None:
        checks += comparison.predictions(predictions_old, predictions_new)
    return Report(f"drift from snapshot {old.id} to {new.id}", tuple(checks))


class _Comparison:
    def __init__(self, old: Snapshot, new: Snapshot) -> None:
        self.old, self.new = old, new
        self.since_us, self.until_us = old.max_time_us, new.max_time_us
        self.length_us = self.until_us - self.since_us
        compared = sum(c.type not in _UNCOMPARED for table in old.schema for c in table.columns)
        self.alpha = ALPHA / (3 * compared + 2 * len(old.links) + len(old.tables) + 1)

    def rows(self, name: str) -> Iterator[Check]:
        """Checks of the number of rows: history unchanged, and as many new ones as before."""
        before, after = self.old.tables[name], self.new.tables[name]
        if before.time_us is None or after.time_us is None:
            message = f"{before.num_rows:,} rows before, {after.num_rows:,} now"
            lost = before.num_rows > 0 and after.num_rows < before.num_rows / FAIL_RATIO
            yield Check("drift.rows", name, Verdict.FAIL if lost else Verdict.OK, message, after.num_rows)
            return
        known = int(np.searchsorted(after.time_us, self.since_us, side="right"))
        changed = abs(known - before.num_rows) / max(before.num_rows, 1)
        message = f"of the {before.num_rows:,} rows there were, {known:,} are there now"
        verdict = Verdict.OK if changed == 0 else Verdict.NOTE if changed <= 0.01 else Verdict.WARN
        yield Check("drift.history", name, verdict, message, known, before.num_rows)
        if self.length_us > 0:
            start = int(np.searchsorted(before.time_us, self.since_us - self.length_us, side="right"))
            yield self._arrivals(name, before.num_rows - start, after.num_rows - known)

    def _arrivals(self, name: str, before: int, after: int) -> Check:
        ratio, certain = rate_ratio(before, after, self.alpha)
        factor = max(certain, 1 / certain)
        verdict = Verdict.FAIL if factor > FAIL_RATIO else Verdict.WARN if factor > WARN_RATIO else Verdict.OK
        times = self.new.tables[name].time_us
        newest = f", the newest of {format_instant(int(times[-1]))}" if times is not None and len(times) else ""
        days = self.length_us / DAY_US
        message = f"{after:,} rows in {days:.1f} days{newest}; {before:,} in the same time before"
        return Check("drift.rows", name, verdict, message, round(ratio, 4), WARN_RATIO)

    def columns(self, table: Table) -> Iterator[Check]:
        """Checks of every column that a model may read."""
        others = self.new.schema.table(table.name)
        shared = [c for c in table.columns if c.type not in _UNCOMPARED and others.has_column(c.name)]
        own_time = table.time.column if table.time else None
        stretches = self._stretches(table.name)
        if not shared or not all(len(stretch) for stretch in stretches):
            if shared:
                sizes = f"{len(stretches[0]):,} before, {len(stretches[1]):,} since"
                yield Check("drift.column", table.name, Verdict.NOTE, f"no rows to compare: {sizes}")
            return
        sides = []
        for snapshot, stretch in zip((self.old, self.new), stretches, strict=True):
            rows = _evenly(stretch)
            time_us = snapshot.tables[table.name].time_us
            values = snapshot.columns(table.name, [column.name for column in shared]).take(pa.array(rows))
            sides.append((values, None if time_us is None else np.asarray(time_us[rows])))
        for column in shared:
            where = f"{table.name}.{column.name}"
            values = [side.column(column.name).combine_chunks() for side, _ in sides]
            counts = [(int(side.null_count), len(side)) for side in values]
            yield self._nulls("drift.null_share", where, counts[0], counts[1])
            if column.name != own_time:
                times = [time for _, time in sides]
                yield from self._values(where, column, [side.drop_null() for side in _timed(column, values, times)])

    def _values(self, where: str, column: Column, values: list[Any]) -> Iterator[Check]:
        if not all(len(side) for side in values):
            return
        if column.type in _CATEGORIES:
            yield from self._categories(where, [side.to_pylist() for side in values])
        elif column.type is SemanticType.MULTICATEGORICAL:
            yield from self._categories(where, [_items(side, column) for side in values])
        else:
            numbers = [_numbers(side, column) for side in values]
            if all(len(side) for side in numbers):
                yield self._numeric("drift.column", where, numbers[0], numbers[1])

    def _numeric(self, name: str, where: str, old: Floats, new: Floats) -> Check:
        distance = ks_distance(old, new, self.alpha)
        told = f"KS distance {distance.value:.3f}, at least {distance.low:.3f}"
        moved = wasserstein_in_sd(old, new)
        message = f"{told}; moved by {moved:.2f} sd, PSI {psi(old, new):.3f}; {_sizes(len(old), len(new))}"
        return _judged(name, where, distance, message)

    def _categories(self, where: str, values: list[list[Any]]) -> Iterator[Check]:
        names, old, new = count_categories(*values)
        if not len(values[0]) or not len(values[1]):
            return
        distance = category_distance(old, new, self.alpha)
        told = f"Cramér's V {distance.value:.3f}, at least {distance.low:.3f}"
        yield _judged("drift.column", where, distance, f"{told}; {_sizes(len(values[0]), len(values[1]))}")
        unseen = unseen_share(old, new, self.alpha)
        if unseen.value > 0:
            samples = tuple(str(names[code]) for code in np.flatnonzero(old == 0)[:3])
            verdict = Verdict.WARN if unseen.low > WARN_UNSEEN else Verdict.NOTE
            message = f"{unseen.value:.1%} of the new rows have a category that was not there before"
            value = round(unseen.value, 6)
            yield Check("drift.new_categories", where, verdict, message, value, WARN_UNSEEN, samples)

    def _nulls(self, name: str, where: str, old: tuple[int, int], new: tuple[int, int]) -> Check:
        distance = share_distance(old, new, self.alpha)
        message = f"{old[0] / old[1]:.1%} before, {new[0] / new[1]:.1%} now; {_sizes(old[1], new[1])}"
        return _judged(name, where, distance, message)

    def links(self) -> Iterator[Check]:
        """Checks of every link: rows without a target, and how many rows refer to each target row."""
        others = {link.link.name: link for link in self.new.links}
        for link in self.old.links:
            other = others.get(link.link.name)
            stretches = self._stretches(link.link.table)
            if other is None or not all(len(stretch) for stretch in stretches):
                continue
            sides = list(zip((link, other), stretches, strict=True))
            missing = [(int((side.forward[s.start : s.end] < 0).sum()), len(s)) for side, s in sides]
            yield self._nulls("drift.missing_links", link.link.name, missing[0], missing[1])
            degrees = [self._degrees(snapshot, side) for snapshot, side in ((self.old, link), (self.new, other))]
            if all(len(side) for side in degrees):
                yield self._numeric("drift.degree", link.link.name, degrees[0], degrees[1])

    def predictions(self, old: Mapping[str, Floats], new: Mapping[str, Floats]) -> Iterator[Check]:
        """Checks of the predictions, one for each number that is watched."""
        for name in old:
            if name in new and len(old[name]) and len(new[name]):
                yield self._numeric("drift.predictions", f"predictions{name}", old[name], new[name])

    def _degrees(self, snapshot: Snapshot, link: SnapshotLink) -> Floats:
        """Rows that came in the stretch, per target row that was there when it began."""
        table, target = snapshot.tables[link.link.table], snapshot.tables[link.link.target]
        end_us = self.since_us if snapshot is self.old else self.until_us
        start_us = end_us - self.length_us
        rows, targets = _Stretch(0, table.num_rows), target.num_rows
        if self.length_us > 0 and table.time_us is not None:
            start, end = np.searchsorted(table.time_us, [start_us, end_us], side="right")
            rows = _Stretch(int(start), int(end))
            if target.time_us is not None:
                targets = int(np.searchsorted(target.time_us, start_us, side="right"))
        found = np.asarray(link.forward[rows.start : rows.end], np.int64)
        counts = np.bincount(found[(found >= 0) & (found < targets)], minlength=targets)
        return counts[_evenly(_Stretch(0, targets))].astype(np.float64)

    def _stretches(self, name: str) -> tuple[_Stretch, _Stretch]:
        """Rows of the table to compare, in the old snapshot and in the new one."""
        before, after = self.old.tables[name], self.new.tables[name]
        if before.time_us is None or after.time_us is None or self.length_us <= 0:
            return _Stretch(0, before.num_rows), _Stretch(0, after.num_rows)
        start = int(np.searchsorted(before.time_us, self.since_us - self.length_us, side="right"))
        start = max(0, min(start, before.num_rows - MIN_REFERENCE_ROWS))
        known = int(np.searchsorted(after.time_us, self.since_us, side="right"))
        return _Stretch(start, before.num_rows), _Stretch(known, after.num_rows)


def _schema_checks(old: Schema, new: Schema) -> Iterator[Check]:
    def names(schema: Schema) -> set[str]:
        return {f"{table.name}.{column.name}" for table in schema for column in table.columns}

    for name in sorted(names(old) - names(new)):
        yield Check("drift.schema", name, Verdict.FAIL, "the column is no longer there")
    for name in sorted(names(new) - names(old)):
        yield Check("drift.schema", name, Verdict.NOTE, "the column is new; the model does not know it")


def _judged(name: str, where: str, distance: Distance, message: str) -> Check:
    verdict = Verdict.OK
    if distance.low > 0:
        verdict = Verdict.NOTE
    if distance.low > WARN_DISTANCE:
        verdict = Verdict.FAIL if distance.low > FAIL_DISTANCE else Verdict.WARN
    return Check(name, where, verdict, message, round(distance.value, 6), WARN_DISTANCE)


def _sizes(old: int, new: int) -> str:
    return f"{old:,} and {new:,} rows"


def _evenly(stretch: _Stretch) -> npt.NDArray[np.int64]:
    size = min(len(stretch), MAX_COMPARED_ROWS)
    return stretch.start + np.arange(size, dtype=np.int64) * len(stretch) // max(size, 1)


def _timed(column: Column, values: list[Any], times: list[npt.NDArray[np.int64] | None]) -> list[Any]:
    # An instant is compared by its distance from its row's own time; instants themselves always move on.
    if column.type is not SemanticType.TIMESTAMP:
        return values
    found = []
    for side, time_us in zip(values, times, strict=True):
        if time_us is None:
            return [pa.array([], pa.float64())] * 2
        instants = pc.cast(pc.cast(side, pa.timestamp("us"), safe=False), pa.int64())
        found.append(pc.divide(pc.cast(pc.subtract(instants, pa.array(time_us)), pa.float64()), float(DAY_US)))
    return found


def _numbers(values: Any, column: Column) -> Floats:
    if column.type in (SemanticType.VECTOR, SemanticType.SEQUENCE):
        mean = convert.summaries(values)[:, SUMMARY.index("mean")]
        return mean[np.isfinite(mean)]
    if column.type is SemanticType.TEXT:
        values = pc.utf8_length(pc.cast(values, pa.string()))
    numbers = np.asarray(pc.cast(values, pa.float64(), safe=False), np.float64)
    return numbers[np.isfinite(numbers)]


def _items(values: Any, column: Column) -> list[Any]:
    if column.separator is not None:
        values = pc.split_pattern(values, column.separator)
    items = pc.list_flatten(values).drop_null()
    return [item.strip() if isinstance(item, str) else item for item in items.to_pylist()]
