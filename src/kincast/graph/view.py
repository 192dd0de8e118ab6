"""View: the live snapshot of a state, made in O(changes), with what stayed the same taken from the one before.

Loops over all changes are compiled, one for each step, and leave the interpreter to those who read meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kincast.clock import Span, add, parse_instant
from kincast.compile import compiled
from kincast.graph.arrivals import UNTOUCHED
from kincast.graph.csr import INT32_ROWS
from kincast.graph.judge import NO_TIME_US
from kincast.graph.live import Joined, LiveLink, LiveSnapshot, LiveTable, Neighbours
from kincast.graph.order import BLOCK_BITS, MIXED, RowOrder
from kincast.graph.state import State
from kincast.schema import Link, Table
from kincast.source.change import Int64s

_FIRST_US, _LAST_US = parse_instant("0001-01-01"), parse_instant("9999-12-31 23:59:59.999999")
_NONE = np.empty(0, np.int64)


class ViewMaker:
    """Makes views of a state; keeps what stays the same between them.

    Args:
        state: kept up to date by whoever calls ``make``.
    """

    def __init__(self, state: State) -> None:
        self._state, self._base = state, state.base
        self._begin()

    def _begin(self) -> None:
        """Keep nothing of views that were made."""
        state = self._state
        self._orders = {table.name: RowOrder(state.base, state.tables[table.name]) for table in state.schema}
        self._tables: dict[str, LiveTable] = {}
        self._links: dict[int, LiveLink] = {}
        self._num_gone: dict[str, int] = {}
        self._ages: dict[str, int] = {}  # of the tables' states, at the last view
        self._row_of: dict[str, tuple[int, Int64s]] = {}  # with how many keys were looked up then
        self._dead: dict[str, tuple[Int64s, Int64s]] = {}  # rows of the base, ascending, and their slots

    def make(self, record: int) -> LiveSnapshot:
        """The graph as it is now.

        Args:
            record: last record of the log that is in the state.
        """
        try:
            return self._make(record)
        except BaseException:  # what is kept may be half of this view and half of the one before
            self._begin()
            raise

    def _make(self, record: int) -> LiveSnapshot:
        tables: dict[str, LiveTable] = {}
        for table in self._state.schema.in_time_order():
            parent = self._state.schema.time_link(table)
            if parent is not None:
                self._lift(table, parent, tables)
            tables[table.name] = self._table(table, tables)
        links = tuple(self._link(index, tables) for index in range(len(self._base.links)))
        self._tables, self._links = tables, dict(enumerate(links))
        ordered = {table.name: tables[table.name] for table in self._state.schema}
        return LiveSnapshot(self._state, record, ordered, links)

    def _lift(self, table: Table, parent: Link, tables: Mapping[str, LiveTable]) -> None:
        """Take rows out of the base whose time is no longer what it was, because their parent's is not."""
        index = self._state.schema.links.index(parent)
        above, link = tables[parent.target], self._base.links[index]
        was_us = self._base.tables[parent.target].time_us
        if above is self._tables.get(parent.target):
            return
        if was_us is None or not len(above.dead_rows) or above.time_us is None:
            return
        now_us = np.full(len(above.dead_rows), NO_TIME_US, np.int64)
        there = above.moved_to >= 0
        now_us[there] = above.time_us[above.moved_to[there]]
        moved = above.dead_rows[now_us != was_us[above.dead_rows]]
        begin, end = link.offsets[moved], link.offsets[moved + 1]
        children = [np.asarray(link.rows[b:e], np.int64) for b, e in zip(begin, end, strict=True)]
        rows = np.sort(np.concatenate(children)) if children else _NONE
        self._state.lift(table.name, np.setdiff1d(rows, self._state.tables[table.name].dead()))

    def _table(self, table: Table, tables: Mapping[str, LiveTable]) -> LiveTable:
        state, base, order = self._state.tables[table.name], self._base.tables[table.name], self._orders[table.name]
        before, parent = self._tables.get(table.name), self._state.schema.time_link(table)
        times_stand = parent is None or tables[parent.target] is self._tables.get(parent.target)
        if before is not None and times_stand and self._ages[table.name] == state.age:
            return before
        self._num_gone.setdefault(table.name, len(state.gone))
        self._ages[table.name] = state.age
        changed = order.renew(self._times(table, tables), self._gone(table.name) if parent is None else None)
        if before is not None and not changed and len(before.dead_rows) == len(state.died):
            return before
        row_of, origin = self._laid_out(table.name)
        dead_rows, dead_slots = self._dead_now(table.name)
        return LiveTable(
            name=table.name,
            num_base=base.num_rows,
            num_rows=base.num_rows + len(order.arrivals),
            time_us=None if base.time_us is None else Joined(base.time_us, order.time_us),
            end_us=None if base.end_us is None else Joined(base.end_us, state.end_us.values[order.arrivals]),
            live_time_us=order.time_us,
            place=order.place,
            arrival=order.arrivals,
            origin=origin,
            dead=_dead_flags(base.num_rows, dead_rows, before),
            dead_rows=dead_rows,
            moved_to=row_of[dead_slots],
        )

    def _gone(self, name: str) -> Int64s:
        """[k] int64 live rows of the last view, counted from 0, that were updated or deleted since."""
        if name not in self._tables:
            return _NONE
        state, before = self._state.tables[name], self._tables[name]
        slots = np.unique(state.gone.values[self._num_gone[name] :])
        self._num_gone[name] = len(state.gone)
        row_of = self._row_of[name][1]
        rows: Int64s = row_of[slots[slots < len(row_of)]]
        return rows[rows >= before.num_base] - before.num_base

    def _dead_now(self, name: str) -> tuple[Int64s, Int64s]:
        """[k] int64 rows of the base that were updated or deleted, ascending, and their slots."""
        state = self._state.tables[name]
        held = self._dead.get(name)
        if held is None or len(held[0]) != len(state.died):
            slots = state.died.values
            rows = state.base_row.values[slots]
            order = np.argsort(rows)
            held = self._dead[name] = (rows[order], slots[order])
        return held

    def _laid_out(self, name: str) -> tuple[Int64s, Int64s]:
        """[slots] int64 the row that each key is now, -1 for none; and [live rows] int64 their rows in the base."""
        state, arrivals = self._state.tables[name], self._orders[name].arrivals
        row_of: Int64s = np.empty(len(state.slots), np.int64)
        origin: Int64s = np.empty(len(arrivals), np.int64)
        keys = (state.base_row.values, state.standing.values)
        _lay_out(arrivals, state.slot.values, keys, self._base.tables[name].num_rows, row_of, origin)
        self._row_of[name] = (state.num_looked_up, row_of)
        return row_of, origin

    def _rows_now(self, name: str) -> Int64s:
        """[slots] int64 the row that each key is now; -1 for none."""
        looked_up, row_of = self._row_of[name]
        # Rows lifted since may name keys that nobody had heard of.
        return row_of if looked_up == self._state.tables[name].num_looked_up else self._laid_out(name)[0]

    def _times(self, table: Table, tables: Mapping[str, LiveTable]) -> Int64s:
        """[arrivals] int64 time of each; ``NO_TIME_US`` while its parent is not there, zeros in a timeless table."""
        state = self._state.tables[table.name]
        if table.time is None:
            return np.zeros(len(state.slot), np.int64)
        parent = self._state.schema.time_link(table)
        if parent is None:
            return state.time_us.values
        index = self._state.schema.links.index(parent)
        rows = _named(state.foreign[index].values, self._rows_now(parent.target))
        time_us = np.full(len(rows), NO_TIME_US, np.int64)
        known, above = rows >= 0, tables[parent.target].time_us
        if above is not None:
            time_us[known] = shifted(above[rows[known]], table.time.shift)
        return time_us

    def _link(self, index: int, tables: Mapping[str, LiveTable]) -> LiveLink:
        base, before = self._base.links[index], self._links.get(index)
        name, target = base.link.table, base.link.target
        source, was = tables[name], self._tables.get(name)
        if before is not None and source is was and tables[target] is self._tables[target]:
            return before
        row_of = self._rows_now(target)
        patched_rows, patched_slots = self._state.dangling.get(index, (_NONE, _NONE))
        patched_to = _named(patched_slots, row_of)
        chosen = patched_to >= 0
        if len(source.dead):
            chosen[chosen] = ~source.dead[patched_rows[chosen]]
        patched_rows, patched_to = patched_rows[chosen], patched_to[chosen]
        live_forward = _named(self._state.tables[name].foreign[index].values, row_of, source.arrival)
        stands = before is not None and was is not None and tables[target] is self._tables[target]
        if before is not None and stands and not len(patched_rows) + len(before.patched_rows):
            extra = _renewed(before, self._orders[name], source, live_forward)
        else:
            extra = _extra(live_forward, source, patched_rows, patched_to, tables[target].num_rows)
        if before is not None and was is not None and source.dead_rows is was.dead_rows:
            lost = before.lost
        else:
            named = np.asarray(base.forward[source.dead_rows], np.int64)
            lost = _lists(named, source.dead_rows, 0, tables[target].num_base)
        return LiveLink(
            link=base.link,
            base=base,
            live_forward=live_forward,
            patched_rows=patched_rows,
            patched_to=patched_to,
            extra=extra,
            lost=lost,
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


def _dead_flags(num_base: int, dead_rows: Int64s, before: LiveTable | None) -> NDArray[np.bool_]:
    """[rows of the base] bool; readers hold the one they have, so more dead rows make another one."""
    held = np.empty(0, np.bool_) if before is None else before.dead
    if len(dead_rows) == (0 if before is None else len(before.dead_rows)):
        return held
    flags = held.copy() if len(held) else np.zeros(num_base, np.bool_)
    flags[dead_rows] = True
    return flags


def _named(slots: Int64s, row_of: Int64s, arrivals: Int64s | None = None) -> Int64s:
    """[n] int64 row that each slot is, -1 for none; of the slots of those arrivals where they are given."""
    rows = np.empty(len(slots) if arrivals is None else len(arrivals), np.int64)
    _follow_slots(slots, row_of, _NONE if arrivals is None else arrivals, arrivals is None, rows)
    return rows


def _extra(
    live_forward: Int64s, source: LiveTable, patched_rows: Int64s, patched_to: Int64s, num_targets: int
) -> Neighbours:
    """Lists of the live and the patched rows by the row they name."""
    rows, targets = _NONE, live_forward
    if len(patched_rows):
        num = len(live_forward) + len(patched_rows)
        rows, targets = np.empty(num, np.int64), np.empty(num, np.int64)
        _weave((live_forward, source.place, source.num_base), patched_rows, patched_to, (rows, targets))
    return _lists(targets, rows, source.num_base, num_targets)


def _renewed(before: LiveLink, order: RowOrder, source: LiveTable, live_forward: Int64s) -> Neighbours:
    """What ``_extra`` gives, from the lists before; what is named stands as it was, and no row is patched."""
    lists = before.extra
    targets = live_forward[order.came]
    order_of = np.argsort(targets, kind="stable")
    order_of = order_of[np.searchsorted(targets[order_of], 0) :]
    most = len(lists.targets) + len(order_of)
    found, offsets = np.empty(most, np.int64), np.empty(most + 1, np.int64)
    rows = np.empty(len(lists.rows) + len(order_of), np.int64)
    came = (targets[order_of], order.came[order_of])
    given, went = (lists.targets, lists.offsets, lists.rows), (order.moved, order.shift())
    num = _renew(given, went, came, source.num_base, found, offsets, rows)
    return Neighbours(found[:num], offsets[: num + 1], rows[: offsets[num]])


def _lists(targets: Int64s, rows: Int64s, first: int, num_targets: int) -> Neighbours:
    """Lists by target, -1 for none, of those rows; of ``first`` and the ones behind it where none are given."""
    packed, positions = _by_target(targets, num_targets)
    found, offsets = np.empty(len(packed), np.int64), np.empty(len(packed) + 1, np.int64)
    listed = np.empty(len(packed), np.int64)
    num = _group(packed, positions, rows, first, found, offsets, listed)
    return Neighbours(found[:num].copy(), offsets[: num + 1].copy(), listed)


def _by_target(targets: Int64s, num_targets: int) -> tuple[Int64s, Int64s]:
    """Targets that there are, ascending, with their positions behind them in one number, or beside them.

    Sorting numbers is several times faster than sorting positions by them.
    """
    is_small = max(num_targets, len(targets)) <= INT32_ROWS
    packed = np.empty(len(targets), np.int64)
    positions = _NONE if is_small else np.empty(len(targets), np.int64)
    num = _pack(targets, packed, positions)
    packed, positions = packed[:num], positions[:num]
    if is_small:
        packed.sort()
        return packed, positions
    order = np.argsort(packed, kind="stable")
    return packed[order], positions[order]


@compiled
def _lay_out(arrivals, slot, keys, num_base, row_of, origin):  # type: ignore[no-untyped-def]
    base_row, standing = keys
    for i in range(row_of.shape[0]):
        row_of[i] = base_row[i] if standing[i] == UNTOUCHED and base_row[i] >= 0 else -1
    for i in range(arrivals.shape[0]):
        here = slot[arrivals[i]]
        row_of[here] = num_base + i
        origin[i] = max(base_row[here], -1)


@compiled
def _follow_slots(slots, row_of, arrivals, is_direct, rows):  # type: ignore[no-untyped-def]
    for i in range(rows.shape[0]):
        slot = slots[i] if is_direct else slots[arrivals[i]]
        rows[i] = row_of[slot] if slot >= 0 else -1


@compiled
def _weave(live, patched_rows, patched_to, out):  # type: ignore[no-untyped-def]
    """Live and patched rows in the order of all rows; base row b comes before live row d if b < place[d]."""
    live_forward, live_place, num_base = live
    rows, targets = out
    i = j = 0
    for k in range(rows.shape[0]):
        if i == live_forward.shape[0] or (j < patched_rows.shape[0] and patched_rows[j] < live_place[i]):
            rows[k], targets[k] = patched_rows[j], patched_to[j]
            j += 1
        else:
            rows[k], targets[k] = num_base + i, live_forward[i]
            i += 1


@compiled
def _pack(targets, packed, positions):  # type: ignore[no-untyped-def]
    """As ``_by_target``, not sorted; returns how many there are."""
    num = 0
    for i in range(targets.shape[0]):
        if targets[i] < 0:
            continue
        if positions.shape[0] > 0:
            packed[num], positions[num] = targets[i], i
        else:
            packed[num] = (targets[i] << 32) | i
        num += 1
    return num


@compiled
def _group(packed, positions, rows, first, found, offsets, listed):  # type: ignore[no-untyped-def]
    """Turn what ``_by_target`` gave into lists; returns how many there are."""
    num = 0
    for i in range(packed.shape[0]):
        target, position = packed[i] >> 32, packed[i] & 0xFFFFFFFF
        if positions.shape[0] > 0:
            target, position = packed[i], positions[i]
        if num == 0 or found[num - 1] != target:
            found[num], offsets[num] = target, i
            num += 1
        listed[i] = rows[position] if rows.shape[0] > 0 else first + position
    offsets[num] = packed.shape[0]
    return num


@compiled
def _renew(lists, went, came, num_base, found, offsets, listed):  # type: ignore[no-untyped-def]
    """Merge lists, their rows moved, with rows that came; returns how many lists there are, none of them empty."""
    old_targets, old_offsets, old_rows = lists
    moved, shift = went
    new_targets, new_rows = came
    num = i = j = k = 0
    while i < old_targets.shape[0] or j < new_targets.shape[0]:
        is_new = i == old_targets.shape[0] or (j < new_targets.shape[0] and new_targets[j] < old_targets[i])
        target = new_targets[j] if is_new else old_targets[i]
        found[num], offsets[num] = target, k
        begin, end = (0, 0) if is_new else (old_offsets[i], old_offsets[i + 1])
        i += 0 if is_new else 1
        is_joined = j < new_targets.shape[0] and new_targets[j] == target
        for at in range(begin, end):
            row = old_rows[at] - num_base
            by = shift[row >> BLOCK_BITS]
            row = row + by if by != MIXED else np.int64(moved[row])
            if row < 0:
                continue
            while is_joined and new_rows[j] < row:
                listed[k] = num_base + new_rows[j]
                j, k = j + 1, k + 1
                is_joined = j < new_targets.shape[0] and new_targets[j] == target
            listed[k] = num_base + row
            k += 1
        while is_joined:
            listed[k] = num_base + new_rows[j]
            j, k = j + 1, k + 1
            is_joined = j < new_targets.shape[0] and new_targets[j] == target
        num += k > offsets[num]
    offsets[num] = k
    return num
