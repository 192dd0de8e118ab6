"""Live: a snapshot and the changes since, as one immutable graph that is read like a snapshot; made in O(changes).

Live rows are numbered from the base's number of rows on, by time and key among themselves. A base row that was changed
is dead; its new version is a live row, to which the base rows that refer to it still belong. ``place`` is the number
of base rows before a live row, so base row ``b`` comes before live row ``d`` exactly when ``b < place[d]``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import Span, add, parse_instant
from kincast.errors import DataError
from kincast.graph.csr import INT32_ROWS
from kincast.graph.judge import NO_TIME_US
from kincast.graph.key import KeyIndex
from kincast.graph.order import RowOrder
from kincast.graph.snapshot import SnapshotLink
from kincast.graph.state import PRESENT, State
from kincast.schema import Link, Table
from kincast.source.change import Int64s

_FIRST_US, _LAST_US = parse_instant("0001-01-01"), parse_instant("9999-12-31 23:59:59.999999")


class Joined:
    """The rows of an array of the base and, behind them, those of a live one; neither is copied.

    Args:
        base: [n, ...].
        live: [m, ...].
        index: [k] int64 place in ``live`` of each live row; their order when None.
    """

    def __init__(self, base: NDArray[Any], live: NDArray[Any], index: Int64s | None = None) -> None:
        self.base, self.live, self._index = base, live, index
        num_live = len(live) if index is None else len(index)
        self.shape: tuple[int, ...] = (len(base) + num_live, *base.shape[1:])
        self.dtype = base.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int64s) -> NDArray[Any]:
        rows = np.asarray(rows)
        is_live = rows >= len(self.base)
        if not is_live.any():
            return np.asarray(self.base[rows])
        values = np.empty((*rows.shape, *self.shape[1:]), self.dtype)
        values[~is_live] = self.base[rows[~is_live]]
        place = rows[is_live] - len(self.base)
        values[is_live] = self.live[place if self._index is None else self._index[place]]
        return values


@dataclass(frozen=True, slots=True)
class LiveTable:
    """The rows of one table.

    Attributes:
        name: of the table.
        num_base: rows of the base.
        num_rows: and live rows; dead ones count.
        time_us, end_us: by row, as in ``SnapshotTable``; None without.
        live_time_us: [m] int64 times of the live rows, ascending; zeros for a timeless table.
        place: [m] int64 base rows before each live row.
        arrival: [m] int64 the arrival that each live row is.
        origin: [m] int64 base row of which each live row is a new version; -1 for none.
        dead: [num_base] bool, or empty when no row is dead.
        dead_rows: [k] int64 dead base rows, ascending.
        moved_to: [k] int64 row that is the new version of each; -1 where it is gone.
    """

    name: str
    num_base: int
    num_rows: int
    time_us: Joined | None
    end_us: Joined | None
    live_time_us: Int64s
    place: Int64s
    arrival: Int64s
    origin: Int64s
    dead: NDArray[np.bool_]
    dead_rows: Int64s
    moved_to: Int64s

    @property
    def num_live(self) -> int:
        """Rows that are not in the base, or in another version."""
        return self.num_rows - self.num_base


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Lists of rows for the few targets that have any: those of ``targets[i]`` are ``rows[offsets[i]:offsets[i + 1]]``.

    Attributes:
        targets: [k] int64 ascending.
        offsets: [k + 1] int64.
        rows: [edges] int64.
    """

    targets: Int64s
    offsets: Int64s
    rows: Int64s


@dataclass(frozen=True, slots=True)
class LiveLink:
    """One link in both directions.

    Attributes:
        link: the foreign key.
        base: of the base.
        live_forward: [live rows of link.table] int64 row of link.target; -1 for none.
        patched_rows: [p] int64 base rows, ascending, whose foreign key named no row when the base was built.
        patched_to: [p] int64 the row it names now.
        extra: target row → rows that refer to it and are not in the base's list: live ones, and patched ones of the
            base; in the order of all rows.
        extra_place: [edges] int64 base rows before each of them.
        lost: base target row → dead base rows in its list, ascending.
    """

    link: Link
    base: SnapshotLink
    live_forward: Int64s
    patched_rows: Int64s
    patched_to: Int64s
    extra: Neighbours
    extra_place: Int64s
    lost: Neighbours


