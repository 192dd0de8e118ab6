"""State: what a base snapshot and all changes since add up to, key by key, whatever the order they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kincast.graph.judge import Judge, Judged, foreign_sql, text_sql
from kincast.graph.snapshot import Snapshot
from kincast.schema import Schema
from kincast.source.base import quote
from kincast.source.cast import kept_type
from kincast.source.change import Changes, Int64s

UNTOUCHED, PRESENT, DELETED = 0, 1, 2
"""What became of a key since the base snapshot."""

OLDEST = np.iinfo(np.int64).min
WANTED = "_kincast_wanted"
_NOT_LOOKED_UP = -2
_FEW_CHUNKS = 64


class Growing:
    """An array that grows at its end.

    What was read of it stays as it was, unless it is written on.

    Args:
        dtype: of its values.
        width: of its rows; one-dimensional when None.
    """

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self._values: NDArray[Any] = np.empty(16 if width is None else (16, width), dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """[n] the values so far; writing on them changes them."""
        return self._values[: self._size]

    def extend(self, values: Any, num: int | None = None) -> None:
        """Add values, or ``num`` times one value."""
        num = len(values) if num is None else num
        size = self._size + num
        if size > len(self._values):
            grown = np.empty((max(size, 2 * len(self._values)), *self._values.shape[1:]), self._values.dtype)
            grown[: self._size] = self.values
            self._values = grown
        self._values[self._size : size] = values
        self._size = size


class TableState:
    """Keys and arrivals of one table.

    A *slot* is a key that was heard of: changed, or named by a foreign key. An *arrival* is a row that came.

    Attributes:
        name: of the table.
        slots: key text → slot.
        sequence: [slots] int64 of the change that holds; ``OLDEST`` before any.
        content: [slots] bytes of the change that holds, settling equal sequences.
        standing: [slots] int8 UNTOUCHED, PRESENT or DELETED.
        arrival: [slots] int64 arrival that holds the row; -1 for none.
        base_row: [slots] int64 row of the key in the base; -1 for none.
        time_us, end_us: [arrivals] int64 own time and end, as in ``Judged``.
        rejected: [arrivals] bool a rule rejects the row.
        slot: [arrivals] int64 its key's slot.
        foreign: link index → [arrivals] int64 slot that its foreign key names in the target's state; -1 for null.
    """

    def __init__(self, base: Snapshot, name: str) -> None:
        self.name = name
        self._base = base
        self._keyed = bool(base.schema.table(name).key)
        self.slots: dict[str, int] = {}
        self.sequence, self.content = Growing(np.int64), Growing("S32")
        self.standing, self.arrival, self.base_row = Growing(np.int8), Growing(np.int64), Growing(np.int64)
        self.time_us, self.end_us = Growing(np.int64), Growing(np.int64)
        self.rejected, self.slot = Growing(np.bool_), Growing(np.int64)
        links = enumerate(base.schema.links)
        self.foreign = {index: Growing(np.int64) for index, link in links if link.table == name}
        self._chunks: list[pa.Table] = []

    def intern(self, keys: Sequence[str], columns: pa.Table | None) -> Int64s:
        """[n] int64 slot of each key, made where it is new.

        Args:
            keys: [n] key texts.
            columns: the typed key columns, row for row; None where keys are ids.
        """
        slots = self._slots_of(keys)
        unsure = np.flatnonzero(self.base_row.values[slots] == _NOT_LOOKED_UP)
        if len(unsure):
            found: Int64s = np.full(len(unsure), -1, np.int64)
            if columns is not None and self._keyed and self._base.tables[self.name].num_rows:
                found = self._base.rows_of(self.name, key_values(columns.take(pa.array(unsure))))
            self.base_row.values[slots[unsure]] = found
        return slots

    def _slots_of(self, keys: Sequence[str]) -> Int64s:
        slots = np.fromiter(map(self.slots.get, keys, repeat(-1)), np.int64, len(keys))
        known = len(self.slots)
        for place in np.flatnonzero(slots < 0).tolist():
            slots[place] = self.slots.setdefault(keys[place], len(self.slots))
        self._make(len(self.slots) - known)
        return slots

    def _make(self, num: int) -> None:
        self.sequence.extend(OLDEST, num)
        self.content.extend(b"", num)
        self.standing.extend(UNTOUCHED, num)
        self.arrival.extend(-1, num)
        self.base_row.extend(_NOT_LOOKED_UP, num)

    def remember(self, keys: Sequence[str], sequence: Int64s, content: NDArray[np.bytes_]) -> None:
        """Take over which changes of which keys the base has in it already."""
        slots = self._slots_of(keys)
        self.sequence.values[slots] = sequence
        self.content.values[slots] = content

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
        content = np.array(judged.contents.take(pa.array(chosen)).to_pylist(), "S32")
        winners = _newest(slots, sequence, content)
        held = slots[winners]
        newer = sequence[winners] > self.sequence.values[held]
        newer |= (sequence[winners] == self.sequence.values[held]) & (content[winners] > self.content.values[held])
        winners, held = winners[newer], held[newer]
        deleted = judged.changes.deleted[chosen][winners]
        self.sequence.values[held] = sequence[winners]
        self.content.values[held] = content[winners]
        self.standing.values[held] = np.where(deleted, DELETED, PRESENT)
        self.arrival.values[held] = np.where(deleted, -1, first + winners)

    def hold(self, judged: Judged, slots: Int64s, chosen: Int64s, foreign: Mapping[int, Int64s]) -> None:
        """Let rows of the base itself hold where no change since does; arguments as ``add``."""
        arrivals = self._arrive(judged, slots, chosen, foreign) + np.arange(len(slots))
        held = self.standing.values[slots] == UNTOUCHED
        self.standing.values[slots[held]] = PRESENT
        self.arrival.values[slots[held]] = arrivals[held]

    def _arrive(self, judged: Judged, slots: Int64s, chosen: Int64s, foreign: Mapping[int, Int64s]) -> int:
        """Keep rows; returns the first one's arrival."""
        first = len(self.slot)
        self._chunks.append(judged.rows.take(pa.array(chosen)) if len(chosen) < len(judged) else judged.rows)
        self.slot.extend(slots)
        self.time_us.extend(judged.time_us[chosen])
        self.end_us.extend(judged.end_us[chosen])
        self.rejected.extend(judged.is_rejected[chosen])
        for index, named in foreign.items():
            self.foreign[index].extend(named)
        return first

    def rows(self, arrivals: Int64s) -> pa.Table:
        """The typed rows of arrivals, in their order."""
        if len(self._chunks) > _FEW_CHUNKS:
            self._chunks = [pa.concat_tables(self._chunks).combine_chunks()]
        if not self._chunks:
            columns = self._base.schema.table(self.name).columns
            return pa.table({column.name: pa.nulls(0) for column in columns})
        return pa.concat_tables(self._chunks).take(pa.array(arrivals))

    def present(self) -> Int64s:
        """[n] int64 arrivals that hold a key now and that no rule rejects."""
        arrivals: Int64s = self.arrival.values[self.standing.values == PRESENT]
        return np.asarray(arrivals[~self.rejected.values[arrivals]], np.int64)

    def dead(self) -> Int64s:
        """[n] int64 rows of the base that were updated or deleted, ascending."""
        rows: Int64s = self.base_row.values[self.standing.values != UNTOUCHED]
        return np.sort(rows[rows >= 0])


