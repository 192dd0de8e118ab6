"""Judge: changes typed, timed and judged by the rules that rows of a build are judged by, before they join a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.graph.snapshot import NEVER_US
from kincast.schema import Link, Schema, Table
from kincast.source.base import first_line, quote
from kincast.source.cast import clock_sql, foreign_as_key_sql, in_calendar, kept_type, unreadable_sql, value_sql
from kincast.source.change import Changes, Int64s

NO_TIME_US = int(NEVER_US)
"""The time of a row that has none, or not yet."""

RULE_COLUMN = "_rule"


@dataclass(frozen=True, slots=True)
class Judged:
    """Changes of one table, typed by the schema card.

    Attributes:
        changes: as they came.
        rows: [n] the table's columns in the card's order, typed; null where a value is missing or unreadable.
        rules: [n] text of the rule that rejects the row (``key.null``, ``time.missing``, ``time.unreadable``), or
            null where it is accepted. Of deleted rows only the key is looked at.
        keys: [n] text that is the same for equal keys (or ids) only; null where a key column is null or unreadable.
        time_us: [n] int64 row's own time; ``NO_TIME_US`` where it has none or takes it through a link.
        end_us: [n] int64 instant from which the row no longer exists; ``NEVER_US`` without one.
        foreign: link index → the key it names, [n] text as in ``keys``, null for none; and that key's typed columns.
        unreadable: column → values that could not be read as its type and became null.
        samples: column → up to three of those values.
    """

    changes: Changes
    rows: pa.Table
    rules: pa.Array
    keys: pa.Array
    time_us: Int64s
    end_us: Int64s
    foreign: Mapping[int, tuple[pa.Array, pa.Table]]
    unreadable: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def is_rejected(self) -> NDArray[np.bool_]:
        """[n] bool True where a rule rejects the row."""
        return np.asarray(pc.is_valid(self.rules).to_numpy(zero_copy_only=False), np.bool_)

    def accepted(self) -> Changes:
        """The changes that no rule rejects, as they came."""
        return take_changes(self.changes, np.flatnonzero(~self.is_rejected))

    def rejected(self) -> pa.Table:
        """The rows that a rule rejects, as they came, with ``_rule``."""
        chosen = pa.array(np.flatnonzero(self.is_rejected))
        return self.changes.rows.take(chosen).append_column(RULE_COLUMN, self.rules.take(chosen))


def take_changes(changes: Changes, index: Int64s) -> Changes:
    """The changes at those positions, in that order."""
    ids = None if changes.ids is None else tuple(changes.ids[i] for i in index.tolist())
    rows = changes.rows.take(pa.array(index))
    return Changes(changes.table, rows, changes.sequence[index], changes.deleted[index], ids)


class Judge:
    """Judges changes of a database's tables; for one thread at a time.

    Args:
        schema: what the rows should look like.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET threads = 1")  # rows come as one chunk, which more would not share
        self._statements: dict[tuple[str, pa.Schema], tuple[str, list[str]]] = {}

    def judge(self, changes: Changes) -> Judged:
        """Type and judge changes.

        Args:
            changes: of a table of the schema; columns that the schema does not have are left out.

        Raises:
            SchemaError: there is no such table.
            DataError: a table without a key and changes without ids, or the other way round; a row without a key is
                to be deleted; or a column cannot be read at all.
        """
        table = self.schema.table(changes.table)
        if bool(table.key) == (changes.ids is not None):
            what = "its rows are told apart by its key" if table.key else "it has no key, so each row needs an id"
            raise DataError(what, where=f"changes of {table.name}")
        if changes.ids is not None and changes.deleted.any():
            raise DataError("rows of a table without a key can only be added", where=f"changes of {table.name}")
        try:
            return self._judge(table, changes)
        except (duckdb.Error, pa.ArrowException) as error:
            raise DataError(f"the rows cannot be read: {first_line(error)}", where=table.name) from None

    def contents(self, name: str, rows: pa.Table) -> pa.Array:
        """[n] text that is the same for equal rows only: a digest of each.

        Args:
            name: of their table.
            rows: [n] as in ``Judged``.
        """
        columns = self.schema.table(name).columns
        values = ", ".join(f"CAST(t{i} AS {kept_type(column)})" for i, column in enumerate(columns))
        with self._registered(rows.rename_columns([f"t{i}" for i in range(len(columns))])):
            found = self._connection.sql(f"SELECT md5(CAST(row({values}) AS VARCHAR)) FROM incoming").to_arrow_table()
        return whole(found.column(0))

    @contextmanager
    def _registered(self, rows: pa.Table) -> Iterator[None]:
        """The rows as the table ``incoming``."""
        self._connection.register("incoming", rows)
        try:
            yield
        finally:
            self._connection.unregister("incoming")

    def _statement(self, table: Table, present: dict[int, str], incoming: pa.Schema) -> tuple[str, list[str]]:
        """What ``_sql`` gives; made once for columns that arrive alike, which must be registered."""
        known = self._statements.get((table.name, incoming))
        if known is None:
            arrives = {row[0]: row[1] for row in self._connection.execute("DESCRIBE incoming").fetchall()}
            known = self._statements[table.name, incoming] = _sql(self.schema, table, present, arrives)
        return known

    def _judge(self, table: Table, changes: Changes) -> Judged:
        incoming, present = _incoming(table, changes)
        with self._registered(incoming):
            sql, names = self._statement(table, present, incoming.schema)
            found = self._connection.sql(sql).to_arrow_table()
        parts = dict(zip(names, found.columns, strict=True))
        unreadable, samples = _unreadable(table, present, parts, incoming)
        foreign = {}
        for index, link in enumerate(self.schema.links):
            if link.table == table.name:
                columns = [parts[f"foreign{index}.{i}"] for i in range(len(link.columns))]
                foreign[index] = (whole(parts[f"foreign{index}"]), pa.table(columns, list(link.target_columns)))
        return Judged(
            changes=changes,
            rows=pa.table([parts[f"value{i}"] for i in range(len(table.columns))], [c.name for c in table.columns]),
            rules=whole(parts["rule"]),
            keys=whole(parts["key"]),
            time_us=_instants(parts["time"]),
            end_us=_instants(parts["end"]),
            foreign=foreign,
            unreadable=unreadable,
            samples=samples,
        )


