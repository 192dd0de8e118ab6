"""Tables: the cleaned, typed rows of a source in time order, as Parquet that SQL can query."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kincast.atomic import publish_folder, replace_text, storage_errors
from kincast.errors import DataError, SchemaError, SnapshotError, SourceError, StorageError
from kincast.progress import Progress, silent
from kincast.schema import Schema
from kincast.source.base import FileSource, Fingerprinted, Source, first_line, quote, storage_or
from kincast.source.cast import kept_type, path_literal
from kincast.source.clean import REJECTED, Cleaning, RowCounts

COUNTS_FILE = "counts.json"
RESERVED = ("_row", "_time", "_end", "_rule", "file_row_number")
"""Column names that the cleaned tables need for themselves."""

STAGING = 2
"""Number of the way rows are staged: another one where the same rows would become other bytes."""

_WORK = "work"
# Larger tables are sorted on the disk. What DuckDB holds is the larger part of what a build holds.
_MEMORY_MIB = 2048


class Tables:
    """Cleaned tables in a folder, queryable by SQL; a context manager that closes the connections it gave out.

    Attributes:
        schema: what the rows look like.
        folder: where the Parquet files lie, one a table, rows in row order.
        counts: table → what became of its rows.
    """

    def __init__(self, schema: Schema, folder: Path, counts: Mapping[str, RowCounts]) -> None:
        self.schema = schema
        self.folder = folder
        self.counts = dict(counts)
        self._connections: list[duckdb.DuckDBPyConnection] = []

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A new in-memory connection with one view per table, named exactly like it.

        A view has the schema's columns, typed, and ``_row BIGINT`` (position, 0 to n-1), ``_time TIMESTAMP`` (time of
        the row in UTC, NULL in timeless tables) and ``_end TIMESTAMP`` (from when the row no longer exists, or NULL).
        """
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        for table in self.schema:
            columns = ", ".join(quote(name) for name in [*(column.name for column in table.columns), "_time", "_end"])
            connection.execute(
                f"CREATE VIEW {quote(table.name)} AS SELECT {columns}, file_row_number AS _row "
                f"FROM read_parquet({path_literal(self.path(table.name))}, file_row_number = true)"
            )
        self._connections.append(connection)
        return connection

    def num_rows(self, table: str) -> int:
        """Number of rows kept.

        Raises:
            SchemaError: there is no such table.
        """
        return self.counts[self.schema.table(table).name].kept

    def path(self, table: str) -> Path:
        """The table's Parquet file: its columns, ``_time`` and ``_end``, rows in row order.

        Raises:
            SchemaError: there is no such table.
        """
        return self.folder / self.counts[self.schema.table(table).name].file

    def rejected_path(self, table: str) -> Path | None:
        """Parquet file of the table's rejected rows as they came, with their ``_rule``; None without any."""
        path = self.folder / REJECTED / self.counts[self.schema.table(table).name].file
        return path if path.is_file() else None

    def close(self) -> None:
        """Close every connection given out."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stage(source: Source, schema: Schema, folder: Path, progress: Progress = silent) -> Tables:
    """Read every table of the schema and write its cleaned rows to a folder, which appears whole or not at all.

    Rows are numbered by ``ORDER BY (time, key)``, by all columns where there is no key, so that neither the source's
    order nor the number of threads shows in the result. A row is rejected, and counted, by the first rule that holds:

    - ``key.null``: a key column is null or unreadable.
    - ``time.missing``, ``time.unreadable``: it has no time of its own, or one outside the years 1 to 9999.
    - ``time.no_parent``: it takes its time through a link that leads nowhere.
    - ``key.duplicate``: another row has its key (and its time, in a table of versions). The earliest is kept; of
      several the first by all columns in order.

    In a table of versions, a row's ``_end`` is not later than the time of the next version of its key, so that at most
    one is valid at any instant.

    A value that cannot be read as its column's type becomes null and is counted. Rejected rows lie, as they came, in
    ``rejected/<table>.parquet`` with the rule in ``_rule``.

    Args:
        source: where rows come from.
        schema: which tables and columns, and what they are.
        folder: where to write; must not exist yet.
        progress: told the table's name and rows read.

    Raises:
        SourceError: the source cannot be read.
        SchemaError: the schema does not fit the source or uses a reserved column name.
        StorageError: the disk refused, or the folder is there already.
    """
    _check_schema(schema)
    with _staging_errors(folder), publish_folder(folder) as temporary:
        counts = _write_all(source, schema, temporary, progress, {})
    return Tables(schema, folder, counts)


def stage_on(source: Source, schema: Schema, folder: Path, progress: Progress = silent) -> Tables:
    """``stage`` into a folder in which an earlier call may have been killed: the tables that it finished are kept.

    The caller knows that the rows are the same, and takes the folder for whole only once this returns.

    Args:
        source: where rows come from.
        schema: the same as then.
        folder: where to write; made when missing.
        progress: told the table's name and rows read.

    Raises:
        SourceError, SchemaError, StorageError: as ``stage``.
    """
    _check_schema(schema)
    with _staging_errors(folder), storage_errors(folder):
        folder.mkdir(exist_ok=True)
        finished = _finished(folder)
        for path in folder.iterdir():
            if path.name not in {COUNTS_FILE, REJECTED, *(count.file for count in finished.values())}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (folder / REJECTED).glob("*"):
            if not any(count.file == path.name and count.rejected for count in finished.values()):
                path.unlink()
        counts = _write_all(source, schema, folder, progress, finished)
    return Tables(schema, folder, counts)


def bound_memory(connection: duckdb.DuckDBPyConnection, spill: Path) -> None:
    """Let a connection hold 2 GiB and no more; what is beyond that goes to a folder, made when it is needed."""
    connection.execute("SET temp_directory = ?", [str(spill)])
    connection.execute(f"SET memory_limit = '{_MEMORY_MIB}MiB'")


def open_tables(schema: Schema, folder: Path) -> Tables:
    """Open the tables that ``stage`` wrote.

    Raises:
        SnapshotError: the folder is not complete, or holds other tables than the schema.
    """
    path = folder / COUNTS_FILE
    try:
        counts = _read_counts(path)
    except FileNotFoundError:
        raise SnapshotError("there are no staged tables here", where=str(folder), hint="kincast build") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SnapshotError(f"cannot be read: {error}", where=str(path), hint="kincast build") from None
    for table in schema:
        if table.name not in counts or not (folder / counts[table.name].file).is_file():
            raise SnapshotError(f"the rows of table {table.name} are missing", where=str(folder), hint="kincast build")
    return Tables(schema, folder, {table.name: counts[table.name] for table in schema})


def file_names(schema: Schema) -> dict[str, str]:
    """Table → name of its Parquet file, safe on every file system."""
    names: dict[str, str] = {}
    for table in schema:
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", table.name)[:60]
        plain = slug == table.name and slug.casefold() + ".parquet" not in {n.casefold() for n in names.values()}
        digest = hashlib.sha256(table.name.encode()).hexdigest()[:8]
        names[table.name] = f"{slug}.parquet" if plain else f"{slug}-{digest}.parquet"
    return names


def _check_schema(schema: Schema) -> None:
    for table in schema:
        for column in table.columns:
            if column.name.lower() in RESERVED:
                hint = "take it out of the schema card, or rename it in the database"
                where = f"{table.name}.{column.name}"
                raise SchemaError("Kincast needs this column name for itself", where=where, hint=hint)
            kept_type(column)
        if not table.columns:
            raise SchemaError("the table has no columns", where=table.name, hint="take it out of the schema card")
        link = schema.time_link(table)
        if link is not None and schema.table(link.target).time is None:
            what = f"it takes its time from its row of {link.target}, but {link.target} has no time"
            raise SchemaError(what, where=table.name, hint=f"set the time of {link.target} in the schema card")


@contextmanager
def _staging_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        if "input/output error" in str(error).lower() or isinstance(error, duckdb.IOException):
            raise StorageError(f"the disk refused: {first_line(error)}", where=str(folder)) from None
        failed = DataError(f"the rows cannot be staged: {first_line(error)}", where=str(folder))
        raise storage_or(error, failed) from None


def _read_counts(path: Path) -> dict[str, RowCounts]:
    values = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: RowCounts(**{**value, "samples": {k: tuple(v) for k, v in value["samples"].items()}})
        for name, value in values.items()
    }


def _finished(folder: Path) -> dict[str, RowCounts]:
    """The tables that are whole: a table is told after it was written."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        counts = _read_counts(folder / COUNTS_FILE)
        return {name: count for name, count in counts.items() if _num_rows(folder / count.file) == count.kept}
    return {}


