"""Profile: what the values of each column look like, measured once, for the inference to judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from kincast.errors import KincastError, SourceError
from kincast.progress import Progress
from kincast.schema import Column, Schema, SemanticType, Table
from kincast.source.base import Source, first_line, storage_or
from kincast.source.cast import clock_sql, same_key_sql, value_sql

MAX_ROWS = 5_000_000
"""Rows of a table looked at; more of it says nothing new about keys and types."""

_EXACT_ROWS = 2_000_000
_ORDERED = ("BOOLEAN", "DATE", "TIME", "VARCHAR", "FLOAT", "DOUBLE")


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column and its values.

    Attributes:
        table: position of its table in the schema.
        index: position in the table.
        column: as the source declares it; the inference refines it.
        rows: rows looked at.
        filled: values that are not null.
        distinct: different values, exact when near ``filled`` or the table is small.
        low: smallest value; for text the smallest length.
        high: largest value; for text the largest length.
        num_words: mean number of words of a text, 0 for others.
        urls: share of texts that begin like a URL.
        whole: True when every value is a whole number.
    """

    table: int
    index: int
    column: Column
    rows: int
    filled: int
    distinct: int
    low: Any = None
    high: Any = None
    num_words: float = 0.0
    urls: float = 0.0
    whole: bool = False

    @property
    def name(self) -> str:
        """Name of the column."""
        return self.column.name

    @property
    def stored(self) -> str:
        """Stored type of the column."""
        return self.column.stored

    @property
    def is_text(self) -> bool:
        """True for text columns."""
        return self.column.stored == "VARCHAR"

    @property
    def is_unique(self) -> bool:
        """True when there are rows, none is null, and no two are the same."""
        return self.rows > 0 and self.distinct == self.rows == self.filled

    @property
    def is_float(self) -> bool:
        """True for numbers that may have a fraction."""
        decimal = self.stored.startswith("DECIMAL") and not self.stored.endswith(",0)")
        return self.stored in ("FLOAT", "DOUBLE") or decimal

    @property
    def sql(self) -> str:
        """Its name in the bench's tables."""
        return f"c{self.index}"

    def with_type(self, kind: SemanticType, form: str | None = None, separator: str | None = None) -> ColumnProfile:
        """The same with a type decided."""
        return replace(self, column=replace(self.column, type=kind, format=form, separator=separator))


