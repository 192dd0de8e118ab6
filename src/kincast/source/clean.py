"""Cleaning: the rows of one table typed, timed, judged by rule and written in row order as Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from kincast.errors import DataError, KincastError, SchemaError, SourceError
from kincast.progress import Progress
from kincast.schema import Schema, Table
from kincast.source.base import FileSource, Source, first_line, quote, storage_or
from kincast.source.cast import (
    clock_sql,
    in_calendar,
    kept_type,
    path_literal,
    same_key_sql,
    unreadable_sql,
    value_sql,
)
from kincast.source.order import observe
from kincast.source.parquet import write_parquet

REJECTED = "rejected"
"""Folder of the rejected rows, beside the kept ones."""

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What became of a table's rows; ``read == kept + sum(rejected.values())`` always.

    Attributes:
        file: name of its Parquet file.
        read: rows the source gave.
        kept: rows kept.
        rejected: rule → rows rejected by it.
        unreadable: column → values that could not be read as its type and became null, in all rows read.
        samples: column → up to three of those values.
    """

    file: str
    read: int
    kept: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.read != self.kept + sum(self.rejected.values()):
            parts = ", ".join(f"{count} by {rule}" for rule, count in self.rejected.items()) or "none"
            what = f"{self.read} rows were read but {self.kept} kept and rejected: {parts}"
            raise DataError(what, where=self.file, hint="rows must not get lost; please report this as a bug")