def _incoming(table: Table, changes: Changes) -> tuple[pa.Table, dict[int, str]]:
    """The columns that there are, named by their place in the card, with what else a rule needs to know."""
    arrays, names, present = [], [], {}
    for index, column in enumerate(table.columns):
        if column.name in changes.rows.column_names:
            values = changes.rows.column(column.name)
            if not pa.types.is_null(values.type):
                present[index] = f"c{index}"
                arrays.append(_plain(values))
                names.append(f"c{index}")
    arrays.append(pa.array(changes.deleted, pa.bool_()))
    arrays.append(pa.nulls(len(changes), pa.string()) if changes.ids is None else pa.array(changes.ids, pa.string()))
    return pa.table(arrays, [*names, "deleted", "id"]).combine_chunks(), present


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values without a dictionary, which a database may hand over for texts."""
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _sql(schema: Schema, table: Table, present: dict[int, str], arrives: dict[str, str]) -> tuple[str, list[str]]:
    """SQL of everything that ``Judged`` holds, and the names of its columns in their order."""
    typed = []
    for index, column in enumerate(table.columns):
        raw = present.get(index)
        kept = kept_type(column)
        value = f"CAST(NULL AS {kept})" if raw is None else value_sql(raw, arrives[raw], column)
        typed.append(f"CAST({value} AS {kept}) AS t{index}")
    inner = f"SELECT *, {', '.join(typed)} FROM incoming"
    place = {column.name: f"t{index}" for index, column in enumerate(table.columns)}
    key = text_sql([place[name] for name in table.key]) if table.key else "md5(id)"
    time, rule = _time_sql(table, present, arrives)
    rule = f"CASE WHEN deleted THEN NULL ELSE {rule} END"
    if table.key:
        rule = f"CASE WHEN {key} IS NULL THEN 'key.null' ELSE {rule} END"
    chosen = {f"value{i}": f"t{i}" for i in range(len(table.columns))}
    chosen["rule"] = f"CAST({rule} AS VARCHAR)"
    chosen["key"] = key
    chosen["time"] = f"epoch_us(CAST({time} AS TIMESTAMP))"
    chosen["end"] = (
        f"epoch_us(CAST({place[table.end_time]} AS TIMESTAMP))" if table.end_time else "CAST(NULL AS BIGINT)"
    )
    for index, link in enumerate(schema.links):
        if link.table == table.name:
            parts = foreign_sql(schema, link, place)
            chosen[f"foreign{index}"] = text_sql(parts)
            chosen.update({f"foreign{index}.{i}": part for i, part in enumerate(parts)})
    columns = ", ".join(f"{sql} AS {quote(name)}" for name, sql in chosen.items())
    return f"SELECT {columns} FROM ({inner})", list(chosen)


def _time_sql(table: Table, present: dict[int, str], arrives: dict[str, str]) -> tuple[str, str]:
    """SQL of a row's own time, and of the rule that rejects the row, or NULL."""
    time = table.time
    if time is None or time.column is None:
        return "NULL", "NULL"
    places = {column.name: index for index, column in enumerate(table.columns)}
    own = places[time.column]
    moment = f"t{own}"
    clock = present.get(places[time.clock]) if time.clock is not None else None
    if time.clock is not None:
        moment = clock_sql(f"({moment})", clock, arrives[clock]) if clock else f"date_trunc('day', {moment})"
    if time.shift is not None:
        moment = in_calendar(f"TRY(({moment}) + to_{time.shift.unit}({time.shift.count}))")
    given = present.get(own, "NULL")
    missing = f"CASE WHEN {given} IS NULL THEN 'time.missing' ELSE 'time.unreadable' END"
    return moment, f"CASE WHEN ({moment}) IS NULL THEN {missing} END"