@dataclass(frozen=True, slots=True)
class Folded:
    """What a compacted snapshot has in it already.

    Attributes:
        record: last record of the log that went into it.
        changes: table → columns ``key``, ``sequence`` and ``content`` of every key that was ever changed or deleted.
    """

    record: int
    changes: Mapping[str, pa.Table]


class State:
    """All tables of a base snapshot with the changes since.

    Args:
        base: the snapshot.
        folded: what it has in it already; None for one that was built from the source.
    """

    def __init__(self, base: Snapshot, folded: Folded | None = None) -> None:
        self.base = base
        self.schema: Schema = base.schema
        self.tables = {table.name: TableState(base, table.name) for table in base.schema}
        self._judge = Judge(base.schema)
        self._typed = Judge(typed_schema(base.schema))
        for name, changes in (folded.changes if folded else {}).items():
            columns = changes.to_pydict()
            sequence = np.array(columns["sequence"], np.int64)
            self.tables[name].remember(columns["key"], sequence, np.array(columns["content"], "S32"))
        self.dangling = self._find_dangling()
        self._take_waiting()

    def apply(self, changes: Changes) -> Judged:
        """Judge changes of one table and let the newer ones hold.

        Raises:
            SchemaError: there is no such table.
            DataError: they cannot be read at all.
        """
        judged = self._judge.judge(changes)
        self.tables[changes.table].add(judged, *self._interned(judged))
        return judged

    def lift(self, name: str, rows: Int64s) -> None:
        """Take rows out of the base as they are, so that they can get another time or lose it."""
        if not len(rows):
            return
        with self.base.open_tables() as tables, tables.connect() as connection:
            connection.register(WANTED, pa.table({"wanted": rows}))
            columns = ", ".join(quote(column.name) for column in self.schema.table(name).columns)
            sql = f"SELECT {columns}, _row FROM {quote(name)} SEMI JOIN {WANTED} ON _row = wanted ORDER BY _row"
            values = connection.sql(sql).to_arrow_table()
        found = values.column("_row").to_numpy()
        ids = None if self.schema.table(name).key else [f"base row {row}" for row in found.tolist()]
        slots = self._hold(self._typed, name, values.drop_columns(["_row"]), ids)
        self.tables[name].base_row.values[slots] = found

    def _hold(self, judge: Judge, name: str, rows: pa.Table, ids: list[str] | None) -> Int64s:
        """Let rows that the base has, or waits with, be held like live ones; returns their slots."""
        num = rows.num_rows
        changes = Changes(name, rows, np.zeros(num, np.int64), np.zeros(num, np.bool_), tuple(ids) if ids else None)
        judged = judge.judge(changes)
        slots, chosen, foreign = self._interned(judged)
        self.tables[name].hold(judged, slots, chosen, foreign)
        return slots

    def _interned(self, judged: Judged) -> tuple[Int64s, Int64s, dict[int, Int64s]]:
        """Slots of the changes whose key can be read, their positions, and the slots their foreign keys name."""
        table = self.schema.table(judged.changes.table)
        chosen = np.flatnonzero(pc.is_valid(judged.keys).to_numpy(zero_copy_only=False))
        index = pa.array(chosen)
        columns = judged.rows.select(list(table.key)).take(index) if table.key else None
        slots = self.tables[table.name].intern(judged.keys.take(index).to_pylist(), columns)
        foreign = {}
        for link, (keys, key_columns) in judged.foreign.items():
            foreign[link] = self._named(link, keys.take(index), key_columns.take(index))
        return slots, chosen, foreign

    def _named(self, link: int, keys: pa.Array, columns: pa.Table) -> Int64s:
        """[n] int64 slots in the target's state of the keys that rows name; -1 where they name none."""
        valid = np.flatnonzero(pc.is_valid(keys).to_numpy(zero_copy_only=False))
        named: Int64s = np.full(len(keys), -1, np.int64)
        target = self.tables[self.schema.links[link].target]
        if len(valid):
            index = pa.array(valid)
            named[valid] = target.intern(keys.take(index).to_pylist(), columns.take(index))
        return named

    def _find_dangling(self) -> dict[int, tuple[Int64s, Int64s]]:
        """Link index → base rows whose foreign key names no row yet, ascending, and the slots of what it names."""
        found = {}
        for index, link in enumerate(self.base.links):
            rows = np.flatnonzero(link.forward < 0)
            if not len(rows):
                continue
            keys, columns, rows = self._foreign_keys(index, rows)
            found[index] = (rows, self._named(index, keys, columns))
        return found

    def _foreign_keys(self, index: int, rows: Int64s) -> tuple[pa.Array, pa.Table, Int64s]:
        """The keys that those base rows name, where they name any."""
        link = self.schema.links[index]
        parts = foreign_sql(self.schema, link, {name: quote(name) for name in link.columns})
        columns = ", ".join(f"{part} AS {quote(name)}" for part, name in zip(parts, link.target_columns, strict=True))
        with self.base.open_tables() as tables, tables.connect() as connection:
            connection.register(WANTED, pa.table({"wanted": rows}))
            sql = f"SELECT {text_sql(parts)} AS named, _row, {columns} FROM {quote(link.table)} "
            sql += f"SEMI JOIN {WANTED} ON _row = wanted WHERE named IS NOT NULL ORDER BY _row"
            values = connection.sql(sql).to_arrow_table()
        keys = values.column("named").combine_chunks()
        keys = pa.concat_arrays(keys.chunks) if isinstance(keys, pa.ChunkedArray) else keys
        return keys, values.select(list(link.target_columns)), values.column("_row").to_numpy()

    def _take_waiting(self) -> None:
        """Let the rows that the base rejected because their parent was not there wait for it."""
        for table in self.schema:
            waiting = waiting_rows(self.base, table.name)
            if waiting is None or not waiting.num_rows:
                continue
            ids = None if table.key else [f"waiting row {i}" for i in range(waiting.num_rows)]
            self._hold(self._judge, table.name, waiting, ids)


