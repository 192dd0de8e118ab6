"""PostgreSQL: the tables of a PostgreSQL database, through ADBC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from kincast.errors import MissingExtraError, SourceError
from kincast.schema import Column, Link, Schema, SemanticType, Table
from kincast.source.base import (
    check_window,
    chosen_columns,
    first_line,
    fitting_links,
    guess_semantic,
    quote,
    require_table,
    unique_names,
)
from kincast.source.duckdb_file import window
from kincast.source.open import password_of, without_password

_TABLES = """
    SELECT n.nspname, c.relname, c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY n.nspname <> 'public', n.nspname, c.relname
"""
_COLUMNS = """
    SELECT a.attrelid::bigint, a.attnum::bigint, a.attname,
      coalesce(nullif(b.typname, ''), t.typname), t.typtype::text, t.typcategory::text,
      a.atttypmod::bigint, coalesce(e.typname, ''), a.attgenerated::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_type b ON b.oid = t.typbasetype LEFT JOIN pg_type e ON e.oid = t.typelem
    WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""
_KEYS = """
    SELECT k.conrelid::bigint, k.oid::bigint, k.contype::text, coalesce(k.confrelid, 0)::bigint, u.own::bigint,
      coalesce(f.other, 0)::bigint
    FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS u(own, place)
      LEFT JOIN LATERAL unnest(k.confkey) WITH ORDINALITY AS f(other, place) ON f.place = u.place
    WHERE k.contype IN ('p', 'f') AND k.conparentid = 0 ORDER BY k.conrelid, k.contype DESC, k.oid, u.place
"""
_STORED = {
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bool": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "time": "TIME",
    "bytea": "BLOB",
}
_NOT_WORDS = ("json", "jsonb", "xml", "interval", "tsvector", "point", "polygon", "geometry", "geography", "hstore")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table lies.

    Attributes:
        oid: its number in the catalogue.
        sql: its quoted name with its schema.
        columns: name of a column as shown → its real name.
        numbers: name of a column as shown → its number in the table, which no other column ever has.
        generated: names as shown of columns that the database computes.
    """

    oid: int
    sql: str
    columns: dict[str, str]
    numbers: dict[str, int]
    generated: frozenset[str]


class PostgresSource:
    """Reads a PostgreSQL database in read-only transactions; ``write`` is the one exception."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = without_password(url)
        self._secret_url = url
        try:
            import adbc_driver_postgresql.dbapi  # noqa: F401
        except ImportError:
            raise MissingExtraError("adbc-driver-postgresql", "postgres") from None

    def inspect(self) -> Schema:
        """See ``Source.inspect``."""
        schema, _ = self._catalogue
        return schema

    def places(self) -> dict[str, Place]:
        """Name of a table as shown → where it lies, as of the last look at the catalogue."""
        _, places = self._catalogue
        return places

    def refresh(self) -> None:
        """Look at the catalogue again when it is next needed."""
        self.__dict__.pop("_catalogue", None)

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        time: str | None = None,
    ) -> pa.RecordBatchReader:
        """See ``Source.scan``; exact decimals arrive as text."""
        schema, places = self._catalogue
        found = require_table(schema, table, self.url)
        names = chosen_columns(found, columns, self.url)
        check_window(since, until, time, self.url)
        place = places[table]
        chosen = ", ".join(f"{_readable(quote(place.columns[n]), found.column(n))} AS {quote(n)}" for n in names)
        moment = _readable(quote(place.columns[time]), found.column(time)) if time else ""
        return self._stream(f"SELECT {chosen} FROM {place.sql}{window(moment, since, until)}")

    def write(self, table: str, rows: pa.Table) -> None:
        """See ``Source.write``; the table goes to the first schema of the search path."""
        try:
            with closing(self.connect(read_only=False)) as connection, connection.cursor() as cursor:
                cursor.adbc_ingest(table, rows, mode="replace")
                connection.commit()
        except SourceError:
            raise
        except Exception as error:
            raise self.failed(f"table {table} cannot be written", error) from None
        self.refresh()

    @cached_property
    def _catalogue(self) -> tuple[Schema, dict[str, Place]]:
        tables_found, columns_found, keys_found = self._read_catalogue()
        shown = unique_names(name if schema == "public" else f"{schema}.{name}" for schema, name, _ in tables_found)
        by_oid = {row[2]: name for row, name in zip(tables_found, shown, strict=True)}
        places, numbers, tables = {}, {}, []
        for (schema, real, oid), name in zip(tables_found, shown, strict=True):
            rows = [row for row in columns_found if row[0] == oid]
            names = unique_names(row[2] for row in rows)
            shown_rows = dict(zip(names, rows, strict=True))
            numbers[oid] = {row[1]: column for column, row in shown_rows.items()}
            places[name] = Place(
                oid,
                f"{quote(schema)}.{quote(real)}",
                {column: row[2] for column, row in shown_rows.items()},
                {column: row[1] for column, row in shown_rows.items()},
                frozenset(column for column, row in shown_rows.items() if row[8]),
            )
            columns = tuple(_column(column, *row[3:8]) for column, row in shown_rows.items())
            key = tuple(numbers[oid][own] for table, _, kind, _, own, _ in keys_found if table == oid and kind == "p")
            tables.append(Table(name, columns, key))
        if not tables:
            raise SourceError("the database has no tables that you may read", where=self.url)
        pairs: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        for table, number, kind, target, own, there in keys_found:
            if kind == "f" and table in by_oid and target in by_oid:
                pairs.setdefault((table, number, target), []).append((own, there))
        links = [
            Link(
                by_oid[table],
                tuple(numbers[table][own] for own, _ in found),
                by_oid[target],
                tuple(numbers[target][there] for _, there in found),
            )
            for (table, _, target), found in pairs.items()
        ]
        return Schema(tuple(tables), fitting_links(tables, links)), places

    def _read_catalogue(self) -> list[list[tuple[Any, ...]]]:
        try:
            with closing(self.connect(read_only=True)) as connection, connection.cursor() as cursor:
                found = []
                for sql in (_TABLES, _COLUMNS, _KEYS):
                    cursor.execute(sql)
                    columns = cursor.fetch_arrow_table().columns
                    found.append(list(zip(*(column.to_pylist() for column in columns), strict=True)))
                return found
        except SourceError:
            raise
        except Exception as error:
            raise self.failed("cannot be read", error) from None

    def _stream(self, sql: str) -> pa.RecordBatchReader:
        connection = self.connect(read_only=True)
        cursor = connection.cursor()
        try:
            cursor.execute(sql)
            reader = cursor.fetch_record_batch()
        except Exception as error:
            cursor.close()
            connection.close()
            raise self.failed("cannot be read", error) from None

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from reader
            except Exception as error:
                raise self.failed("cannot be read", error) from None
            finally:
                cursor.close()
                connection.close()

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def connect(self, read_only: bool) -> Any:
        """A new connection of the driver's; what reads only commits by itself.

        Raises:
            SourceError: the database cannot be reached.
        """
        import adbc_driver_postgresql.dbapi as driver

        try:
            connection = driver.connect(self._secret_url, autocommit=read_only)
        except Exception as error:
            raise self.failed("cannot be opened", error) from None
        if read_only:
            with connection.cursor() as cursor:
                cursor.execute("SET default_transaction_read_only = on")
        return connection

    def failed(self, what: str, error: Exception) -> SourceError:
        """The error to raise for one of the driver's: the first line of its reason, without the password."""
        reason = first_line(error)
        password = password_of(self._secret_url)
        for secret in (self._secret_url, password):
            reason = reason.replace(secret, "***") if secret else reason
        hint = "check host, port, user, database and password; the server's log says more"
        return SourceError(f"{what}: {reason}", where=self.url, hint=hint if what == "cannot be opened" else None)


