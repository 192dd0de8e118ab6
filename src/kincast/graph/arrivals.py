"""Arrivals: what became of the keys of one table, and the rows that came, whatever the order they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.compile import compiled
from kincast.graph.growing import Growing
from kincast.graph.judge import Judge, Judged, whole
from kincast.graph.slots import LAST, Digests, Slots, read_digests, write_digests
from kincast.graph.snapshot import Snapshot
from kincast.source.change import Int64s

UNTOUCHED, PRESENT, DELETED = 0, 1, 2
"""What became of a key since the base snapshot."""

OLDEST = np.iinfo(np.int64).min
_NOT_LOOKED_UP = -2
_SETTLED_ROWS = 1 << 18
_JOINED = 8


class TableState:
    """Keys and arrivals of one table.

    A *slot* is a key that was heard of: changed, or named by a foreign key. An *arrival* is a row that came.

    Args:
        base: the snapshot.
        name: of the table.
        judge: tells contents apart.

    Attributes:
        name: of the table.
        slots: digest of a key → slot.
        sequence: [slots] int64 of the change that holds; ``OLDEST`` before any.
        standing: [slots] int8 UNTOUCHED, PRESENT or DELETED.
        arrival: [slots] int64 arrival that holds the row; -1 for none.
        base_row: [slots] int64 row of the key in the base; -1 for none.
        died: [k] int64 slots whose row of the base was updated or deleted, in the order in which that happened.
        gone: [k] int64 slots whose arrival was updated or deleted, in that order.
        num_looked_up: keys that were looked up in the base.
        age: times that changes were added or rows held; where it is the same, nothing has changed but ``slots``.
        time_us, end_us: [arrivals] int64 own time and end, as in ``Judged``.
        rejected: [arrivals] bool a rule rejects the row.
        slot: [arrivals] int64 its key's slot.
        foreign: link index → [arrivals] int64 slot that its foreign key names in the target's state; -1 for null.
    """

    def __init__(self, base: Snapshot, name: str, judge: Judge) -> None:
        self.name = name
        self._base, self._judge = base, judge
        self._keyed = bool(base.schema.table(name).key)
        self.slots = Slots()
        self.sequence = Growing(np.int64)
        # Of the change that holds: the arrival whose content settles equal sequences, or -1 and the content itself.
        self._content_of, self._content = Growing(np.int64), Growing(np.uint64, 2)
        self.standing, self.arrival, self.base_row = Growing(np.int8), Growing(np.int64), Growing(np.int64)
        self.died, self.gone = Growing(np.int64), Growing(np.int64)
        self.num_looked_up = self.age = 0
        self.time_us, self.end_us = Growing(np.int64), Growing(np.int64)
        self.rejected, self.slot = Growing(np.bool_), Growing(np.int64)
        links = enumerate(base.schema.links)
        self.foreign = {index: Growing(np.int64) for index, link in links if link.table == name}
        self._chunks: list[pa.Table] = []

    def intern(self, keys: pa.Array, columns: pa.Table | None) -> Int64s:
        """[n] int64 slot of each key, made where it is new.

        Args:
            keys: [n] key texts.
            columns: the typed key columns, row for row; None where keys are ids.
        """
        slots = self._slots_of(read_digests(keys))
        unsure = np.flatnonzero(self.base_row.values[slots] == _NOT_LOOKED_UP)
        if len(unsure):
            found: Int64s = np.full(len(unsure), -1, np.int64)
            if columns is not None and self._keyed and self._base.tables[self.name].num_rows:
                found = self._base.rows_of(self.name, key_values(columns.take(pa.array(unsure))))
            self.base_row.values[slots[unsure]] = found
            self.num_looked_up += len(unsure)
        return slots

    def _slots_of(self, digests: Digests) -> Int64s:
        known = len(self.slots)
        slots = self.slots.intern(digests)
        num = len(self.slots) - known
        self.sequence.extend(OLDEST, num)
        self._content_of.extend(-1, num)
        self._content.extend(0, num)
        self.standing.extend(UNTOUCHED, num)
        self.arrival.extend(-1, num)
        self.base_row.extend(_NOT_LOOKED_UP, num)
        return slots

    def remember(self, changes: pa.Table) -> None:
        """Take over which changes of which keys the base has in it already: ``key``, ``sequence`` and ``content``."""
        slots = self._slots_of(read_digests(whole(changes.column("key"))))
        self.sequence.values[slots] = changes.column("sequence").to_numpy()
        self._content.values[slots] = read_digests(whole(changes.column("content")))
        self._content_of.values[slots] = -1

    def remembered(self) -> pa.Table:
        """What ``remember`` takes over: of every key that was ever changed."""
        changed = np.flatnonzero(self.sequence.values > OLDEST)
        self._settle(changed)
        return pa.table(
            {
                "key": write_digests(self.slots.digests[changed]),
                "sequence": pa.array(self.sequence.values[changed], pa.int64()),
                "content": write_digests(self._content.values[changed]),
            }
        )

    def add(self, judged: Judged, slots: Int64s, chosen: Int64s, foreign: Mapping[int, Int64s]) -> None:
        """Let each change hold where it is newer than what does.

        Args:
            judged: the changes.
            slots: [n] int64 of the chosen ones.
            chosen: [n] int64 positions of changes whose key can be read.
            foreign: link index → [n] int64 slots in the targets' states.
        """
        first = self._arrive(judged, slots, chosen, foreign)
        sequence = np.asarray(judged.changes.sequence[chosen], np.int64)
        deleted = np.asarray(judged.changes.deleted[chosen], np.bool_)
        held = (self.sequence.values, self.standing.values, self.arrival.values, self.base_row.values)
        contents = (self._content_of.values, self._content.values)
        tied, died, gone = (np.empty(len(slots), np.int64) for _ in range(3))
        num_tied, *num = _hold_newer(slots, sequence, deleted, first, held, contents, tied, (died, gone))
        self._leave(died, gone, num)
        self._settle_ties(tied[:num_tied], slots, sequence, deleted, first)

    def _settle_ties(
        self, tied: Int64s, slots: Int64s, sequence: Int64s, deleted: NDArray[np.bool_], first: int
    ) -> None:
        """Of changes of equal sequence, let a deletion hold, else the one whose content has the larger digest."""
        tied = tied[sequence[tied] == self.sequence.values[slots[tied]]]
        if not len(tied):
            return
        self._settle(np.unique(slots[tied]))
        mine: Digests = np.full((len(tied), 2), LAST, np.uint64)
        kept = np.flatnonzero(~deleted[tied])
        mine[kept] = self._contents(first + tied[kept])
        held = (self._content.values, self.standing.values, self.arrival.values, self.base_row.values)
        died, gone = np.empty(len(tied), np.int64), np.empty(len(tied), np.int64)
        self._leave(died, gone, _hold_larger(slots[tied], deleted[tied], first + tied, mine, held, (died, gone)))

    def _leave(self, died: Int64s, gone: Int64s, num: Sequence[int]) -> None:
        """Note the slots, so many of each, whose row of the base or whose arrival holds no longer."""
        self.died.extend(died[: num[0]])
        self.gone.extend(gone[: num[1]])

    def _settle(self, slots: Int64s) -> None:
        """Work out the contents of the changes that hold those keys, each once."""
        arrivals = self._content_of.values[slots]
        open_ = np.flatnonzero(arrivals >= 0)
        for begin in range(0, len(open_), _SETTLED_ROWS):
            part = open_[begin : begin + _SETTLED_ROWS]
            self._content.values[slots[part]] = self._contents(arrivals[part])
        self._content_of.values[slots] = -1

    def _contents(self, arrivals: Int64s) -> Digests:
        if not len(arrivals):
            return np.empty((0, 2), np.uint64)
        return read_digests(self._judge.contents(self.name, self.rows(arrivals)))

    def hold(
        self, judged: Judged, slots: Int64s, chosen: Int64s, foreign: Mapping[int, Int64s], base_rows: Int64s | None
    ) -> None:
        """Let rows of the base itself hold where no change since does; other arguments as ``add``.

        Args:
            base_rows: [n] int64 where they are in the base; None for rows that it rejected.
        """
        arrivals = self._arrive(judged, slots, chosen, foreign) + np.arange(len(slots))
        if base_rows is not None:
            self.base_row.values[slots] = base_rows
        held = self.standing.values[slots] == UNTOUCHED
        slots, arrivals = slots[held], arrivals[held]
        self.standing.values[slots] = PRESENT
        self.arrival.values[slots] = arrivals
        self.died.extend(np.unique(slots[self.base_row.values[slots] >= 0]))

    def _arrive(self, judged: Judged, slots: Int64s, chosen: Int64s, foreign: Mapping[int, Int64s]) -> int:
        """Keep rows; returns the first one's arrival."""
        first = len(self.slot)
        self.age += 1
        if len(chosen):
            self._keep(taken(judged.rows, chosen))
        self.slot.extend(slots)
        self.time_us.extend(judged.time_us[chosen])
        self.end_us.extend(judged.end_us[chosen])
        self.rejected.extend(judged.is_rejected[chosen])
        for index, named in foreign.items():
            self.foreign[index].extend(named)
        return first

    def _keep(self, rows: pa.Table) -> None:
        """Add a chunk of rows; chunks of like sizes are joined once there are some of them, so that they stay few."""
        self._chunks.append(rows)
        while len(self._chunks) >= _JOINED and len(self._chunks[-_JOINED]) < _JOINED * len(self._chunks[-1]):
            joined = pa.concat_tables(self._chunks[-_JOINED:]).combine_chunks()
            self._chunks[-_JOINED:] = [joined]

    def rows(self, arrivals: Int64s) -> pa.Table:
        """The typed rows of arrivals, in their order."""
        return self._rows().take(pa.array(arrivals))

    def rows_since(self, first: int, names: Sequence[str]) -> pa.Table:
        """Those columns of the arrivals from one on."""
        return self._rows().select(list(names)).slice(first)

    def _rows(self) -> pa.Table:
        if self._chunks:
            return pa.concat_tables(self._chunks)
        return pa.table({column.name: pa.nulls(0) for column in self._base.schema.table(self.name).columns})

    def dead(self) -> Int64s:
        """[n] int64 rows of the base that were updated or deleted, ascending."""
        rows: Int64s = self.base_row.values[self.died.values]
        return np.sort(rows)


