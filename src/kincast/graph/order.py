"""Order: where the live rows of a table stand among each other and among the rows of the base."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.graph.growing import Growing
from kincast.graph.snapshot import Snapshot
from kincast.graph.state import TableState
from kincast.source.base import quote
from kincast.source.change import Int64s

LIVE = "_kincast_live"
"""What SQL calls the live rows; no table of a user's is called so."""


class RowOrder:
    """The order of a table's rows, by time and then by key (all columns where there is no key), as a build has it.

    Where the rows stand among those of the base is worked out once for each arrival. Keys of whole numbers, dates and
    instants are compared as numbers, all others by SQL.

    Args:
        base: the snapshot.
        state: of the table.
    """

    def __init__(self, base: Snapshot, state: TableState) -> None:
        self._base, self._state = base, state
        table = base.schema.table(state.name)
        self._by = table.key or tuple(column.name for column in table.columns)
        self._base_keys: list[Int64s] | None = None
        if table.key:
            self._base_keys = _numbers(base.key_columns(state.name))
        self._keys = [Growing(np.int64) for _ in self._base_keys or ()]
        self._place, self._placed_at = Growing(np.int64), Growing(np.int64)

    def sort(self, arrivals: Int64s, time_us: Int64s) -> Int64s:
        """[n] int64 positions of the arrivals in their order, each having that time."""
        order = np.argsort(time_us, kind="stable")
        ordered = time_us[order]
        twin = np.zeros(len(order) + 1, np.bool_)
        twin[1:-1] = ordered[1:] == ordered[:-1]
        tied = np.flatnonzero(twin[1:] | twin[:-1])
        if len(tied):
            among = order[tied]
            order[tied] = among[self._sort_tied(arrivals[among], time_us[among])]
        return order

    def places(self, arrivals: Int64s, time_us: Int64s) -> Int64s:
        """[n] int64 how many rows of the base come before each arrival, having that time."""
        fresh = len(self._state.slot) - len(self._place)
        self._place.extend(-1, fresh)
        self._placed_at.extend(0, fresh)
        place, placed_at = self._place.values, self._placed_at.values
        stale = np.flatnonzero((place[arrivals] < 0) | (placed_at[arrivals] != time_us))
        if len(stale):
            wanted = arrivals[stale]
            place[wanted] = self._find(wanted, time_us[stale])
            placed_at[wanted] = time_us[stale]
        return place[arrivals]

    def _find(self, arrivals: Int64s, time_us: Int64s) -> Int64s:
        base_us = self._base.tables[self._state.name].time_us
        if base_us is None:
            low = np.zeros(len(arrivals), np.int64)
            high = np.full(len(arrivals), self._base.tables[self._state.name].num_rows, np.int64)
        else:
            low = np.searchsorted(base_us, time_us, "left").astype(np.int64)
            high = np.searchsorted(base_us, time_us, "right").astype(np.int64)
        tied = np.flatnonzero(low < high)
        if len(tied) and self._base_keys is not None:
            keys = self._key_numbers(arrivals[tied])
            low[tied] = lower_bounds(self._base_keys, keys, low[tied], high[tied])
        elif len(tied):
            low[tied] += self._find_by_sql(arrivals[tied], time_us[tied], low[tied], high[tied])
        return low

    def _find_by_sql(self, arrivals: Int64s, time_us: Int64s, low: Int64s, high: Int64s) -> Int64s:
        """[n] int64 how many base rows of the same time come before each arrival."""
        live = self._live(arrivals, time_us)
        by = ", ".join(quote(f"k{i}") for i in range(len(self._by)))
        columns = ", ".join(f"{quote(name)} AS {quote(f'k{i}')}" for i, name in enumerate(self._by))
        timed = self._base.tables[self._state.name].time_us is not None
        time = "epoch_us(_time)" if timed else "CAST(0 AS BIGINT)"
        where = f"_row BETWEEN {low.min()} AND {high.max() - 1}"
        if timed:
            where += f" AND epoch_us(_time) IN (SELECT time FROM {LIVE})"
        with self._base.open_tables() as tables, tables.connect() as connection:
            connection.register(LIVE, live if timed else live.set_column(1, "time", pa.array([0] * len(live))))
            sql = (
                f"SELECT live, count(*) FILTER (live IS NULL) OVER (PARTITION BY time ORDER BY {by}, live NULLS FIRST"
                f" ROWS UNBOUNDED PRECEDING) AS before FROM (SELECT NULL AS live, {time} AS time, {columns} "
                f"FROM {quote(self._state.name)} WHERE {where} UNION ALL FROM {LIVE})"
            )
            found = connection.sql(
                f"SELECT live, before FROM ({sql}) WHERE live IS NOT NULL ORDER BY live"
            ).to_arrow_table()
        return np.asarray(found.column("before").to_numpy(), np.int64)

    def _sort_tied(self, arrivals: Int64s, time_us: Int64s) -> Int64s:
        if self._base_keys is not None:
            return np.lexsort((*reversed(self._key_numbers(arrivals)), time_us))
        by = ", ".join(quote(f"k{i}") for i in range(len(self._by)))
        with self._base.open_tables() as tables, tables.connect() as connection:
            connection.register(LIVE, self._live(arrivals, time_us))
            found = connection.sql(f"SELECT live FROM {LIVE} ORDER BY time, {by}, live").to_arrow_table()
        return np.asarray(found.column("live").to_numpy(), np.int64)

    def _live(self, arrivals: Int64s, time_us: Int64s) -> pa.Table:
        rows = self._state.rows(arrivals).select(list(self._by))
        rows = rows.rename_columns([f"k{i}" for i in range(len(self._by))])
        return rows.add_column(0, "live", pa.array(np.arange(len(arrivals)))).add_column(1, "time", pa.array(time_us))

    def _key_numbers(self, arrivals: Int64s) -> list[Int64s]:
        known = len(self._keys[0])
        fresh = np.arange(known, len(self._state.slot))
        if len(fresh):
            columns = self._state.rows(fresh).select(list(self._by))
            for growing, values in zip(self._keys, _numbers(columns) or [], strict=True):
                growing.extend(values)
        return [growing.values[arrivals] for growing in self._keys]


def lower_bounds(ascending: list[Int64s], keys: list[Int64s], low: Int64s, high: Int64s) -> Int64s:
    """[n] int64 for each composite key the first position in ``low .. high`` whose key is not smaller.

    Args:
        ascending: a column of keys for each of their parts, ascending within each ``low .. high``.
        keys: the same parts, [n] each.
        low, high: [n] int64.
    """
    low, high = low.copy(), high.copy()
    active = np.flatnonzero(low < high)
    while len(active):
        middle = (low[active] + high[active]) >> 1
        less = np.zeros(len(active), np.bool_)
        equal = np.ones(len(active), np.bool_)
        for column, part in zip(ascending, keys, strict=True):
            found, wanted = column[middle], part[active]
            less |= equal & (found < wanted)
            equal &= found == wanted
        low[active] = np.where(less, middle + 1, low[active])
        high[active] = np.where(less, high[active], middle)
        active = active[low[active] < high[active]]
    return low


def _numbers(columns: pa.Table) -> list[Int64s] | None:
    """Columns as int64 that has their order; None when one has no such form."""
    numbers: list[NDArray[np.int64]] = []
    for column in columns.columns:
        kind = column.type
        if pa.types.is_integer(kind) and kind != pa.uint64():
            numbers.append(np.asarray(column.cast(pa.int64()).to_numpy(), np.int64))
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            numbers.append(np.asarray(column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(), np.int64))
        else:
            return None
    return numbers
