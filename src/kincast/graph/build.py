"""Build: a database becomes a snapshot: staged rows, their times, links in both directions, published at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from kincast.graph.csr import reverse_link, row_type
from kincast.graph.manifest import Manifest, make_manifest
from kincast.graph.open import open_snapshot
from kincast.graph.publish import building, publish, save_array
from kincast.graph.snapshot import NEVER_US, TABLES_FOLDER, Snapshot, link_path, time_path
from kincast.progress import Progress, silent
from kincast.schema import Link, Schema, Table
from kincast.source.base import Source, quote
from kincast.source.cast import kept_type, same_key_sql
from kincast.source.tables import Tables, stage

_BATCH_ROWS = 1 << 20


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

    The same rows give the same id, in whatever order the source has them; if that version exists it is kept.

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
    with building(root) as folder:
        with (
            stage(source, staged_as or schema, folder / TABLES_FOLDER, progress) as tables,
            tables.connect() as connection,
        ):
            max_time_us = _save_times(connection, tables, folder, progress)
            num_edges = _save_links(connection, tables, folder, progress)
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
    return open_snapshot(root, manifest.id)


def _save_times(connection: duckdb.DuckDBPyConnection, tables: Tables, folder: Path, progress: Progress) -> int:
    """Write the row times of every timed table and return the latest of all; 0 when there is none."""
    latest = 0
    for done, table in enumerate(tables.schema):
        progress("times", done, len(tables.schema.tables))
        index = tables.schema.tables.index(table)
        if table.time is not None:
            times = _instants(connection, table, "_time", tables.num_rows(table.name))
            save_array(folder / time_path(index), times)
            latest = max(latest, int(times[-1])) if len(times) else latest
        if table.end_time is not None:
            ends = _instants(connection, table, "_end", tables.num_rows(table.name))
            save_array(folder / time_path(index, end=True), ends)
    progress("times", len(tables.schema.tables), len(tables.schema.tables))
    return latest


def _instants(connection: duckdb.DuckDBPyConnection, table: Table, column: str, num_rows: int) -> NDArray[np.int64]:
    """[num_rows] int64 microseconds of a TIMESTAMP column by row; never where it is null."""
    values = np.full(num_rows, NEVER_US, np.int64)
    sql = f"SELECT _row, epoch_us({column}) FROM {quote(table.name)} WHERE {column} IS NOT NULL"
    _scatter(connection, sql, values)
    return values


def _save_links(
    connection: duckdb.DuckDBPyConnection, tables: Tables, folder: Path, progress: Progress
) -> dict[str, int]:
    """Write every link in both directions and return how many edges each has."""
    num_edges = {}
    links = tables.schema.links
    for index, link in enumerate(links):
        progress("links", index, len(links))
        num_src, num_dst = tables.num_rows(link.table), tables.num_rows(link.target)
        forward = np.full(num_src, -1, row_type(num_dst))
        _scatter(connection, _join(tables.schema, link), forward)
        offsets, rows = reverse_link(forward, num_dst)
        save_array(folder / link_path(index, "forward"), forward)
        save_array(folder / link_path(index, "offsets"), offsets)
        save_array(folder / link_path(index, "rows"), rows)
        num_edges[link.name] = len(rows)
    progress("links", len(links), len(links))
    return num_edges


def _join(schema: Schema, link: Link) -> str:
    """SELECT source row, target row FROM table JOIN target ON every key column is the same."""
    source, target = schema.table(link.table), schema.table(link.target)
    same = [
        same_key_sql(
            f"src.{quote(own)}", kept_type(source.column(own)), f"dst.{quote(key)}", kept_type(target.column(key))
        )
        for own, key in zip(link.columns, link.target_columns, strict=True)
    ]
    tables = f"{quote(link.table)} AS src JOIN {quote(link.target)} AS dst"
    return f"SELECT src._row, dst._row FROM {tables} ON {' AND '.join(same)}"


def _scatter(connection: duckdb.DuckDBPyConnection, sql: str, values: NDArray[Any]) -> None:
    """Run SELECT place, value and write each value at its place; in batches, so memory stays bounded."""
    for batch in connection.sql(sql).to_arrow_reader(_BATCH_ROWS):
        values[batch.column(0).to_numpy()] = batch.column(1).to_numpy()