class LiveSnapshot:
    """A snapshot and the changes up to a record of the log; safe to share between threads, never changes.

    Attributes:
        base: the snapshot.
        id: the base's id and the record.
        record: last record of the log that is in it.
        schema: tables and links.
        tables: name → rows and times.
        links: in the order of ``schema.links``.
        max_time_us: latest time of all rows; 0 when no row has a time.
    """

    def __init__(
        self,
        state: State,
        record: int,
        tables: Mapping[str, LiveTable],
        links: tuple[LiveLink, ...],
    ) -> None:
        self.base, self.schema = state.base, state.schema
        self.record = record
        self.id = f"{state.base.id}+{record}"
        self.tables, self.links = tables, links
        self._state = state
        self._live_keys: dict[str, tuple[pa.Table, KeyIndex]] = {}
        self._lock = threading.Lock()
        self.max_time_us = max((self.latest_us(name) for name in tables), default=0)

    def __repr__(self) -> str:
        return f"LiveSnapshot({self.id})"

    def latest_us(self, table: str) -> int:
        """Latest time of a table's rows; 0 without rows or time."""
        found = self.tables[table]
        base_us = self.base.tables[table].time_us
        if base_us is None:
            return 0
        last = found.num_base - 1
        if len(found.dead):
            last = -1 if found.dead.all() else last - int(np.argmin(found.dead[::-1]))
        times = [int(base_us[last])] if last >= 0 else []
        return max([*times, *found.live_time_us[-1:].tolist()], default=0)

    def rows_of(self, table: str, keys: Sequence[Any]) -> Int64s:
        """Rows of the user's keys, as ``Snapshot.rows_of``."""
        found = self.base.rows_of(table, keys)
        here = self.tables[table]
        if len(here.dead):
            known = np.flatnonzero(found >= 0)
            dead = known[here.dead[found[known]]]
            found[dead] = -1
        missing = np.flatnonzero(found < 0)
        if len(missing) and here.num_live:
            rows = self._keys(table)[1].rows_of([keys[i] for i in missing.tolist()])
            found[missing] = np.where(rows >= 0, rows + here.num_base, -1)
        return found

    def versions_at(self, table: str, rows: Int64s, instants_us: Int64s) -> Int64s:
        """The rows themselves: tables of versions cannot be live."""
        return rows

    def keys_of(self, table: str, rows: Int64s) -> pa.Table:
        """Key columns of those rows, in their order, as ``Snapshot.keys_of``."""
        rows = np.asarray(rows, np.int64)
        here = self.tables[table]
        is_live = rows >= here.num_base
        if not is_live.any():
            return self.base.keys_of(table, rows)
        if rows.min() < 0 or rows.max() >= here.num_rows:
            raise DataError(f"there is no such row among {here.num_rows:,}", where=table)
        columns = self.base.key_columns(table)
        live = self._keys(table)[0].cast(columns.schema)
        return pa.concat_tables([columns, live]).take(pa.array(rows))

    def columns(self, table: str, names: Sequence[str], live_rows: Int64s) -> pa.Table:
        """Those columns of live rows (counted from 0), typed as the base's."""
        rows = self._state.tables[table].rows(self.tables[table].arrival[live_rows])
        return rows.select(list(names))

    def _keys(self, table: str) -> tuple[pa.Table, KeyIndex]:
        """Key columns of the live rows, and where to find them."""
        with self._lock:
            if table not in self._live_keys:
                key = self.schema.table(table).key
                columns = self.columns(table, key, np.arange(self.tables[table].num_live))
                self._live_keys[table] = (columns, KeyIndex(table, columns))
            return self._live_keys[table]


