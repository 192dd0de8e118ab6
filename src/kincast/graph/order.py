"""Order: where the live rows of a table stand among each other and among the rows of the base."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.compile import compiled
from kincast.graph.arrivals import TableState
from kincast.graph.csr import row_type
from kincast.graph.growing import Growing
from kincast.graph.judge import NO_TIME_US
from kincast.graph.snapshot import Snapshot
from kincast.source.base import quote
from kincast.source.change import Int64s

LIVE = "_kincast_live"
"""What SQL calls the live rows; no table of a user's is called so."""

BLOCK_BITS = 9
MIXED = np.iinfo(np.int64).min


class RowOrder:
    """The order of a table's live rows, by time and then by key (all columns where there is no key), as a build has it.

    It is renewed, not made anew: rows that are still there stay in their order, and those that came are put between
    them. Keys of whole numbers, dates and instants are compared as numbers, all others by SQL.

    Args:
        base: the snapshot.
        state: of the table.

    Attributes:
        arrivals: [m] int64 the live rows in their order.
        time_us: [m] int64 their times.
        place: [m] int64 how many rows of the base come before each.
        moved: [live rows before ``renew``] int32 or int64 their positions now; -1 for those that are gone.
        came: [k] int64 positions of the others, ascending.
    """

    def __init__(self, base: Snapshot, state: TableState) -> None:
        self._base, self._state = base, state
        table = base.schema.table(state.name)
        self._by = table.key or tuple(column.name for column in table.columns)
        self._base_keys: list[Int64s] | None = None
        if table.key:
            self._base_keys = _numbers(base.key_columns(state.name))
        self._keys = Growing(np.int64, len(self._base_keys or ()))
        self._is_in = Growing(np.bool_)  # by arrival
        self.arrivals, self.time_us, self.place = (np.empty(0, np.int64) for _ in range(3))
        self.moved: NDArray[Any] = np.empty(0, np.int32)
        self.came = np.empty(0, np.int64)

    def renew(self, time_us: Int64s, gone: Int64s | None) -> bool:
        """Bring the order up to date; False when nothing has changed. What was read of it before stays as it was.

        Args:
            time_us: [arrivals] int64 the time that each has now; ``NO_TIME_US`` where it is no row yet.
            gone: [k] int64 positions whose arrival holds its key no longer; None to look at all, as they may have
                other times too.
        """
        state, known = self._state, len(self._is_in)
        self._is_in.extend(False, len(state.slot) - known)
        self._read_keys(known)
        held, is_in = (state.slot.values, state.arrival.values), self._is_in.values
        looks_again = gone is None
        if gone is None:
            gone = _cut(_find_gone, len(self.arrivals), self.arrivals, self.time_us, time_us, held)
        gone = np.sort(gone)
        is_in[self.arrivals[gone]] = False
        first = 0 if looks_again else known
        fresh = _cut(_find_fresh, len(state.slot) - first, first, time_us, held, state.rejected.values, is_in)
        if not len(fresh) + len(gone):
            self.moved, self.came = np.arange(len(self.arrivals)), np.empty(0, np.int64)
            return False
        fresh = fresh[self._sorted(fresh, time_us[fresh])]
        self._merge(fresh, time_us[fresh], gone)
        return True

    def _merge(self, fresh: Int64s, fresh_us: Int64s, gone: Int64s) -> None:
        """Put arrivals, in order among themselves, between those that are there, and leave out those gone."""
        added = (fresh, fresh_us, self._find(fresh, fresh_us))
        before = (self.arrivals, self.time_us, self.place)
        merged = [np.empty(len(self.arrivals) + len(fresh) - len(gone), np.int64) for _ in range(3)]
        self.moved = np.empty(len(self.arrivals), row_type(len(merged[0])))
        self.came = np.empty(len(fresh), np.int64)
        _merge(before, gone, added, self._keys.values, (self.moved, self.came), tuple(merged))
        if self._base_keys is None:
            self._settle(merged, fresh_us)
        self.arrivals, self.time_us, self.place = merged

    def shift(self) -> Int64s:
        """[blocks of live rows before ``renew``] int64 how far all rows of a block moved; ``MIXED`` where they differ.

        It is small enough to stay near the processor where ``moved`` is not.
        """
        shift = np.empty((len(self.moved) >> BLOCK_BITS) + 1, np.int64)
        _find_shift(self.moved, shift)
        return shift

    def _settle(self, merged: list[Int64s], fresh_us: Int64s) -> None:
        """Put the rows of those times in order that keys decide about."""
        arrivals, time_us, _ = merged
        tied = np.flatnonzero(_twins(time_us))
        tied = tied[np.isin(time_us[tied], fresh_us)]
        if len(tied):
            order = tied[self._sort_tied(arrivals[tied], time_us[tied])]
            for values in merged:
                values[tied] = values[order]
            now = np.arange(len(arrivals))
            now[order] = tied
            there = self.moved >= 0
            self.moved[there] = now[self.moved[there]]
            self.came = np.sort(now[self.came])

    def _sorted(self, arrivals: Int64s, time_us: Int64s) -> Int64s:
        """[n] int64 positions of the arrivals in their order, each having that time."""
        order = np.argsort(time_us, kind="stable")
        tied = np.flatnonzero(_twins(time_us[order]))
        if len(tied):
            among = order[tied]
            order[tied] = among[self._sort_tied(arrivals[among], time_us[among])]
        return order

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
            keys = self._keys.values[arrivals[tied]]
            low[tied] = lower_bounds(self._base_keys, list(keys.T), low[tied], high[tied])
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
            return np.lexsort((*self._keys.values[arrivals].T[::-1], time_us))
        by = ", ".join(quote(f"k{i}") for i in range(len(self._by)))
        with self._base.open_tables() as tables, tables.connect() as connection:
            connection.register(LIVE, self._live(arrivals, time_us))
            found = connection.sql(f"SELECT live FROM {LIVE} ORDER BY time, {by}, live").to_arrow_table()
        return np.asarray(found.column("live").to_numpy(), np.int64)

    def _live(self, arrivals: Int64s, time_us: Int64s) -> pa.Table:
        rows = self._state.rows(arrivals).select(list(self._by))
        rows = rows.rename_columns([f"k{i}" for i in range(len(self._by))])
        return rows.add_column(0, "live", pa.array(np.arange(len(arrivals)))).add_column(1, "time", pa.array(time_us))

    def _read_keys(self, known: int) -> None:
        """Note the keys of the arrivals from that one on, where they are numbers."""
        num = len(self._state.slot) - known
        if self._base_keys is None:
            self._keys.extend(np.empty((num, 0), np.int64))
        elif num:
            columns = _numbers(self._state.rows_since(known, self._by)) or []
            self._keys.extend(np.stack(columns, axis=1))


