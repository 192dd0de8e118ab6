"""DuckDB file: the tables of a .duckdb database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

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

_AS_TEXT = ("UUID", "BIT", "INTERVAL", "TIME WITH TIME ZONE", "BIGNUM", "VARIANT", "GEOMETRY", "JSON")
_TABLES = """
    SELECT schema_name, table_name FROM duckdb_tables()
    WHERE NOT internal AND NOT temporary AND database_name = current_database() ORDER BY schema_name != 'main', 1, 2
"""
_COLUMNS = """
    SELECT column_name, data_type FROM duckdb_columns()
    WHERE schema_name = ? AND table_name = ? AND database_name = current_database() ORDER BY column_index
"""
_CONSTRAINTS = """
    SELECT constraint_type, constraint_column_names, referenced_table, referenced_column_names FROM duckdb_constraints()
    WHERE schema_name = ? AND table_name = ? AND database_name = current_database() ORDER BY constraint_index
"""


class DuckDBSource:
    """Reads a DuckDB file; opened read-only for each call, so that nobody is locked out in between."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self._path = path

    def inspect(self) -> Schema:
        """See ``Source.inspect``."""
        schema, _ = self._catalogue
        return schema

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        time: str | None = None,
    ) -> pa.RecordBatchReader:
        """See ``Source.scan``."""
        schema, places = self._catalogue
        found = require_table(schema, table, self.url)
        names = chosen_columns(found, columns, self.url)
        check_window(since, until, time, self.url)
        connection = self._connect(read_only=True)
        chosen = ", ".join(f"{readable(quote(n), found.column(n).stored)} AS {quote(n)}" for n in names)
        moment = readable(quote(time), found.column(time).stored) if time else ""
        sql = f"SELECT {chosen} FROM {places[table]}{window(moment, since, until)}"
        return stream(connection, sql, self.url)

    def fingerprint(self) -> str | None:
        """See ``Fingerprinted.fingerprint``; what is still in the log of writes counts."""
        return files_fingerprint([self._path, self._path.with_name(f"{self._path.name}.wal")])

    def write(self, table: str, rows: pa.Table) -> None:
        """See ``Source.write``."""
        connection = self._connect(read_only=False)
        try:
            connection.register("incoming rows", rows)
            connection.execute(f'CREATE OR REPLACE TABLE {quote(table)} AS FROM "incoming rows"')
        except duckdb.Error as error:
            what = f"table {table} cannot be written: {first_line(error)}"
            raise storage_or(error, SourceError(what, where=self.url)) from None
        finally:
            connection.close()
        self.__dict__.pop("_catalogue", None)

    @cached_property
    def _catalogue(self) -> tuple[Schema, dict[str, str]]:
        """The schema, and per table name its quoted place in SQL."""
        connection = self._connect(read_only=True)
        try:
            places = connection.execute(_TABLES).fetchall()
            names = unique_names(name if schema == "main" else f"{schema}.{name}" for schema, name in places)
            by_place = dict(zip(places, names, strict=True))
            tables, links = [], []
            for (schema, name), shown in by_place.items():
                table, found = _inspect_table(connection, schema, name, shown, by_place)
                tables.append(table)
                links += found
        except duckdb.Error as error:
            raise SourceError(f"cannot be read: {first_line(error)}", where=self.url) from None
        finally:
            connection.close()
        if not tables:
            raise SourceError("the database has no tables", where=self.url)
        where = {shown: f"{quote(schema)}.{quote(name)}" for (schema, name), shown in by_place.items()}
        return Schema(tuple(tables), fitting_links(tables, links)), where

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        if not self._path.is_file():
            raise SourceError("there is no such file", where=str(self._path))
        try:
            connection = duckdb.connect(str(self._path), read_only=read_only)
            connection.execute("SET TimeZone = 'UTC'")
        except duckdb.Error as error:
            hint = None
            if "lock" in str(error).lower() or "configuration" in str(error).lower():
                hint = "another program has it open for writing; close it there, or copy the file"
            raise SourceError(f"cannot be opened: {first_line(error)}", where=self.url, hint=hint) from None
        return connection


def _inspect_table(
    connection: duckdb.DuckDBPyConnection, schema: str, name: str, shown: str, by_place: dict[tuple[str, str], str]
) -> tuple[Table, list[Link]]:
    columns = [
        Column(column, guess_semantic(stored), simplified(stored))
        for column, stored in connection.execute(_COLUMNS, [schema, name]).fetchall()
    ]
    key: tuple[str, ...] = ()
    links = []
    for kind, own, target, target_columns in connection.execute(_CONSTRAINTS, [schema, name]).fetchall():
        if kind == "PRIMARY KEY":
            key = tuple(own)
        elif kind == "FOREIGN KEY" and (schema, target) in by_place:
            links.append(Link(shown, tuple(own), by_place[schema, target], tuple(target_columns)))
    return Table(shown, tuple(columns), key), links


def simplified(stored: str) -> str:
    """The stored type as the rows arrive: 128-bit integers as exact decimals, what Parquet cannot hold as text."""
    if stored in ("HUGEINT", "UHUGEINT"):
        return "DECIMAL(38,0)"
    if stored.startswith("ENUM") and stored.endswith("]"):
        return "VARCHAR[]"
    if stored.startswith("TIMESTAMP") and stored.endswith("]"):
        return "VARCHAR"
    plain = re.fullmatch(r"[A-Z ]+(\(\d+,\d+\))?(\[\d*\])*|TIMESTAMP_\w+", stored)
    return stored if plain and stored not in _AS_TEXT else "VARCHAR"


def readable(expression: str, stored: str) -> str:
    """SQL that gives a column, by its simplified stored type, in a type that survives Arrow and Parquet."""
    if stored == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {expression})"
    if stored.startswith("TIMESTAMP_"):
        return f"TRY_CAST({expression} AS TIMESTAMP)"
    if stored == "DECIMAL(38,0)":
        return f"CAST({expression} AS VARCHAR)"  # what does not fit is counted where it is cast
    return f"CAST({expression} AS {stored})" if stored in ("VARCHAR", "VARCHAR[]") else expression


def window(moment: str, since: int | None, until: int | None) -> str:
    """SQL condition ``since < moment <= until``; empty without bounds.

    Args:
        moment: SQL of the date or timestamp.
        since: microseconds UTC.
        until: microseconds UTC.
    """
    parts = []
    for bound, sign in ((since, ">"), (until, "<=")):
        if bound is not None:
            instant = datetime(1970, 1, 1) + timedelta(microseconds=bound)
            parts.append(f"{moment} {sign} TIMESTAMP '{instant.isoformat(sep=' ')}'")
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def stream(connection: duckdb.DuckDBPyConnection, sql: str, url: str) -> pa.RecordBatchReader:
    """The result of a statement as a stream of batches; the connection is closed behind the last one.

    Raises:
        SourceError: the statement fails, at once or while reading.
    """
    try:
        reader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
    except duckdb.Error as error:
        connection.close()
        raise SourceError(f"cannot be read: {first_line(error)}", where=url) from None

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise SourceError(f"cannot be read: {first_line(error)}", where=url) from None
        finally:
            connection.close()

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