class ViewMaker:
    """Makes views of a state; keeps what stays the same between them.

    Args:
        state: kept up to date by whoever calls ``make``.
    """

    def __init__(self, state: State) -> None:
        self._state, self._base = state, state.base
        self._orders = {name: RowOrder(state.base, table) for name, table in state.tables.items()}
        self._dead: dict[str, NDArray[np.bool_]] = {}

    def make(self, record: int) -> LiveSnapshot:
        """The graph as it is now.

        Args:
            record: last record of the log that is in the state.
        """
        tables: dict[str, LiveTable] = {}
        live_rows: dict[str, Int64s] = {}  # of each slot: the row that it is, -1 for none
        for table in self._state.schema.in_time_order():
            parent = self._state.schema.time_link(table)
            if parent is not None:
                self._lift(table, parent, tables)
            tables[table.name], live_rows[table.name] = self._table(table, tables, live_rows)
        links = tuple(self._link(index, tables, live_rows) for index in range(len(self._base.links)))
        ordered = {table.name: tables[table.name] for table in self._state.schema}
        return LiveSnapshot(self._state, record, ordered, links)

    def _lift(self, table: Table, parent: Link, tables: Mapping[str, LiveTable]) -> None:
        """Take rows out of the base whose time is no longer what it was, because their parent's is not."""
        index = self._state.schema.links.index(parent)
        above, link = tables[parent.target], self._base.links[index]
        was_us = self._base.tables[parent.target].time_us
        if was_us is None or not len(above.dead_rows) or above.time_us is None:
            return
        now_us = np.full(len(above.dead_rows), NO_TIME_US, np.int64)
        there = above.moved_to >= 0
        now_us[there] = above.time_us[above.moved_to[there]]
        moved = above.dead_rows[now_us != was_us[above.dead_rows]]
        begin, end = link.offsets[moved], link.offsets[moved + 1]
        children = [np.asarray(link.rows[b:e], np.int64) for b, e in zip(begin, end, strict=True)]
        rows = np.sort(np.concatenate(children)) if children else np.empty(0, np.int64)
        self._state.lift(table.name, np.setdiff1d(rows, self._state.tables[table.name].dead()))

    def _table(
        self, table: Table, tables: Mapping[str, LiveTable], live_rows: Mapping[str, Int64s]
    ) -> tuple[LiveTable, Int64s]:
        state, base = self._state.tables[table.name], self._base.tables[table.name]
        arrivals = state.arrival.values[state.standing.values == PRESENT]
        arrivals = arrivals[~state.rejected.values[arrivals]]
        time_us = self._times(table, arrivals, tables, live_rows)
        if table.time is not None:
            arrivals, time_us = arrivals[time_us != NO_TIME_US], time_us[time_us != NO_TIME_US]
        order = self._orders[table.name].sort(arrivals, time_us)
        arrivals, time_us = arrivals[order], time_us[order]
        place = self._orders[table.name].places(arrivals, time_us)
        slots = state.slot.values[arrivals]
        rows: Int64s = np.full(len(state.sequence), -1, np.int64)
        rows[slots] = base.num_rows + np.arange(len(slots))
        origin = np.maximum(state.base_row.values[slots], -1)
        dead_rows = state.dead()
        moved_to: Int64s = np.full(len(dead_rows), -1, np.int64)
        again = np.flatnonzero(origin >= 0)
        moved_to[np.searchsorted(dead_rows, origin[again])] = base.num_rows + again
        ends = state.end_us.values[arrivals]
        made = LiveTable(
            name=table.name,
            num_base=base.num_rows,
            num_rows=base.num_rows + len(arrivals),
            time_us=None if base.time_us is None else Joined(base.time_us, time_us),
            end_us=None if base.end_us is None else Joined(base.end_us, ends),
            live_time_us=time_us,
            place=place,
            arrival=arrivals,
            origin=origin,
            dead=self._dead_flags(table.name, dead_rows),
            dead_rows=dead_rows,
            moved_to=moved_to,
        )
        return made, rows

    def _dead_flags(self, name: str, dead_rows: Int64s) -> NDArray[np.bool_]:
        """[rows of the base] bool; readers hold the one they have, so more dead rows make another one."""
        held = self._dead.get(name, np.empty(0, np.bool_))
        if len(dead_rows) != np.count_nonzero(held):
            held = np.zeros(self._base.tables[name].num_rows, np.bool_)
            held[dead_rows] = True
            self._dead[name] = held
        return held

    def _times(
        self, table: Table, arrivals: Int64s, tables: Mapping[str, LiveTable], live_rows: Mapping[str, Int64s]
    ) -> Int64s:
        """[n] int64 time of each arrival; ``NO_TIME_US`` while its parent is not there, zeros in a timeless table."""
        if table.time is None:
            return np.zeros(len(arrivals), np.int64)
        parent = self._state.schema.time_link(table)
        if parent is None:
            return self._state.tables[table.name].time_us.values[arrivals]
        index = self._state.schema.links.index(parent)
        rows = self._targets(index, self._state.tables[table.name].foreign[index].values[arrivals], tables, live_rows)
        time_us = np.full(len(arrivals), NO_TIME_US, np.int64)
        known, above = rows >= 0, tables[parent.target].time_us
        if above is not None:
            time_us[known] = shifted(above[rows[known]], table.time.shift)
        return time_us

    def _targets(
        self, link: int, slots: Int64s, tables: Mapping[str, LiveTable], live_rows: Mapping[str, Int64s]
    ) -> Int64s:
        """[n] int64 row of the target that each slot (or -1) is now; -1 for none."""
        name = self._state.schema.links[link].target
        live, base_rows = live_rows[name], self._state.tables[name].base_row.values
        found: Int64s = np.full(len(slots), -1, np.int64)
        named = np.flatnonzero(slots >= 0)
        here = slots[named]
        base_row = base_rows[here]
        alive = base_row >= 0
        if len(tables[name].dead):
            alive[alive] = ~tables[name].dead[base_row[alive]]
        found[named] = np.where(alive, base_row, -1)
        known = here < len(live)  # rows lifted since may name keys that nobody had heard of, so no live row has them
        there = np.full(len(here), -1, np.int64)
        there[known] = live[here[known]]
        found[named[there >= 0]] = there[there >= 0]
        return found

    def _link(self, index: int, tables: Mapping[str, LiveTable], live_rows: Mapping[str, Int64s]) -> LiveLink:
        base = self._base.links[index]
        source, state = tables[base.link.table], self._state.tables[base.link.table]
        slots = state.foreign[index].values[source.arrival]
        live_forward = self._targets(index, slots, tables, live_rows)
        patched_rows, patched_slots = self._state.dangling.get(index, (np.empty(0, np.int64),) * 2)
        patched_to = self._targets(index, patched_slots, tables, live_rows)
        chosen = patched_to >= 0
        if len(source.dead):
            chosen[chosen] = ~source.dead[patched_rows[chosen]]
        patched_rows, patched_to = patched_rows[chosen], patched_to[chosen]
        linked = np.flatnonzero(live_forward >= 0)
        rows = np.concatenate([patched_rows, source.num_base + linked])
        place = np.concatenate([patched_rows, source.place[linked]])
        targets = np.concatenate([patched_to, live_forward[linked]])
        if len(patched_rows):  # else they are in order; a live row with place p comes before base row p
            order = np.lexsort((rows, np.repeat([1, 0], [len(patched_rows), len(linked)]), place))
            rows, place, targets = rows[order], place[order], targets[order]
        order = _by_target(targets)
        lost_rows = source.dead_rows
        lost_to = np.asarray(base.forward[lost_rows], np.int64)
        lost_rows, lost_to = lost_rows[lost_to >= 0], lost_to[lost_to >= 0]
        by_target = _by_target(lost_to)
        return LiveLink(
            link=base.link,
            base=base,
            live_forward=live_forward,
            patched_rows=patched_rows,
            patched_to=patched_to,
            extra=_grouped(targets[order], rows[order]),
            extra_place=place[order],
            lost=_grouped(lost_to[by_target], lost_rows[by_target]),
        )


