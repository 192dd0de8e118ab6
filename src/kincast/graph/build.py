"""Build: a database becomes a snapshot: staged rows, their times, links in both directions, published at once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.graph.csr import count_lists, list_parts, row_type
from kincast.graph.join import MAX_KEYS, RowFinder
from kincast.graph.manifest import Manifest, make_manifest
from kincast.graph.open import open_snapshot
from kincast.graph.publish import building, publish, save_parts
from kincast.graph.snapshot import (
    LINK_PARTS,
    NEVER_US,
    TABLES_FOLDER,
    Snapshot,
    link_path,
    time_path,
    version_path,
)
from kincast.progress import Progress, silent
from kincast.schema import Link, Schema
from kincast.source.base import Fingerprinted, Source, quote
from kincast.source.cast import kept_type, same_key_sql
from kincast.source.tables import STAGING, Tables, bound_memory, stage_on

_BATCH_ROWS = 1 << 20
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


def build_snapshot(
    source: Source,
    schema: Schema,
    root: Path,
    progress: Progress = silent,
    *,
    staged_as: Schema | None = None,
    before_publish: Callable[[Manifest], None] | None = None,
) -> Snapshot:
    """Build the snapshot of a database as it is now and make it current.

    The same rows give the same id, in whatever order the source has them; if that version exists it is kept. When a
    build of the same source was killed, and its files were not written since, this one goes on from the tables that
    were staged by then. Of a server it cannot be known whether its rows are the same, so there it starts anew.

    Args:
        source: where the rows are.
        schema: what they mean.
        root: folder of all versions; made when missing.
        progress: told about each step.
        staged_as: how the source has the rows, where that is not as the schema says, such as typed already.
        before_publish: called with the finished version's manifest while the version before is still current.

    Raises:
        StorageError: the disk refused; nothing half-written is left and the current version is as before.
        SourceError: the source cannot be read.
    """
    with building(root, _token(source, schema)) as folder:
        for left in folder.iterdir():  # of a build that was killed; but its tables are whole
            if left.name != TABLES_FOLDER:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        with stage_on(source, staged_as or schema, folder / TABLES_FOLDER, progress) as tables:
            max_time_us = _save_times(tables, folder, progress)
            num_edges = _save_links(tables, folder, progress)
            num_rows = {table.name: tables.num_rows(table.name) for table in schema}
            counts = {name: asdict(count) for name, count in tables.counts.items()}
        progress("publish", 0, 1)
        manifest = make_manifest(
            folder, schema, num_rows=num_rows, num_edges=num_edges, counts=counts, max_time_us=max_time_us
        )
        if before_publish is not None:
            before_publish(manifest)
        publish(root, folder, manifest)
    progress("publish", 1, 1)
    return open_snapshot(root, manifest.id, verify=False)  # the hashes were taken just now


def _token(source: Source, schema: Schema) -> str | None:
    """Stands for the rows that would be read; None when it cannot be known whether they are the same."""
    known = source.fingerprint() if isinstance(source, Fingerprinted) else None
    return known and hashlib.sha256(f"{STAGING} {schema.digest} {source.url} {known}".encode()).hexdigest()


def _save_times(tables: Tables, folder: Path, progress: Progress) -> int:
    """Write the row times of every timed table and return the latest of all; 0 when there is none."""
    latest = 0
    for index, table in enumerate(tables.schema):
        progress("times", index, len(tables.schema.tables))
        num_rows = tables.num_rows(table.name)
        if table.time is not None:
            times = _Rising(_instants(tables.path(table.name), "_time"), table.name)
            save_parts(folder / time_path(index), np.int64, num_rows, times)
            latest = max(latest, times.last) if num_rows else latest
        if table.end_time is not None:
            ends = _instants(tables.path(table.name), "_end")
            save_parts(folder / time_path(index, end=True), np.int64, num_rows, ends)
        if table.versioned:
            same = Link(table.name, table.key, table.name, table.key)
            _save_arrays(tables, same, [folder / version_path(index, part) for part in LINK_PARTS])
    progress("times", len(tables.schema.tables), len(tables.schema.tables))
    return latest


class _Rising:
    """Times as they go by, held to what all else rests on: none is before the one ahead of it."""

    def __init__(self, parts: Iterator[NDArray[np.int64]], table: str) -> None:
        self.last = int(np.iinfo(np.int64).min)
        self._parts = parts
        self._table = table

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for part in self._parts:
            if len(part):
                if part[0] < self.last or (part[1:] < part[:-1]).any():
                    what = "its rows were not written in time order"
                    raise DataError(what, where=self._table, hint="please report this as a bug")
                self.last = int(part[-1])
            yield part


def _instants(path: Path, column: str) -> Iterator[NDArray[np.int64]]:
    """Microseconds of a timestamp column in row order, in parts; never where it is null."""
    for values in _read(path, column):
        yield values.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(NEVER_US).to_numpy()


def _read(path: Path, column: str) -> Iterator[pa.Array]:
    """A column in row order, in parts."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
            yield batch.column(0)


