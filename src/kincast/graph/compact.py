"""Compact: fold the changes beside a snapshot into the next one, which is the one a build from the same rows gives.

Beside the log lies, for the current version, what went into it: the last record, and of every key that was ever
changed its sequence and a digest, so that an old change that comes late still loses. That file is written before the
version is published and belongs to its id, so at every instant the current version and its file fit each other.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kincast.atomic import replace_bytes, storage_errors
from kincast.errors import SnapshotError, SourceError, StorageError
from kincast.graph.arrivals import PRESENT, UNTOUCHED
from kincast.graph.build import build_snapshot
from kincast.graph.delta import (
    DELTA_FOLDER,
    DeltaLog,
    LogChangedError,
    LogReader,
    Record,
    first_record,
    remove_segments,
    segments,
)
from kincast.graph.judge import RULE_COLUMN, Judge, foreign_sql, text_sql
from kincast.graph.manifest import Manifest
from kincast.graph.open import open_snapshot
from kincast.graph.slots import read_digests
from kincast.graph.snapshot import Snapshot
from kincast.graph.state import Folded, State, typed_schema
from kincast.progress import Progress, silent
from kincast.schema import Schema, Table
from kincast.source.base import BATCH_ROWS, literal, quote
from kincast.source.cast import kept_type
from kincast.source.change import Changes

MOST_ROWS = 1 << 18
"""Changes that are judged together are about so many at most."""

_LOCK_FILE = "compact.lock"
_FOLDED = "folded-"
_RECORD = b"record"

Forgotten = Mapping[str, Iterable[str]]


def compact(root: Path, progress: Progress = silent, log: DeltaLog | None = None) -> Snapshot:
    """Make the current snapshot and everything in the log beside it the next snapshot, and cut the log there.

    It may run while another process writes to the log and others read. A crash at any instant leaves the version
    before, with the log, or the new one, with what comes after it.

    Args:
        root: folder of all versions.
        progress: told about each step.
        log: of this folder, where this process has it open for writing.

    Returns:
        The new current version; the old one when the log has nothing new.

    Raises:
        SnapshotError: there is no snapshot, or it or the log is damaged.
        StorageError: the disk refused, or another process compacts.
    """
    with compacting(root):
        state, record = caught_up(root)
        if record <= folded_record(root, state.base):
            return state.base
        _rotate(root, log)
        made = fold(root, state, record, progress)
        remove_segments(root, record)
        for path in (root / DELTA_FOLDER).glob(f"{_FOLDED}*"):
            if path != _folded_path(root, made.id):
                path.unlink(missing_ok=True)
        return made


def _rotate(root: Path, log: DeltaLog | None) -> None:
    """Begin a new segment, unless another process writes: its segments end when they are full."""
    if log is not None:
        log.rotate()
        return
    with suppress(StorageError), DeltaLog(root) as own:
        own.rotate()


def fold(
    root: Path, state: State, record: int, progress: Progress = silent, forgotten: Forgotten | None = None
) -> Snapshot:
    """Publish a state as the current snapshot, with the note of what went into it.

    Args:
        root: folder of all versions.
        state: the base with all changes up to the record.
        record: of the log.
        progress: told about each step.
        forgotten: table → texts of keys, as in ``Judged``, of which nothing may be left.
    """

    def note(manifest: Manifest) -> None:
        save_folded(root, manifest.id, Folded(record, folded_changes(state)))

    source = MergedSource(state, forgotten or {})
    schema = state.schema
    return build_snapshot(source, schema, root, progress, staged_as=typed_schema(schema), before_publish=note)


def caught_up(root: Path) -> tuple[State, int]:
    """The current snapshot with all changes in the log, and the last record of those."""
    for attempt in range(5):
        base = open_snapshot(root)
        folded = read_folded(root, base.id)
        reader = follow(root, folded)
        try:
            records = reader.read()
        except LogChangedError:  # another process compacted since
            if attempt == 4:
                raise
            continue
        state = State(base, folded)
        apply_records(state, records)
        return state, reader.last
    raise SnapshotError("the log keeps changing", where=str(root))


def apply_records(state: State, records: Sequence[Record]) -> None:
    """Apply the changes of records, those of one table together; tables that the schema does not have are left out."""
    found: dict[tuple[str, pa.Schema, bool], list[Changes]] = {}
    num_rows: Counter[tuple[str, pa.Schema, bool]] = Counter()
    for record in records:
        for one in record.delivery.changes:
            if not state.schema.has_table(one.table) or not len(one):
                continue
            alike = (one.table, one.rows.schema, one.ids is None)
            found.setdefault(alike, []).append(one)
            num_rows[alike] += len(one)
            if num_rows[alike] >= MOST_ROWS:
                state.apply(joined_changes(found.pop(alike)))
                del num_rows[alike]
    for parts in found.values():
        state.apply(joined_changes(parts))


def joined_changes(parts: Sequence[Changes]) -> Changes:
    """Changes of one table and of the same columns as one; their order does not matter."""
    if len(parts) == 1:
        return parts[0]
    ids = None if parts[0].ids is None else tuple(id for part in parts for id in part.ids or ())
    return Changes(
        parts[0].table,
        pa.concat_tables([part.rows for part in parts]),
        np.concatenate([part.sequence for part in parts]),
        np.concatenate([part.deleted for part in parts]),
        ids,
    )


def follow(root: Path, folded: Folded | None) -> LogReader:
    """A reader of the records that are not in a snapshot yet."""
    found = segments(root / DELTA_FOLDER)
    oldest = first_record(found[0]) - 1 if found else 0
    return LogReader(root, after=oldest if folded is None else folded.record)


def folded_record(root: Path, base: Snapshot) -> int:
    """Last record of the log that a snapshot has in it; 0 for one built from the source."""
    folded = read_folded(root, base.id)
    return folded.record if folded else 0


def folded_changes(state: State) -> dict[str, pa.Table]:
    """Table → key, sequence and content of every key that was ever changed."""
    found = {name: table.remembered() for name, table in state.tables.items()}
    return {name: changes for name, changes in found.items() if changes.num_rows}


def save_folded(root: Path, id: str, folded: Folded) -> None:
    """Write the note of what a snapshot has in it."""
    parts = [
        changes.append_column("table", pa.array([name] * changes.num_rows, pa.string()))
        for name, changes in folded.changes.items()
    ]
    empty = pa.table({name: pa.array([], kind) for name, kind in _FOLDED_COLUMNS.items()})
    table = pa.concat_tables([empty, *parts]).replace_schema_metadata({_RECORD: str(folded.record).encode()})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    replace_bytes(_folded_path(root, id), sink.getvalue())


_FOLDED_COLUMNS = {"key": pa.string(), "sequence": pa.int64(), "content": pa.string(), "table": pa.string()}


def read_folded(root: Path, id: str) -> Folded | None:
    """What a snapshot has in it already; None for one that was built from the source.

    Raises:
        SnapshotError: the note is damaged.
    """
    path = _folded_path(root, id)
    try:
        table = pq.read_table(path)
        record = int(table.schema.metadata[_RECORD])
        names = table.column("table")
        changes = {
            name: table.filter(pc.equal(names, name)).drop_columns(["table"]) for name in pc.unique(names).to_pylist()
        }
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        hint = "build the snapshot again with: kincast build"
        raise SnapshotError(f"is damaged: {error}", where=str(path), hint=hint) from None
    return Folded(record, changes)


def _folded_path(root: Path, id: str) -> Path:
    return root / DELTA_FOLDER / f"{_FOLDED}{id}.parquet"


@contextmanager
def compacting(root: Path) -> Iterator[None]:
    """Keep other processes from compacting."""
    folder = root / DELTA_FOLDER
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


class MergedSource:
    """The rows of a state as a source: those of the base that were not changed, and the newest of the others.

    Rows that the base rejected come again, so that they are counted again, unless their key was changed since.

    Args:
        state: the base with its changes.
        forgotten: table → texts of keys, as in ``Judged``; rows with such a key are left out, and where others refer
            to one, their foreign key is null.
    """

    url = "live rows"

    def __init__(self, state: State, forgotten: Forgotten) -> None:
        self._state, self._forgotten = state, forgotten

    def inspect(self) -> Schema:
        """The schema of the rows."""
        return typed_schema(self._state.schema)

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        time: str | None = None,
    ) -> pa.RecordBatchReader:
        """All rows of a table; only a build reads from here, so there is no window."""
        found = self._state.schema.table(table)
        names = list(columns) if columns is not None else [column.name for column in found.columns]
        tables = self._state.base.open_tables()
        connection = tables.connect()
        connection.register("_kincast_dead", pa.table({"dead": self._state.tables[table].dead()}))
        connection.register("_kincast_more", self._more(found))
        values = self._values(found)
        chosen = ", ".join(f"CAST({values[n]} AS {kept_type(found.column(n))}) AS {quote(n)}" for n in names)
        where = self._where(found)
        try:
            reader = connection.sql(
                f"SELECT {chosen} FROM {quote(table)} ANTI JOIN _kincast_dead ON _row = dead WHERE {where} "
                f"UNION ALL SELECT {chosen} FROM _kincast_more WHERE {where}"
            ).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise SourceError(f"the rows cannot be read: {error}", where=table) from None
        return _closing(reader, tables)

    def write(self, table: str, rows: pa.Table) -> None:
        """Live rows are appended to the log instead."""
        raise SourceError("live rows are written through the log", where=table)

    def _values(self, table: Table) -> dict[str, str]:
        """SQL of each column: as it is, but null where it refers to a key that is forgotten."""
        values = {column.name: quote(column.name) for column in table.columns}
        for link in self._state.schema.links_from(table.name):
            if keys := self._forgotten.get(link.target):
                parts = foreign_sql(self._state.schema, link, {name: quote(name) for name in link.columns})
                for name in set(link.columns) - set(table.key):
                    values[name] = f"CASE WHEN {_one_of(parts, keys)} THEN NULL ELSE {values[name]} END"
        return values

    def _where(self, table: Table) -> str:
        """SQL condition: the row's key is not forgotten."""
        keys = self._forgotten.get(table.name)
        if not keys:
            return "true"
        return f"NOT {_one_of([f'CAST({quote(n)} AS {kept_type(table.column(n))})' for n in table.key], keys)}"

    def _more(self, table: Table) -> pa.Table:
        """The rows that are not in the base, and those that it rejected."""
        state = self._state.tables[table.name]
        arrivals = state.arrival.values[state.standing.values == PRESENT]
        rows = state.rows(np.sort(arrivals)) if len(arrivals) else None
        rejected = self._rejected(table)
        parts = [part for part in (rows, rejected) if part is not None and part.num_rows]
        if parts:
            return pa.concat_tables(parts)
        return pa.table({column.name: pa.nulls(0) for column in table.columns})

    def _rejected(self, table: Table) -> pa.Table | None:
        """Rows that the base rejected for good, typed; those that wait for a parent are in the state."""
        with self._state.base.open_tables() as tables:
            path = tables.rejected_path(table.name)
        if path is None:
            return None
        rows = pq.read_table(path)
        rows = rows.filter(pc.not_equal(rows.column(RULE_COLUMN), "time.no_parent")).drop_columns([RULE_COLUMN])
        num = rows.num_rows
        ids = None if table.key else tuple(map(str, range(num)))
        changes = Changes(table.name, rows, np.zeros(num, np.int64), np.zeros(num, np.bool_), ids)
        judged = Judge(self._state.schema).judge(changes)
        if not table.key:
            return judged.rows
        state = self._state.tables[table.name]
        slots = state.slots.find(read_digests(judged.keys))
        changed = np.append(state.standing.values, UNTOUCHED)[slots] != UNTOUCHED  # the last for keys never heard of
        return judged.rows.filter(pa.array(~changed))


def _one_of(parts: list[str], keys: Iterable[str]) -> str:
    """SQL condition, never NULL: the key of these parts has one of those texts."""
    return f"coalesce({text_sql(parts)} IN ({', '.join(map(literal, keys))}), false)"


def _closing(reader: Any, tables: Any) -> pa.RecordBatchReader:
    """The reader's batches; what they come from is closed behind the last."""

    def batches() -> Iterator[pa.RecordBatch]:
        with tables:
            yield from reader

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
