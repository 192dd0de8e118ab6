"""State: what a base snapshot and all changes since add up to, key by key, whatever the order they came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kincast.errors import ProjectError
from kincast.graph.arrivals import TableState, taken
from kincast.graph.judge import Judge, Judged, foreign_sql, text_sql, whole
from kincast.graph.snapshot import Snapshot
from kincast.schema import Schema
from kincast.source.base import quote
from kincast.source.cast import kept_type
from kincast.source.change import Changes, Int64s

WANTED = "_kincast_wanted"


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

    Raises:
        ProjectError: a table has versions of its rows, which cannot change while they are read.
    """

    def __init__(self, base: Snapshot, folded: Folded | None = None) -> None:
        versioned = [table.name for table in base.schema if table.versioned]
        if versioned:
            hint = "build a new snapshot instead: kincast build"
            raise ProjectError("tables of versions cannot be live", where=", ".join(versioned), hint=hint)
        self.base = base
        self.schema: Schema = base.schema
        self._judge = Judge(base.schema)
        self._typed = Judge(typed_schema(base.schema))
        self.tables = {table.name: TableState(base, table.name, self._judge) for table in base.schema}
        for name, changes in (folded.changes if folded else {}).items():
            self.tables[name].remember(changes)
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
        self._hold(self._typed, name, values.drop_columns(["_row"]), ids, found)

    def _hold(
        self, judge: Judge, name: str, rows: pa.Table, ids: list[str] | None, base_rows: Int64s | None = None
    ) -> None:
        """Let rows that the base has, or waits with, be held like live ones."""
        num = rows.num_rows
        changes = Changes(name, rows, np.zeros(num, np.int64), np.zeros(num, np.bool_), tuple(ids) if ids else None)
        judged = judge.judge(changes)
        slots, chosen, foreign = self._interned(judged)
        self.tables[name].hold(judged, slots, chosen, foreign, base_rows)

    def _interned(self, judged: Judged) -> tuple[Int64s, Int64s, dict[int, Int64s]]:
        """Slots of the changes whose key can be read, their positions, and the slots their foreign keys name."""
        table = self.schema.table(judged.changes.table)
        chosen = _where_valid(judged.keys)
        columns = taken(judged.rows.select(list(table.key)), chosen) if table.key else None
        slots = self.tables[table.name].intern(taken(judged.keys, chosen), columns)
        foreign = {}
        for link, (keys, key_columns) in judged.foreign.items():
            foreign[link] = self._named(link, taken(keys, chosen), taken(key_columns, chosen))
        return slots, chosen, foreign

    def _named(self, link: int, keys: pa.Array, columns: pa.Table) -> Int64s:
        """[n] int64 slots in the target's state of the keys that rows name; -1 where they name none."""
        valid = _where_valid(keys)
        named: Int64s = np.full(len(keys), -1, np.int64)
        target = self.tables[self.schema.links[link].target]
        if len(valid):
            named[valid] = target.intern(taken(keys, valid), taken(columns, valid))
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
        return whole(values.column("named")), values.select(list(link.target_columns)), values.column("_row").to_numpy()

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


def _where_valid(keys: pa.Array) -> Int64s:
    """[k] int64 positions that are not null."""
    if not keys.null_count:
        return np.arange(len(keys))
    return np.flatnonzero(pc.is_valid(keys).to_numpy(zero_copy_only=False))