def _save_links(tables: Tables, folder: Path, progress: Progress) -> dict[str, int]:
    """Write every link in both directions and return how many edges each has."""
    links = tables.schema.links
    num_edges = {}
    progress("links", 0, len(links))
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        counts = pool.map(lambda index: _save_link(tables, index, folder), range(len(links)))
        for index, (link, count) in enumerate(zip(links, counts, strict=True)):
            num_edges[link.name] = count
            progress("links", index + 1, len(links))
    return num_edges


def _save_link(tables: Tables, index: int, folder: Path) -> int:
    paths = [folder / link_path(index, part) for part in LINK_PARTS]
    return _save_arrays(tables, tables.schema.links[index], paths)


def _save_arrays(tables: Tables, link: Link, paths: Sequence[Path]) -> int:
    """Write the three arrays of a link and return how many edges it has."""
    num_src, num_dst = tables.num_rows(link.table), tables.num_rows(link.target)
    kind = row_type(num_dst)
    if _is_whole(tables.schema, link) and num_dst <= MAX_KEYS:
        save_parts(paths[0], kind, num_src, _find_rows(tables, link))
    else:
        forward = np.full(num_src, -1, kind)
        spill = paths[0].with_suffix(".spill")
        with tables.connect() as connection:
            bound_memory(connection, spill)
            _scatter(connection, _join(tables.schema, link), forward)
        shutil.rmtree(spill, ignore_errors=True)
        save_parts(paths[0], kind, num_src, [forward])
    forward = np.load(paths[0], mmap_mode="r", allow_pickle=False)
    offsets = count_lists(forward, num_dst)
    save_parts(paths[1], np.int64, num_dst + 1, [offsets])
    num_edges = int(offsets[-1])
    save_parts(paths[2], row_type(num_src), num_edges, list_parts(forward, offsets))
    return num_edges


def _is_whole(schema: Schema, link: Link) -> bool:
    """True when foreign key and key are one whole number each, and a key names one row."""
    if schema.table(link.target).versioned:
        return False
    columns = [schema.table(t).column(n) for t, names in _ends(link) for n in names]
    return len(columns) == 2 and all(kept_type(column) in _WHOLE for column in columns)


def _ends(link: Link) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (link.table, link.columns), (link.target, link.target_columns)


def _find_rows(tables: Tables, link: Link) -> Iterator[NDArray[Any]]:
    """The row of the target that each row of the link's table names, -1 for none, in row order, in parts."""
    parts = [part.cast(pa.int64()).to_numpy() for part in _read(tables.path(link.target), link.target_columns[0])]
    finder = RowFinder(np.concatenate(parts) if parts else np.empty(0, np.int64))
    del parts
    for part in _read(tables.path(link.table), link.columns[0]):
        found = finder.find(part.cast(pa.int64()).fill_null(0).to_numpy())
        if part.null_count:
            found[part.is_null().to_numpy(zero_copy_only=False)] = -1
        yield found


def _join(schema: Schema, link: Link) -> str:
    """SELECT source row, target row FROM table JOIN target ON every key column is the same."""
    source, target = schema.table(link.table), schema.table(link.target)
    same = [
        same_key_sql(
            f"src.{quote(own)}", kept_type(source.column(own)), f"dst.{quote(key)}", kept_type(target.column(key))
        )
        for own, key in zip(link.columns, link.target_columns, strict=True)
    ]
    ends = quote(link.target)
    if target.versioned:  # the first version stands for all
        key = ", ".join(quote(name) for name in target.key)
        ends = f"(SELECT {key}, min(_row) AS _row FROM {ends} GROUP BY {key})"
    tables = f"{quote(link.table)} AS src JOIN {ends} AS dst"
    return f"SELECT src._row, dst._row FROM {tables} ON {' AND '.join(same)}"


def _scatter(connection: duckdb.DuckDBPyConnection, sql: str, values: NDArray[Any]) -> None:
    """Run SELECT place, value and write each value at its place; in batches, so memory stays bounded."""
    for batch in connection.sql(sql).to_arrow_reader(_BATCH_ROWS):
        values[batch.column(0).to_numpy()] = batch.column(1).to_numpy()