def _twins(ascending: Int64s) -> NDArray[np.bool_]:
    """[n] bool True where a neighbour has the same value."""
    twin = np.zeros(len(ascending) + 1, np.bool_)
    twin[1:-1] = ascending[1:] == ascending[:-1]
    return np.asarray(twin[1:] | twin[:-1])


def _cut(kernel: Callable[..., int], most: int, *arguments: Any) -> Int64s:
    """[n] int64 what a kernel writes, as many as it says; ``most`` at most."""
    out = np.empty(most, np.int64)
    return out[: kernel(*arguments, out)]


@compiled
def _find_gone(arrivals, was_us, now_us, held, gone):  # type: ignore[no-untyped-def]
    """Positions whose arrival holds its key no longer, or has another time."""
    slot, arrival = held
    num = 0
    for i in range(arrivals.shape[0]):
        row = arrivals[i]
        if arrival[slot[row]] != row or was_us[i] != now_us[row]:
            gone[num] = i
            num += 1
    return num


@compiled
def _find_fresh(first, time_us, held, rejected, is_in, fresh):  # type: ignore[no-untyped-def]
    """Arrivals from the first on that hold a key and are not in the order yet, which they now are."""
    slot, arrival = held
    num = 0
    for row in range(first, slot.shape[0]):
        if not is_in[row] and arrival[slot[row]] == row and not rejected[row] and time_us[row] != NO_TIME_US:
            is_in[row] = True
            fresh[num] = row
            num += 1
    return num


@compiled
def _find_shift(moved, shift):  # type: ignore[no-untyped-def]
    for block in range(shift.shape[0]):
        begin = block << BLOCK_BITS
        end = min(begin + (1 << BLOCK_BITS), moved.shape[0])
        num_other = 0
        for at in range(begin, end):
            num_other += moved[at] - at != moved[begin] - begin
        is_mixed = begin == end or num_other > 0 or moved[begin] < 0
        shift[block] = MIXED if is_mixed else moved[begin] - begin


@compiled
def _merge(before, gone, added, keys, went, out):  # type: ignore[no-untyped-def]
    """Copy the rows before, but those gone, and put each that is added before the first that comes behind it.

    Rows of the same time are told apart by their keys [arrivals, parts] int64.
    """
    arrivals, time_us, place = before
    fresh, fresh_us, fresh_place = added
    moved, came = went
    out_arrivals, out_us, out_place = out
    done = i = k = 0
    for j in range(fresh.shape[0] + 1):
        high = arrivals.shape[0]
        until = high if j == fresh.shape[0] else done
        while until < high:
            middle = (until + high) >> 1
            is_before = time_us[middle] < fresh_us[j]
            if time_us[middle] == fresh_us[j]:
                is_before = _comes_first(keys[arrivals[middle]], keys[fresh[j]])
            if is_before:
                until = middle + 1
            else:
                high = middle
        while done < until:
            is_cut = i < gone.shape[0] and gone[i] < until
            end = gone[i] if is_cut else until
            num = end - done
            out_arrivals[k : k + num] = arrivals[done:end]
            out_us[k : k + num] = time_us[done:end]
            out_place[k : k + num] = place[done:end]
            for at in range(done, end):
                moved[at] = at - done + k
            done, k = end, k + num
            if is_cut:
                moved[done] = -1
                done += 1
                i += 1
        if j < fresh.shape[0]:
            out_arrivals[k], out_us[k], out_place[k] = fresh[j], fresh_us[j], fresh_place[j]
            came[j] = k
            k += 1


@compiled
def _comes_first(one, other):  # type: ignore[no-untyped-def]
    """One key is not behind the other."""
    for part in range(one.shape[0]):
        if one[part] != other[part]:
            return one[part] < other[part]
    return True


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
