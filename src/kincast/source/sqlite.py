"""SQLite file: the tables of a SQLite database, whose columns may hold values of any type."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote as url_quote

import duckdb
import pyarrow as pa

from kincast.errors import SourceError
from kincast.schema import Column, Link, Schema, Table
from kincast.source.base import (
    BATCH_ROWS,
    check_window,
    chosen_columns,
    files_fingerprint,
    first_line,
    fitting_links,
    guess_semantic,
    quote,
    require_table,
    storage_or,
    unique_names,
)
from kincast.source.cast import moment_sql
from kincast.source.duckdb_file import stream, window

# A column declared to hold numbers in which at most this share is text is read as numbers; the text becomes null and
# is counted.
_TOLERATED = 0.01
_ARROW = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_(), "BLOB": pa.binary()}


class SqliteSource:
    """Reads a SQLite file, read-only.

    A column's stored type follows its values, then its declaration: whole numbers, numbers, text or bytes. Dates are
    text or numbers in SQLite; the inference recognises them. A column of mixed values arrives as text.
    """

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self._path = path
        self._mixed: set[tuple[str, str]] = set()

    def inspect(self) -> Schema:
        """See ``Source.inspect``."""
        return self._schema

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        time: str | None = None,
    ) -> pa.RecordBatchReader:
        """See ``Source.scan``; ``since`` and ``until`` need a time column of ISO text."""
        found = require_table(self._schema, table, self.url)
        names = chosen_columns(found, columns, self.url)
        check_window(since, until, time, self.url)
        if time is not None and found.column(time).stored != "VARCHAR":
            raise SourceError(f"column {table}.{time} is no ISO text, so rows cannot be chosen by it", where=self.url)
        wanted = names if time is None or time in names else [*names, time]
        types = [self._arrow_type(table, found.column(name)) for name in wanted]
        schema = pa.schema(list(zip(wanted, types, strict=True)))
        rows = pa.RecordBatchReader.from_batches(schema, self._batches(table, wanted, schema))
        if time is None or (since is None and until is None):
            return rows
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("arriving", rows)
        sql = f"SELECT {', '.join(map(quote, names))} FROM arriving{window(moment_sql(quote(time)), since, until)}"
        return stream(connection, sql, self.url)

    def fingerprint(self) -> str | None:
        """See ``Fingerprinted.fingerprint``; what is still in the log of writes counts."""
        return files_fingerprint([self._path, self._path.with_name(f"{self._path.name}-wal")])

    def write(self, table: str, rows: pa.Table) -> None:
        """See ``Source.write``."""
        columns = ", ".join(f"{quote(field.name)} {_declared(field.type)}" for field in rows.schema)
        marks = ", ".join("?" for _ in rows.schema)
        try:
            with closing(sqlite3.connect(self._path, timeout=5.0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"DROP TABLE IF EXISTS {quote(table)}")
                connection.execute(f"CREATE TABLE {quote(table)} ({columns})")
                for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
                    values = zip(*(map(_storable, column.to_pylist()) for column in batch.columns), strict=True)
                    connection.executemany(f"INSERT INTO {quote(table)} VALUES ({marks})", values)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            what = f"table {table} cannot be written: {first_line(error)}"
            raise storage_or(error, SourceError(what, where=self.url, hint=_hint(error))) from None
        self.__dict__.pop("_schema", None)

    @cached_property
    def _schema(self) -> Schema:
        try:
            with closing(self._connect()) as connection:
                listed = connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
                    "ORDER BY name"
                )
                names = unique_names(row[0] for row in listed)
                tables = [self._inspect_table(connection, name) for name in names]
                links = [link for table in tables for link in _links(connection, table, tables)]
        except sqlite3.Error as error:
            raise SourceError(f"cannot be read: {first_line(error)}", where=self.url, hint=_hint(error)) from None
        if not tables:
            raise SourceError("the database has no tables", where=self.url)
        return Schema(tuple(tables), fitting_links(tables, links))

    def _inspect_table(self, connection: sqlite3.Connection, name: str) -> Table:
        described = connection.execute(f"PRAGMA table_xinfo({quote(name)})").fetchall()
        visible = [row for row in described if row[6] != 1]
        counts = ", ".join(
            f"sum(typeof({c}) = '{kind}')"
            for c in (quote(row[1]) for row in visible)
            for kind in ("integer", "real", "text", "blob")
        )
        booleans = ", ".join(f"min({quote(row[1])}) >= 0 AND max({quote(row[1])}) <= 1" for row in visible)
        values = connection.execute(f"SELECT {counts} FROM {quote(name)}").fetchone()
        binary = connection.execute(f"SELECT {booleans} FROM {quote(name)}").fetchone()
        columns = []
        for i, row in enumerate(visible):
            whole, real, text, blob = (value or 0 for value in values[4 * i : 4 * i + 4])
            stored = _stored(row[2].upper(), (whole, real, text, blob), bool(binary[i]))
            kinds = {"BIGINT": whole, "BOOLEAN": whole, "DOUBLE": whole + real, "VARCHAR": text, "BLOB": blob}
            if kinds.get(stored) != whole + real + text + blob:
                self._mixed.add((name, row[1]))
            columns.append(Column(row[1], guess_semantic(stored), stored))
        key = tuple(row[1] for row in sorted(visible, key=lambda row: row[5]) if row[5])
        return Table(name, tuple(columns), key)

    def _arrow_type(self, table: str, column: Column) -> pa.DataType:
        return pa.string() if (table, column.name) in self._mixed else _ARROW.get(column.stored, pa.string())

    def _batches(self, table: str, names: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        convert: list[Callable[[Any], Any] | None] = [
            {pa.bool_(): _as_bool, pa.string(): _as_text}.get(type_) for type_ in schema.types
        ]
        try:
            with closing(self._connect()) as connection:
                cursor = connection.execute(f"SELECT {', '.join(map(quote, names))} FROM {quote(table)}")
                while rows := cursor.fetchmany(BATCH_ROWS):
                    arrays = [
                        pa.array((values if how is None else map(how, values)), type=field.type)
                        for values, how, field in zip(zip(*rows, strict=True), convert, schema, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except sqlite3.Error as error:
            raise SourceError(f"cannot be read: {first_line(error)}", where=self.url, hint=_hint(error)) from None
        except (pa.ArrowException, TypeError, OverflowError):
            what = f"table {table} was changed while it was read"
            raise SourceError(what, where=self.url, hint="try again when nobody writes") from None

    def _connect(self) -> sqlite3.Connection:
        if not self._path.is_file():
            raise SourceError("there is no such file", where=str(self._path))
        place = f"file:{url_quote(str(self._path.resolve()))}?mode=ro"
        # The batches may be drawn from several threads, one after the other.
        connection = sqlite3.connect(place, uri=True, timeout=5.0, check_same_thread=False)
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        return connection


def _links(connection: sqlite3.Connection, table: Table, tables: list[Table]) -> Iterator[Link]:
    """Foreign keys of a table; names in SQLite do not mind their case."""
    by_name = {other.name.lower(): other for other in tables}
    found: dict[int, tuple[Table, list[tuple[str, str | None]]]] = {}
    for number, _, target, own, there, *_ in connection.execute(f"PRAGMA foreign_key_list({quote(table.name)})"):
        if target.lower() in by_name:
            found.setdefault(number, (by_name[target.lower()], []))[1].append((own, there))
    for number in sorted(found):
        target_table, pairs = found[number]
        columns = {column.name.lower(): column.name for column in table.columns}
        theirs = {column.name.lower(): column.name for column in target_table.columns}
        own_names = tuple(columns[own.lower()] for own, _ in pairs)
        named = tuple(theirs.get((there or "").lower(), "") for _, there in pairs)
        target_names = named if all(named) else target_table.key
        if len(own_names) == len(target_names):
            yield Link(table.name, own_names, target_table.name, target_names)


def _stored(declared: str, counts: tuple[int, int, int, int], binary: bool) -> str:
    """The stored type of a column from its declared type and its numbers of whole, real, text and byte values."""
    whole, real, _, blob = counts
    total = sum(counts)
    if not total:
        return _by_declaration(declared)
    numbers = whole + real
    if blob == total:
        return "BLOB"
    if "BOOL" in declared and whole == total and binary:
        return "BOOLEAN"
    tolerated = _by_declaration(declared) in ("BIGINT", "DOUBLE") and numbers >= (1 - _TOLERATED) * total
    if numbers == total or tolerated:
        return "DOUBLE" if real else "BIGINT"
    return "VARCHAR"


def _by_declaration(declared: str) -> str:
    if "BOOL" in declared:
        return "BOOLEAN"
    if "DATE" in declared or "TIME" in declared:
        return "TIMESTAMP"
    if "INT" in declared:
        return "BIGINT"
    if any(part in declared for part in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        return "DOUBLE"
    return "BLOB" if "BLOB" in declared else "VARCHAR"


def _declared(type_: pa.DataType) -> str:
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
        return "INTEGER"
    return "REAL" if pa.types.is_floating(type_) else "TEXT"


def _storable(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bytes, type(None))) else str(value)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _as_bool(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _hint(error: Exception) -> str | None:
    if "locked" in str(error) or "busy" in str(error):
        return "another program is writing to it; wait for it to finish, or copy the file"
    return None
