"""Cleaning: the rows of one table typed, timed, judged by rule and written in row order as Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kincast.errors import DataError, KincastError, SchemaError
from kincast.progress import Progress
from kincast.schema import Schema, Table
from kincast.source.base import Source, quote
from kincast.source.cast import (
    clock_sql,
    in_calendar,
    kept_type,
    path_literal,
    same_key_sql,
    unreadable_sql,
    value_sql,
)

REJECTED = "rejected"
"""Folder of the rejected rows, beside the kept ones."""

_ROW_GROUP = 122_880


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
    """One table on its way: ``incoming`` (as it came, columns c0, c1, …), ``judged`` (typed, with time and rule)."""

    connection: duckdb.DuckDBPyConnection
    schema: Schema
    table: Table
    folder: Path
    files: dict[str, str]

    def run(self, source: Source, progress: Progress) -> RowCounts:
        read = self._load(source, progress)
        arrives = [row[1] for row in self.connection.execute("DESCRIBE incoming").fetchall()]
        unreadable, samples = self._judge(arrives)
        self._reject_duplicates()
        rejected = dict(
            self.connection.execute(
                "SELECT _rule, count(*) FROM judged WHERE _rule IS NOT NULL GROUP BY 1 ORDER BY 1"
            ).fetchall()
        )
        kept = self._write(rejected)
        self.connection.execute("DROP TABLE judged")
        self.connection.execute("DROP TABLE incoming")
        return RowCounts(self.files[self.table.name], read, kept, rejected, unreadable, samples)

    def _load(self, source: Source, progress: Progress) -> int:
        """Copy the table into ``incoming``; returns the number of rows the source gave."""
        reader = source.scan(self.table.name, [column.name for column in self.table.columns])
        names = [f"c{i}" for i in range(len(self.table.columns))]
        read = 0
        failed: list[KincastError] = []

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal read
            try:
                for batch in reader:
                    yield batch.rename_columns(names)
                    read += batch.num_rows
                    progress(f"read {self.table.name}", read, None)
            except KincastError as error:  # DuckDB would hide it in an error of its own
                failed.append(error)
                raise

        schema = pa.schema([field.with_name(name) for name, field in zip(names, reader.schema, strict=True)])
        self.connection.register("arriving", pa.RecordBatchReader.from_batches(schema, batches()))
        try:
            self.connection.execute("CREATE TABLE incoming AS FROM arriving")
        except duckdb.Error:
            if failed:
                raise failed[0] from None
            raise
        finally:
            self.connection.unregister("arriving")
        return read

    def _judge(self, arrives: list[str]) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
        """Make ``judged``; returns per column the unreadable values and up to three samples."""
        columns = self.table.columns
        values = [f"incoming.c{i}" for i in range(len(columns))]
        typed = [value_sql(v, a, c) for v, a, c in zip(values, arrives, columns, strict=True)]
        time, rule, join = self._time_sql(arrives, typed)
        end = typed[self._index(self.table.end_time)] if self.table.end_time else "NULL"
        if self.table.key:
            null = " OR ".join(f"({typed[self._index(name)]}) IS NULL" for name in self.table.key)
            rule = f"CASE WHEN {null} THEN 'key.null' ELSE {rule} END"
        chosen = ", ".join(f"{sql} AS c{i}" for i, sql in enumerate(typed))
        self.connection.execute(
            f"CREATE TABLE judged AS SELECT incoming.rowid AS _src, {chosen}, CAST({time} AS TIMESTAMP) AS _time, "
            f"CAST({end} AS TIMESTAMP) AS _end, CAST({rule} AS VARCHAR) AS _rule FROM incoming {join}"
        )
        return self._unreadable(values, arrives, typed)

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

    def _unreadable(
        self, values: list[str], arrives: list[str], typed: list[str]
    ) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
        counts, samples = {}, {}
        suspects = [i for i, (v, t) in enumerate(zip(values, typed, strict=True)) if v != t]
        for i in suspects:
            condition = unreadable_sql(values[i], arrives[i], f"judged.c{i}")
            rows = f"FROM judged JOIN incoming ON incoming.rowid = judged._src WHERE {condition}"
            count = self._one(f"SELECT count(*) {rows}")
            if count:
                name = self.table.columns[i].name
                counts[name] = count
                found = self.connection.execute(
                    f"SELECT DISTINCT left(CAST({values[i]} AS VARCHAR), 60) AS v {rows} ORDER BY v LIMIT 3"
                ).fetchall()
                samples[name] = tuple(row[0] for row in found)
        return counts, samples

    def _reject_duplicates(self) -> None:
        if not self.table.key:
            return
        key = ", ".join(f"c{self._index(name)}" for name in self.table.key)
        key += ", _time" if self.table.versioned else ""  # versions differ in when they begin
        twice = f"SELECT {key} FROM judged WHERE _rule IS NULL GROUP BY ALL HAVING count(*) > 1"
        if not self._one(f"SELECT count(*) FROM ({twice})"):
            return
        order = ", ".join(["_time", *(f"c{i}" for i in range(len(self.table.columns))), "_src"])
        self.connection.execute(
            f"UPDATE judged SET _rule = 'key.duplicate' WHERE _src IN (SELECT _src FROM ("
            f"SELECT _src, row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS place "
            f"FROM judged SEMI JOIN ({twice}) USING ({key}) WHERE _rule IS NULL) WHERE place > 1)"
        )

    def _write(self, rejected: dict[str, int]) -> int:
        """Write the Parquet files; returns the number of rows kept."""
        names = [column.name for column in self.table.columns]
        chosen = ", ".join(f"c{i} AS {quote(name)}" for i, name in enumerate(names))
        by = self.table.key or tuple(names)
        order = ", ".join(["_time", *(f"c{self._index(name)}" for name in by)])
        end = "_end"
        if self.table.versioned:  # a version ends when the next begins, whatever it says of itself
            key = ", ".join(f"c{self._index(name)}" for name in self.table.key)
            end = f"least(_end, lead(_time) OVER (PARTITION BY {key} ORDER BY _time)) AS _end"
        sql = f"SELECT {chosen}, _time, {end} FROM judged WHERE _rule IS NULL ORDER BY {order}"
        kept = write_parquet(self.connection, sql, self.folder / self.files[self.table.name])
        if rejected:
            (self.folder / REJECTED).mkdir(exist_ok=True)
            chosen = ", ".join(f"incoming.c{i} AS {quote(name)}" for i, name in enumerate(names))
            sql = (
                f"SELECT {chosen}, _rule FROM judged JOIN incoming ON incoming.rowid = judged._src "
                f"WHERE _rule IS NOT NULL ORDER BY _rule, {', '.join(f'incoming.c{i}' for i in range(len(names)))}"
            )
            write_parquet(self.connection, sql, self.folder / REJECTED / self.files[self.table.name])
        return kept

    def _index(self, name: str) -> int:
        return next(i for i, column in enumerate(self.table.columns) if column.name == name)

    def _one(self, sql: str) -> int:
        row = self.connection.execute(sql).fetchone()
        return int(row[0]) if row else 0


def write_parquet(connection: duckdb.DuckDBPyConnection, sql: str, path: Path) -> int:
    """Write an ordered query as Parquet, fsynced, the same bytes for the same rows; returns the number of rows."""
    reader = connection.sql(sql).to_arrow_reader(_ROW_GROUP)
    rows, waiting, held = 0, [], 0
    with path.open("wb") as file:
        with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            for batch in reader:
                waiting.append(batch)
                held += batch.num_rows
                rows += batch.num_rows
                if held >= _ROW_GROUP:
                    table = pa.Table.from_batches(waiting)
                    full = held - held % _ROW_GROUP
                    writer.write_table(table.slice(0, full), row_group_size=_ROW_GROUP)
                    waiting, held = table.slice(full).to_batches(), held - full
            if held or not rows:
                writer.write_table(pa.Table.from_batches(waiting, schema=reader.schema), row_group_size=_ROW_GROUP)
        file.flush()
        os.fsync(file.fileno())
    return rows