def shifted(time_us: Int64s, shift: Span | None) -> Int64s:
    """Instants moved by a span; ``NO_TIME_US`` where that leaves the years 1 to 9999."""
    if shift is None:
        return time_us
    if shift.is_calendar:
        return np.array([_moved(value, shift) for value in time_us.tolist()], np.int64)
    moved = time_us + shift.approx_us
    return np.where((moved >= _FIRST_US) & (moved <= _LAST_US), moved, NO_TIME_US)


def _moved(time_us: int, shift: Span) -> int:
    try:
        return add(time_us, shift)
    except (ValueError, OverflowError):
        return NO_TIME_US


def _by_target(targets: Int64s) -> Int64s:
    """[n] int64 positions in the order of their targets, and of themselves where these are equal."""
    if not len(targets) or max(int(targets.max()), len(targets)) > INT32_ROWS:
        return np.argsort(targets, kind="stable")
    # Sorting numbers is several times faster than sorting positions by them.
    return np.sort(targets << 32 | np.arange(len(targets))) & 0xFFFFFFFF


def _grouped(targets: Int64s, rows: Int64s) -> Neighbours:
    """Rows, sorted by their targets, as lists per target."""
    begins = np.flatnonzero(np.append(True, targets[1:] != targets[:-1])) if len(targets) else np.empty(0, np.int64)
    return Neighbours(targets[begins], np.append(begins, len(targets)).astype(np.int64), rows)