class Bench:
    """Typed copies of a source's tables, ``t0``, ``t1``, … with columns ``c0``, ``c1``, …, on disk, for measuring.

    Attributes:
        tables: the tables, in the source's order; those without columns are left out.
        columns: per table the profiles of its columns.
        truncated: names of tables of which only the first ``MAX_ROWS`` rows are here.
    """

    def __init__(self, source: Source, schema: Schema, folder: Path, progress: Progress) -> None:
        self.tables: list[Table] = [table for table in schema if table.columns]
        self.truncated: set[str] = set()
        self._connection = duckdb.connect(str(folder / "bench.duckdb"))
        try:
            self._connection.execute("SET TimeZone = 'UTC'")
            self._connection.execute("SET temp_directory = ?", [str(folder / "spill")])
            for number, table in enumerate(self.tables):
                progress("look at tables", number, len(self.tables))
                self._load(source, number, table)
            self.columns = [self._profile(number, table) for number, table in enumerate(self.tables)]
            progress("look at tables", len(self.tables), len(self.tables))
        except BaseException as error:
            self._connection.close()
            if isinstance(error, duckdb.Error):
                what = f"the rows cannot be examined: {first_line(error)}"
                raise storage_or(error, SourceError(what, where=source.url)) from None
            raise

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        found: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return found

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a statement."""
        return self.rows(sql)[0]

    def run(self, sql: str) -> None:
        """Run a statement for its effect."""
        self._connection.execute(sql)

    def time_sql(self, profile: ColumnProfile, clock: ColumnProfile | None = None) -> str:
        """SQL of a date or timestamp column, with its time of day, as a timestamp."""
        moment = value_sql(profile.sql, profile.stored, profile.column)
        return clock_sql(f"({moment})", clock.sql, clock.stored) if clock else moment

    def found(self, source: tuple[ColumnProfile, ...], target: tuple[ColumnProfile, ...]) -> tuple[int, int, int, int]:
        """How many of the columns' values are keys of the target: distinct values, found; rows with a value, found."""
        columns = ", ".join(p.sql for p in source)
        filled = " AND ".join(f"{p.sql} IS NOT NULL" for p in source)
        matches = " AND ".join(
            same_key_sql(f"s.{a.sql}", a.stored, f"d.{b.sql}", b.stored) for a, b in zip(source, target, strict=True)
        )
        keys = ", ".join(p.sql for p in target)
        values, hits, rows, hit_rows = self.one(
            f"SELECT count(*), count(*) FILTER (hit), coalesce(sum(n), 0), coalesce(sum(n) FILTER (hit), 0) FROM ("
            f"SELECT s.n, EXISTS (FROM (SELECT {keys} FROM t{target[0].table}) AS d WHERE {matches}) AS hit "
            f"FROM (SELECT {columns}, count(*) AS n FROM t{source[0].table} WHERE {filled} GROUP BY ALL) AS s)"
        )
        return values, hits, int(rows), int(hit_rows)

    def _load(self, source: Source, number: int, table: Table) -> None:
        reader = source.scan(table.name)
        names = [f"c{i}" for i in range(len(table.columns))]
        failed: list[KincastError] = []

        def batches() -> Iterator[pa.RecordBatch]:
            read = 0
            try:
                for batch in reader:
                    yield batch.rename_columns(names)
                    read += batch.num_rows
                    if read >= MAX_ROWS:
                        self.truncated.add(table.name)
                        return
            except KincastError as error:
                failed.append(error)
                raise

        schema = pa.schema([field.with_name(name) for name, field in zip(names, reader.schema, strict=True)])
        self._connection.register("arriving", pa.RecordBatchReader.from_batches(schema, batches()))
        try:
            arrives = [row[1] for row in self.rows("DESCRIBE arriving")]
            chosen = ", ".join(
                f"{_typed(name, type_, column)} AS {name}"
                for name, type_, column in zip(names, arrives, table.columns, strict=True)
            )
            self.run(f"CREATE TABLE t{number} AS SELECT {chosen} FROM arriving")
        except duckdb.Error:
            if failed:
                raise failed[0] from None
            raise
        finally:
            self._connection.unregister("arriving")

    def _profile(self, number: int, table: Table) -> list[ColumnProfile]:
        rows = self.one(f"SELECT count(*) FROM t{number}")[0]
        stored = [row[1] for row in self.rows(f"DESCRIBE t{number}")]
        measures = [measure for i, type_ in enumerate(stored) for measure in _measures(f"c{i}", type_, rows)]
        values = iter(self.one(f"SELECT {', '.join(measures)} FROM t{number}"))
        profiles = []
        for i, column in enumerate(table.columns):
            filled, distinct, low, high, num_words, urls, whole = (next(values) for _ in range(7))
            if rows > _EXACT_ROWS and distinct >= 0.8 * filled:
                distinct = self.one(f"SELECT count(DISTINCT c{i}) FROM t{number}")[0]
            known = replace(column, stored=stored[i]) if column.stored.startswith("TIMESTAMP") else column
            counts = (rows, filled, min(distinct, filled))
            profiles.append(
                ColumnProfile(number, i, known, *counts, low, high, num_words or 0.0, urls or 0.0, whole=whole)
            )
        return profiles


def _measures(c: str, stored: str, rows: int) -> list[str]:
    """SQL of what is measured of a column, in the order of ``ColumnProfile``."""
    text, is_list = stored == "VARCHAR", stored.endswith("]")
    whole = stored.endswith("INT") or stored == "INTEGER"
    ordered = whole or stored in _ORDERED or stored.startswith(("DECIMAL", "TIMESTAMP"))
    shown = f"length({c})" if text else c if ordered and not is_list else "NULL"
    fraction = stored in ("FLOAT", "DOUBLE") or stored.startswith("DECIMAL(")
    return [
        f"count({c})",
        f"count(DISTINCT {c})" if rows <= _EXACT_ROWS and not is_list else f"approx_count_distinct({c})",
        f"min({shown})",
        f"max({shown})",
        f"avg(len(string_split(trim({c}), ' ')))" if text else "0",
        f"avg(CAST(regexp_matches({c}, '^(https?|ftp)://|^www\\.') AS INT))" if text else "0",
        f"coalesce(bool_and({c} = trunc({c})), false)" if fraction and not is_list else str(whole).lower(),
    ]


def _typed(name: str, arrives: str, column: Column) -> str:
    if column.type is SemanticType.TIMESTAMP and column.stored == "DATE":
        return name if arrives == "DATE" else f"TRY_CAST({name} AS DATE)"
    return value_sql(name, arrives, column)