def text_sql(parts: list[str]) -> str:
    """SQL of a text that is the same for the same key only; NULL when a part of the key is NULL."""
    if len(parts) == 1:
        return f"md5(CAST({parts[0]} AS VARCHAR))"
    texts = [f"CAST({part} AS VARCHAR)" for part in parts]
    return f"md5({' || '.join(f'''length({text}) || ':' || {text}''' for text in texts)})"


def foreign_sql(schema: Schema, link: Link, place: Mapping[str, str]) -> list[str]:
    """SQL of the key that a row of a link's table names, one part for each key column, in the key's types."""
    source, target = schema.table(link.table), schema.table(link.target)
    return [
        foreign_as_key_sql(f"({place[own]})", kept_type(source.column(own)), kept_type(target.column(key)))
        for own, key in zip(link.columns, link.target_columns, strict=True)
    ]


def _unreadable(
    table: Table, present: dict[int, str], parts: Mapping[str, pa.ChunkedArray], incoming: pa.Table
) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """Per column the values that could not be read, and up to three of them."""
    counts, samples = {}, {}
    living = pc.invert(incoming.column("deleted"))
    for index, raw in present.items():
        came, typed = incoming.column(raw), parts[f"value{index}"]
        if typed.null_count == came.null_count:  # what was null is null
            continue
        lost = pc.and_(living, pc.and_(pc.is_valid(came), pc.is_null(typed)))
        if not pc.any(lost).as_py():
            continue
        with duckdb.connect() as connection:
            connection.register("lost", pa.table({"v": came.filter(lost)}))
            arrives = str(connection.sql("SELECT v FROM lost").types[0])
            condition = unreadable_sql("v", arrives, "NULL")
            sql = (
                f"SELECT left(CAST(v AS VARCHAR), 60) AS v, count(*) FROM lost WHERE {condition} GROUP BY 1 ORDER BY 1"
            )
            found = connection.execute(sql).fetchall()
        if found:
            name = table.columns[index].name
            counts[name] = sum(row[1] for row in found)
            samples[name] = tuple(row[0] for row in found[:3])
    return counts, samples


def _instants(column: pa.ChunkedArray) -> Int64s:
    return np.asarray(pc.fill_null(column, NO_TIME_US).to_numpy(), np.int64)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