def taken(values: Any, chosen: Int64s) -> Any:
    """An array or a table at ascending positions; itself where those are all."""
    return values if len(chosen) == len(values) else values.take(pa.array(chosen))


def key_values(columns: pa.Table) -> Any:
    """Key columns as ``Snapshot.rows_of`` takes them: an array of whole numbers, a list, or tuples."""
    if columns.num_columns == 1:
        column = columns.column(0)
        if pa.types.is_signed_integer(column.type) and column.null_count == 0:
            return column.to_numpy().astype(np.int64)
        return column.to_pylist()
    return list(zip(*(column.to_pylist() for column in columns.columns), strict=True))


@compiled
def _hold_newer(slots, sequence, deleted, first, held, contents, tied, left):  # type: ignore[no-untyped-def]
    """Let changes of larger sequences hold.

    ``tied`` [n] int64 is written: positions of changes that were as new as what held; and ``left``: slots whose row of
    the base, and slots whose arrival, holds no longer. Returns how many each are.
    """
    held_sequence, standing, arrival, base_row = held
    content_of, content = contents
    num_tied = num_died = num_gone = 0
    for i in range(slots.shape[0]):
        slot = slots[i]
        if sequence[i] < held_sequence[slot]:
            continue
        if sequence[i] == held_sequence[slot]:
            tied[num_tied] = i
            num_tied += 1
            continue
        num_died, num_gone = _leave(slot, standing, arrival, base_row, left, num_died, num_gone)
        held_sequence[slot] = sequence[i]
        if deleted[i]:
            standing[slot], arrival[slot], content_of[slot] = DELETED, -1, -1
            content[slot, 0] = content[slot, 1] = LAST
        else:
            standing[slot], arrival[slot], content_of[slot] = PRESENT, first + i, first + i
    return num_tied, num_died, num_gone


@compiled
def _hold_larger(slots, deleted, arrivals, mine, held, left):  # type: ignore[no-untyped-def]
    """Let changes of equal sequences hold where their contents are larger; ``left`` as in ``_hold_newer``."""
    content, standing, arrival, base_row = held
    num_died = num_gone = 0
    for i in range(slots.shape[0]):
        slot = slots[i]
        if mine[i, 0] < content[slot, 0] or (mine[i, 0] == content[slot, 0] and mine[i, 1] <= content[slot, 1]):
            continue
        num_died, num_gone = _leave(slot, standing, arrival, base_row, left, num_died, num_gone)
        content[slot, 0], content[slot, 1] = mine[i, 0], mine[i, 1]
        standing[slot] = DELETED if deleted[i] else PRESENT
        arrival[slot] = -1 if deleted[i] else arrivals[i]
    return num_died, num_gone


@compiled
def _leave(slot, standing, arrival, base_row, left, num_died, num_gone):  # type: ignore[no-untyped-def]
    died, gone = left
    if standing[slot] == UNTOUCHED and base_row[slot] >= 0:
        died[num_died] = slot
        num_died += 1
    if arrival[slot] >= 0:
        gone[num_gone] = slot
        num_gone += 1
    return num_died, num_gone