@dataclass(frozen=True)
class Cleaning:
    """One table on its way.

    ``incoming`` has the rows as they came (``_src`` their place, columns c0, c1, …), ``judged`` has them typed, with
    time and rule. Where the source is a file that can be read again, and where a value needs no cast, these are views:
    nothing is copied before the sorted rows are written.
    """

    connection: duckdb.DuckDBPyConnection
    schema: Schema
    table: Table
    folder: Path
    files: dict[str, str]

    def run(self, source: Source, progress: Progress) -> RowCounts:
        """Read, judge, order and write the rows."""
        try:
            self._load(source, progress)
            arrives = dict(
                self.connection.execute("SELECT column_name, column_type FROM (DESCRIBE incoming)").fetchall()
            )
            suspects = self._judge([arrives[f"c{i}"] for i in range(len(self.table.columns))])
            by_rule, unreadable = self._count(suspects)
            samples = {name: self._samples(name) for name in unreadable}
            read = sum(by_rule.values())
            in_order, num_doubled = self._order(by_rule.get(None, 0))
            rejected = {rule: count for rule, count in by_rule.items() if rule is not None}
            if num_doubled:
                rejected["key.duplicate"] = num_doubled
            kept = self._write(in_order, num_doubled > 0, progress)
            self._write_rejected(bool(rejected))
            self._drop()
        except duckdb.Error as error:
            if isinstance(source, FileSource) and (path := source.file_of(self.table.name)) and str(path) in str(error):
                failed = SourceError(f"cannot be read: {first_line(error)}", where=str(path))
                raise storage_or(error, failed) from None
            raise
        return RowCounts(self.files[self.table.name], read, kept, dict(sorted(rejected.items())), unreadable, samples)

    def _load(self, source: Source, progress: Progress) -> None:
        """Make ``incoming``: a view of the source's file, or else a copy of what it streams."""
        names = [column.name for column in self.table.columns]
        relation = source.relation(self.table.name, names) if isinstance(source, FileSource) else None
        if relation is not None:
            progress(f"read {self.table.name}", 0, None)
            self.connection.execute(f"CREATE VIEW incoming AS {relation}")
            return
        reader = source.scan(self.table.name, names)
        places = [f"c{i}" for i in range(len(names))]
        read = 0
        failed: list[KincastError] = []

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal read
            try:
                for batch in reader:
                    yield batch.rename_columns(places)
                    read += batch.num_rows
                    progress(f"read {self.table.name}", read, None)
            except KincastError as error:  # DuckDB would hide it in an error of its own
                failed.append(error)
                raise

        schema = pa.schema([field.with_name(name) for name, field in zip(places, reader.schema, strict=True)])
        self.connection.register("arriving", pa.RecordBatchReader.from_batches(schema, batches()))
        try:
            self.connection.execute("CREATE TABLE arrived AS FROM arriving")
        except duckdb.Error:
            if failed:
                raise failed[0] from None
            raise
        finally:
            self.connection.unregister("arriving")
        self.connection.execute("CREATE VIEW incoming AS SELECT *, rowid AS _src FROM arrived")

    def _judge(self, arrives: list[str]) -> list[int]:
        """Make ``judged``; returns the columns that may have unreadable values: u0, u1, … says in which rows."""
        columns = self.table.columns
        values = [f"incoming.c{i}" for i in range(len(columns))]
        typed = [value_sql(v, a, c) for v, a, c in zip(values, arrives, columns, strict=True)]
        time, rule, join = self._time_sql(arrives, typed)
        end = typed[self._index(self.table.end_time)] if self.table.end_time else "NULL"
        if self.table.key:
            null = " OR ".join(f"({typed[self._index(name)]}) IS NULL" for name in self.table.key)
            rule = f"CASE WHEN {null} THEN 'key.null' ELSE {rule} END"
        suspects = [i for i, (v, t) in enumerate(zip(values, typed, strict=True)) if v != t]
        chosen = [f"{sql} AS c{i}" for i, sql in enumerate(typed)]
        chosen += [f"{unreadable_sql(values[i], arrives[i], f'({typed[i]})')} AS u{i}" for i in suspects]
        # What is only looked at is cheaper to work out again at each reading than to copy.
        casts = any(arrived != kept_type(column) for arrived, column in zip(arrives, columns, strict=True))
        kind = "TABLE" if casts or join else "VIEW"
        self.connection.execute(
            f"CREATE {kind} judged AS SELECT incoming._src, {', '.join(chosen)}, CAST({time} AS TIMESTAMP) AS _time, "
            f"CAST({end} AS TIMESTAMP) AS _end, CAST({rule} AS VARCHAR) AS _rule FROM incoming {join}"
        )
        return suspects

    def _time_sql(self, arrives: list[str], typed: list[str]) -> tuple[str, str, str]:
        """SQL of a row's time, of the rule that rejects the row (or NULL), and the join they need."""
        time = self.table.time
        if time is None:
            return "NULL", "NULL", ""
        join = ""
        if time.column is not None:
            own = self._index(time.column)
            moment = typed[own]
            if time.clock is not None:
                clock = self._index(time.clock)
                moment = clock_sql(f"({moment})", f"incoming.c{clock}", arrives[clock])
            missing = f"CASE WHEN incoming.c{own} IS NULL THEN 'time.missing' ELSE 'time.unreadable' END"
        else:
            link = self.schema.time_link(self.table)
            if link is None:
                raise SchemaError(f"table {self.table.name} takes its time via {time.via}, which is no link")
            target = self.schema.table(link.target)
            matches = " AND ".join(
                same_key_sql(
                    f"({typed[self._index(a)]})",
                    kept_type(self.table.column(a)),
                    f"parent.{quote(b)}",
                    kept_type(target.column(b)),
                )
                for a, b in zip(link.columns, link.target_columns, strict=True)
            )
            path = path_literal(self.folder / self.files[link.target])
            join = f"LEFT JOIN read_parquet({path}) AS parent ON {matches}"
            moment = "parent._time"
            missing = f"CASE WHEN parent.{quote(target.key[0])} IS NULL THEN 'time.no_parent' ELSE 'time.missing' END"
        if time.shift is not None:
            unit = time.shift.unit
            moment = in_calendar(f"TRY(({moment}) + to_{unit}({time.shift.count}))")
        return moment, f"CASE WHEN ({moment}) IS NULL THEN {missing} END", join

    def _count(self, suspects: list[int]) -> tuple[dict[str | None, int], dict[str, int]]:
        """Rule (None for kept) → rows, and column → unreadable values, in one pass."""
        sums = ", ".join(["count(*)", *(f"count(*) FILTER (u{i})" for i in suspects)])
        found = self.connection.execute(f"SELECT _rule, {sums} FROM judged GROUP BY 1").fetchall()
        totals = [sum(row[2 + place] for row in found) for place in range(len(suspects))]
        unreadable = {self.table.columns[i].name: total for i, total in zip(suspects, totals, strict=True) if total}
        return {row[0]: row[1] for row in found}, unreadable

    def _samples(self, column: str) -> tuple[str, ...]:
        """Up to three of the values of a column that could not be read."""
        i = self._index(column)
        found = self.connection.execute(
            f"SELECT DISTINCT left(CAST(incoming.c{i} AS VARCHAR), 60) AS v FROM judged JOIN incoming USING (_src) "
            f"WHERE judged.u{i} ORDER BY v LIMIT 3"
        ).fetchall()
        return tuple(row[0] for row in found)

    def _order(self, num_rows: int) -> tuple[bool, int]:
        """True when the rows need no sorting, and how many are rejected as ``doubled``, the table of their places."""
        keys = [f"c{self._index(name)}" for name in self.table.key]
        keys += ["_time"] if self.table.versioned else []  # versions differ in when they begin
        number, kind = "NULL", "none"
        if len(keys) == 1 and kept_type(self.table.column(self.table.key[0])) in _WHOLE:
            number, kind = f"CAST({keys[0]} AS BIGINT)", "whole"
        elif keys:
            number, kind = f"hash({', '.join(keys)})", "hash"
        sql = f"SELECT epoch_us(_time) AS t, {number} AS k FROM judged WHERE _rule IS NULL"
        arrival = observe(self.connection, sql, num_rows, kind)
        self.connection.execute("CREATE TEMP TABLE doubled (_src BIGINT)")
        if not arrival.may_repeat:
            return arrival.in_order, 0
        key = ", ".join(keys)
        twice = f"SELECT {key} FROM judged WHERE _rule IS NULL GROUP BY ALL HAVING count(*) > 1"
        order = ", ".join(["_time", *(f"c{i}" for i in range(len(self.table.columns))), "_src"])
        self.connection.execute(
            f"INSERT INTO doubled SELECT _src FROM ("
            f"SELECT _src, row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS place "
            f"FROM judged SEMI JOIN ({twice}) USING ({key}) WHERE _rule IS NULL) WHERE place > 1"
        )
        num_doubled = int(self.connection.execute("SELECT count(*) FROM doubled").fetchall()[0][0])
        return arrival.in_order and not num_doubled, num_doubled

    def _write(self, in_order: bool, any_doubled: bool, progress: Progress) -> int:
        """Write the rows kept; returns their number."""
        names = [column.name for column in self.table.columns]
        chosen = ", ".join(f"c{i} AS {quote(name)}" for i, name in enumerate(names))
        by = ", ".join(["_time", *(f"c{self._index(name)}" for name in self.table.key or names)])
        alone = "AND _src NOT IN (FROM doubled)" if any_doubled else ""
        end = "_end"
        if self.table.versioned:  # a version ends when the next begins, whatever it says of itself
            key = ", ".join(f"c{self._index(name)}" for name in self.table.key)
            end, in_order = f"least(_end, lead(_time) OVER (PARTITION BY {key} ORDER BY _time)) AS _end", False
        order = "" if in_order else f"ORDER BY {by}"
        sql = f"SELECT {chosen}, _time, {end} FROM judged WHERE _rule IS NULL {alone} {order}"
        return write_parquet(self.connection, sql, self.folder / self.files[self.table.name], progress)

    def _write_rejected(self, any_rejected: bool) -> None:
        if not any_rejected:
            return
        (self.folder / REJECTED).mkdir(exist_ok=True)
        names = [column.name for column in self.table.columns]
        chosen = ", ".join(f"incoming.c{i} AS {quote(name)}" for i, name in enumerate(names))
        rule = "coalesce(judged._rule, 'key.duplicate')"
        sql = (
            f"SELECT {chosen}, {rule} AS _rule FROM judged JOIN incoming USING (_src) "
            f"WHERE judged._rule IS NOT NULL OR _src IN (FROM doubled) "
            f"ORDER BY {rule}, {', '.join(f'incoming.c{i}' for i in range(len(names)))}"
        )
        write_parquet(self.connection, sql, self.folder / REJECTED / self.files[self.table.name])

    def _drop(self) -> None:
        kinds = dict(self.connection.execute("SELECT table_name, table_type FROM information_schema.tables").fetchall())
        for name in ("judged", "incoming", "arrived", "doubled"):
            if name in kinds:
                self.connection.execute(f"DROP {'VIEW' if kinds[name] == 'VIEW' else 'TABLE'} {name}")

    def _index(self, name: str) -> int:
        return next(i for i, column in enumerate(self.table.columns) if column.name == name)
