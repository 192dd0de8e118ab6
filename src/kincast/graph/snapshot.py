"""Snapshot: one immutable version of a database as a temporal graph, memory-mapped."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kincast.errors import DataError, SnapshotError
from kincast.graph.hold import Hold
from kincast.graph.key import KeyIndex
from kincast.graph.manifest import Manifest
from kincast.schema import Link, Schema
from kincast.source.tables import Tables, open_tables

Int64s = NDArray[np.int64]
Rows = NDArray[np.int32] | NDArray[np.int64]

TABLES_FOLDER = "tables"
LINK_PARTS = ("forward", "offsets", "rows")
BATCH_ROWS = 65_536
"""Rows read at once where a table is read in batches."""

NEVER_US = np.iinfo(np.int64).max
"""The end of a row that has none."""


@dataclass(frozen=True, slots=True)
class SnapshotTable:
    """The rows of one table, numbered in time order.

    Attributes:
        name: of the table.
        num_rows: how many.
        time_us: [num_rows] int64 ascending; None for a timeless table.
        end_us: [num_rows] int64 instant from which the row no longer exists, int64 max where never; None without.
        versions: of a table of versions, a link from the table to itself: from each row to the first version of its
            key, and back to all of them in time order. Links to such a table end at first versions. Else None.
    """

    name: str
    num_rows: int
    time_us: Int64s | None
    end_us: Int64s | None
    versions: SnapshotLink | None = None


@dataclass(frozen=True, slots=True)
class SnapshotLink:
    """One link in both directions.

    Attributes:
        link: the foreign key.
        forward: [rows of link.table] int32 or int64 row of link.target; -1 where the key is null or names no row.
        offsets: [rows of link.target + 1] int64 into ``rows``.
        rows: [edges] int32 or int64 rows of link.table per target row, ascending, so by time.
        time_us: [edges] int64 when each edge began, ascending per target row, where that is not the time of the row
            it comes from; None for a foreign key.
    """

    link: Link
    forward: Rows
    offsets: Int64s
    rows: Rows
    time_us: Int64s | None = None


class Snapshot:
    """A version of the graph, opened for reading; safe to share between threads.

    Attributes:
        folder: where it lies.
        id: 16 hexadecimal digits of its content hash.
        schema: tables and links.
        manifest: files, hashes, counts.
        tables: name → rows and times.
        links: in the order of ``schema.links``.
        max_time_us: latest effective row time of all tables; 0 when no row has a time.

    Args:
        folder: of the version.
        manifest: read from it, its files' lengths checked.
        hold: keeps the folder from being removed; None for a folder that nobody removes.

    Raises:
        SnapshotError: an array cannot be read or has another shape than the manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest, hold: Hold | None = None) -> None:
        self.folder = folder
        self._hold = hold
        self.id = manifest.id
        self.manifest = manifest
        self.schema: Schema = manifest.schema
        self.max_time_us = manifest.max_time_us
        self.tables: Mapping[str, SnapshotTable] = {
            table.name: self._open_table(index, table.name) for index, table in enumerate(self.schema)
        }
        self.links = tuple(self._open_link(index, link) for index, link in enumerate(self.schema.links))
        self._key_columns: dict[str, pa.Table] = {}
        self._key_index: dict[str, KeyIndex] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Snapshot({self.id})"

    def rows_of(self, table: str, keys: Sequence[Any]) -> Int64s:
        """Rows of the user's keys.

        Args:
            table: whose keys they are.
            keys: [n] scalars, or tuples for a composite key; text is read as the key's type ("17" finds 17).

        Returns:
            [n] int64 row of each key, in a table of versions the first one; -1 where no row has it.

        Raises:
            DataError: the table has no key, or a composite key has the wrong number of parts.
        """
        columns = self.key_columns(table)
        with self._lock:
            if table not in self._key_index:
                self._key_index[table] = KeyIndex(table, columns)
        return self._key_index[table].rows_of(keys)

    def versions_at(self, table: str, rows: Int64s, instants_us: Int64s) -> Int64s:
        """The version valid at an instant: [n] int64 rows, -1 where none is.

        Args:
            table: whose rows they are; rows of a table without versions stay what they are.
            rows: [n] int64 any version of each key; -1 stays -1.
            instants_us: [n] int64.
        """
        found = self.tables[table]
        if found.versions is None or found.time_us is None or found.end_us is None:
            return rows
        rows = np.where(rows >= 0, found.versions.forward[np.maximum(rows, 0)].astype(np.int64), -1)
        valid = np.full(len(rows), -1, np.int64)
        for place in np.flatnonzero(rows >= 0).tolist():
            start, stop = found.versions.offsets[rows[place] : rows[place] + 2]
            known = found.versions.rows[start:stop]
            begun = int(np.searchsorted(found.time_us[known], instants_us[place], side="right"))
            if begun and found.end_us[known[begun - 1]] > instants_us[place]:
                valid[place] = known[begun - 1]
        return valid

    def latest_us(self, table: str) -> int:
        """Latest time of a table's rows; 0 without rows or time."""
        time_us = self.tables[table].time_us
        return int(time_us[-1]) if time_us is not None and len(time_us) else 0

    def keys_of(self, table: str, rows: Int64s) -> pa.Table:
        """Key columns of those rows, in their order.

        Raises:
            DataError: the table has no key, or there is no such row.
        """
        columns = self.key_columns(table)
        rows = np.asarray(rows, np.int64)
        num_rows = columns.num_rows
        if len(rows) and (rows.min() < 0 or rows.max() >= num_rows):
            raise DataError(f"row {rows.min() if rows.min() < 0 else rows.max()} of {num_rows:,}", where=table)
        return columns.take(pa.array(rows))

    def columns(self, table: str, names: Sequence[str]) -> pa.Table:
        """Those columns of all rows, in row order, typed as they were cleaned.

        Raises:
            SchemaError: the table has no such column.
            SnapshotError: the file cannot be read.
        """
        path = self._file(table, names)
        try:
            return pq.read_table(path, columns=list(names)).select(list(names))
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(path, error) from None

    def take(self, table: str, names: Sequence[str], rows: Int64s) -> pa.Table:
        """Those columns of a few rows, in their order; only the parts of the file that hold them are read.

        Raises:
            SchemaError: the table has no such column.
            SnapshotError: the file cannot be read.
        """
        path = self._file(table, names)
        try:
            with pq.ParquetFile(path) as file:
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
                groups, place = np.unique(np.searchsorted(starts, rows, side="right") - 1, return_inverse=True)
                found = file.read_row_groups(groups.tolist(), columns=list(names), use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(path, error) from None
        before = np.concatenate([[0], np.cumsum(np.diff(starts)[groups])])[place]  # of the rows of the parts read
        return found.select(list(names)).take(pa.array(rows - starts[groups][place] + before))

    def _file(self, table: str, names: Sequence[str]) -> Path:
        """The file of a table that has those columns."""
        for name in names:
            self.schema.table(table).column(name)
        with self.open_tables() as tables:
            return tables.path(table)

    def batches(self, table: str, names: Sequence[str], num_rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """As ``columns``, in batches of rows, so that memory stays bounded; the last one may be smaller.

        Raises:
            SchemaError: the table has no such column.
            SnapshotError: the file cannot be read.
        """
        path = self._file(table, names)
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(num_rows, columns=list(names), use_threads=False):
                    yield pa.Table.from_batches([batch]).select(list(names))
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(path, error) from None

    def open_tables(self) -> Tables:
        """The cleaned rows the snapshot was built from, for SQL."""
        return open_tables(self.schema, self.folder / TABLES_FOLDER)

    def key_columns(self, table: str) -> pa.Table:
        """The key columns in row order, read once."""
        key = self.schema.table(table).key
        if not key:
            raise DataError("the table has no key", where=table, hint="name its key columns in the schema card")
        with self._lock:
            if table not in self._key_columns:
                self._key_columns[table] = self.columns(table, key)
        return self._key_columns[table]

    def _open_table(self, index: int, name: str) -> SnapshotTable:
        num_rows = self.manifest.num_rows[name]
        table = self.schema.table(name)
        time_us = self._array(time_path(index), num_rows) if table.time else None
        end_us = self._array(time_path(index, end=True), num_rows) if table.end_time else None
        versions = None
        if table.versioned:
            same = Link(name, table.key, name, table.key)
            paths = [version_path(index, part) for part in LINK_PARTS]
            versions = self._open_arrays(same, paths, (num_rows, num_rows, num_rows))
        return SnapshotTable(name, num_rows, time_us, end_us, versions)

    def _open_link(self, index: int, link: Link) -> SnapshotLink:
        num_src, num_dst = self.manifest.num_rows[link.table], self.manifest.num_rows[link.target]
        paths = [link_path(index, part) for part in LINK_PARTS]
        return self._open_arrays(link, paths, (num_src, num_dst, self.manifest.num_edges[link.name]))

    def _open_arrays(self, link: Link, paths: Sequence[str], sizes: tuple[int, int, int]) -> SnapshotLink:
        num_src, num_dst, num_edges = sizes
        offsets = self._array(paths[1], num_dst + 1)
        if (offsets[0], offsets[-1]) != (0, num_edges):
            raise _damaged(self.folder / paths[1], f"does not cover {num_edges:,} edges")
        return SnapshotLink(link, self._array(paths[0], num_src), offsets, self._array(paths[2], num_edges))

    def _array(self, name: str, length: int) -> NDArray[Any]:
        path = self.folder / name
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
            raise _damaged(path, error) from None
        if values.shape != (length,) or values.dtype not in (np.int32, np.int64):
            raise _damaged(path, f"{values.dtype} {values.shape}, expected [{length}]")
        return np.asarray(values)


def time_path(index: int, end: bool = False) -> str:
    """Path in a snapshot of the row times (or end times) of the table at that place in the schema."""
    return f"{'end' if end else 'time'}/{index}.npy"


def link_path(index: int, part: str) -> str:
    """Path in a snapshot of an array of the link at that place in the schema: forward, offsets or rows."""
    return f"link/{index}.{part}.npy"


def version_path(index: int, part: str) -> str:
    """Path in a snapshot of an array of the versions of the table at that place in the schema; parts as of a link."""
    return f"version/{index}.{part}.npy"


def _damaged(path: Path, why: object) -> SnapshotError:
    return SnapshotError(f"is damaged: {why}", where=str(path), hint="build the snapshot again with: kincast build")