def waiting_rows(base: Snapshot, name: str) -> pa.Table | None:
    """The rows of a table that the base rejected because their parent was not there, as they came; None for none."""
    if "time.no_parent" not in base.manifest.counts[name]["rejected"]:
        return None
    with base.open_tables() as tables:
        path = tables.rejected_path(name)
    if path is None:
        return None
    rows = pq.read_table(path)
    return rows.filter(pc.equal(rows.column("_rule"), "time.no_parent")).drop_columns(["_rule"])


def typed_schema(schema: Schema) -> Schema:
    """The same schema for rows that were typed already: what was text or a number is a timestamp now."""
    tables = tuple(
        replace(
            table, columns=tuple(replace(column, stored=kept_type(column), format=None) for column in table.columns)
        )
        for table in schema
    )
    return Schema(tables, schema.links)


def key_values(columns: pa.Table) -> Any:
    """Key columns as ``Snapshot.rows_of`` takes them: an array of whole numbers, a list, or tuples."""
    if columns.num_columns == 1:
        column = columns.column(0)
        if pa.types.is_signed_integer(column.type) and column.null_count == 0:
            return column.to_numpy().astype(np.int64)
        return column.to_pylist()
    return list(zip(*(column.to_pylist() for column in columns.columns), strict=True))


def _newest(slots: Int64s, sequence: Int64s, content: NDArray[np.bytes_]) -> Int64s:
    """Positions of each slot's newest change: the largest sequence, and of those the largest content."""
    if not len(slots):
        return slots
    order = np.lexsort((sequence, slots))
    ordered, numbers = slots[order], sequence[order]
    if ((ordered[1:] == ordered[:-1]) & (numbers[1:] == numbers[:-1])).any():
        order = np.lexsort((content, sequence, slots))
        ordered = slots[order]
    return np.asarray(order[np.append(ordered[1:] != ordered[:-1], True)], np.int64)
