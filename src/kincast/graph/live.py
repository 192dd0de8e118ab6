"""Live: a snapshot and the changes since, as one immutable graph that is read like a snapshot.

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

from kincast.errors import DataError
from kincast.graph.key import KeyIndex
from kincast.graph.snapshot import SnapshotLink, SnapshotTable
from kincast.graph.state import State
from kincast.schema import Link
from kincast.source.change import Int64s

_LOOKED_AT = 1 << 16


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

    @staticmethod
    def still(table: SnapshotTable) -> LiveTable:
        """A table of which nothing was changed."""
        none: Int64s = np.empty(0, np.int64)
        return LiveTable(
            name=table.name,
            num_base=table.num_rows,
            num_rows=table.num_rows,
            time_us=None if table.time_us is None else Joined(table.time_us, none),
            end_us=None if table.end_us is None else Joined(table.end_us, none),
            live_time_us=none,
            place=none,
            arrival=none,
            origin=none,
            dead=np.empty(0, np.bool_),
            dead_rows=none,
            moved_to=none,
        )


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
        lost: base target row → dead base rows in its list, ascending.
    """

    link: Link
    base: SnapshotLink
    live_forward: Int64s
    patched_rows: Int64s
    patched_to: Int64s
    extra: Neighbours
    lost: Neighbours

    @staticmethod
    def still(link: SnapshotLink) -> LiveLink:
        """A link none of whose rows was changed; those that they name may have been."""
        none: Int64s = np.empty(0, np.int64)
        no_lists = Neighbours(none, np.zeros(1, np.int64), none)
        return LiveLink(link.link, link, none, none, none, no_lists, no_lists)


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
            last = _last_alive(found.dead)
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

    def take(self, table: str, names: Sequence[str], rows: Int64s) -> pa.Table:
        """Those columns of a few rows, in their order, as ``Snapshot.take``."""
        rows = np.asarray(rows, np.int64)
        is_live = rows >= self.tables[table].num_base
        base = self.base.take(table, names, rows[~is_live])
        live = self.columns(table, names, rows[is_live] - self.tables[table].num_base).cast(base.schema)
        place = np.empty(len(rows), np.int64)
        place[np.concatenate([np.flatnonzero(~is_live), np.flatnonzero(is_live)])] = np.arange(len(rows))
        return pa.concat_tables([base, live]).take(pa.array(place))

    def _keys(self, table: str) -> tuple[pa.Table, KeyIndex]:
        """Key columns of the live rows, and where to find them."""
        with self._lock:
            if table not in self._live_keys:
                key = self.schema.table(table).key
                columns = self.columns(table, key, np.arange(self.tables[table].num_live))
                self._live_keys[table] = (columns, KeyIndex(table, columns))
            return self._live_keys[table]


def _last_alive(dead: NDArray[np.bool_]) -> int:
    """The last row that is not dead; -1 where all are."""
    end = len(dead)
    while end > 0:
        begin = max(0, end - _LOOKED_AT)
        alive = np.flatnonzero(~dead[begin:end])
        if len(alive):
            return begin + int(alive[-1])
        end = begin
    return -1