def _column(name: str, type_name: str, kind: str, category: str, modifier: int, item: str) -> Column:
    stored = _STORED.get(type_name, "VARCHAR")
    if type_name == "numeric":
        digits, places = ((modifier - 4) >> 16) & 0xFFFF, (modifier - 4) & 0xFFFF
        exact = modifier > 0 and digits <= 38 and places <= digits
        stored = f"DECIMAL({digits},{places})" if exact else "DOUBLE"
    if category == "A":
        stored = "VARCHAR[]"
    semantic = guess_semantic(stored)
    if kind == "e":
        semantic = SemanticType.CATEGORICAL
    elif type_name == "uuid":
        semantic = SemanticType.ID
    elif type_name in _NOT_WORDS or (category == "A" and item.startswith("float")):
        semantic = SemanticType.IGNORED
    return Column(name, semantic, stored)


def _readable(expression: str, column: Column) -> str:
    """SQL that gives a column in a type that survives Arrow; infinite dates are nulls."""
    if column.stored == "TIMESTAMP WITH TIME ZONE":
        return f"(CASE WHEN isfinite({expression}) THEN {expression} END AT TIME ZONE 'UTC')"
    if column.stored in ("DATE", "TIMESTAMP"):
        return f"CASE WHEN isfinite({expression}) THEN {expression} END"
    if column.stored == "VARCHAR[]":
        return f"{expression}::text[]"
    return f"{expression}::text" if column.stored == "VARCHAR" or column.stored.startswith("DECIMAL") else expression