def _num_rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return -1


def _write_all(
    source: Source, schema: Schema, folder: Path, progress: Progress, finished: Mapping[str, RowCounts]
) -> dict[str, RowCounts]:
    files = file_names(schema)
    counts = dict(finished)
    before = source.fingerprint() if isinstance(source, Fingerprinted) else None
    work = folder / _WORK
    work.mkdir()
    connection = duckdb.connect()  # what its memory does not hold goes to the folder beside the rows
    try:
        connection.execute("SET TimeZone = 'UTC'")
        bound_memory(connection, work / "spill")
        for table in schema.in_time_order():
            if table.name in finished:
                continue
            counts[table.name] = Cleaning(connection, schema, table, folder, files).run(source, progress)
            replace_text(folder / COUNTS_FILE, _counts_text(counts))
    finally:
        connection.close()
    if isinstance(source, FileSource) and isinstance(source, Fingerprinted) and source.fingerprint() != before:
        hint = "wait until nobody writes there, then build again"
        raise SourceError("was written to while it was read", where=source.url, hint=hint)
    shutil.rmtree(work)
    ordered = {table.name: counts[table.name] for table in schema}
    replace_text(folder / COUNTS_FILE, _counts_text(ordered))
    return ordered


def _counts_text(counts: Mapping[str, RowCounts]) -> str:
    return json.dumps({name: asdict(count) for name, count in counts.items()}, indent=1, ensure_ascii=False) + "\n"
