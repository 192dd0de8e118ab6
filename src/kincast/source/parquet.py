"""Parquet: an ordered query written as a Parquet file, the same bytes for the same rows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kincast.progress import Progress, silent

ROW_GROUP = 122_880
_GROUPS_WAITING = 3


def write_parquet(connection: duckdb.DuckDBPyConnection, sql: str, path: Path, progress: Progress = silent) -> int:
    """Write an ordered query as Parquet, fsynced, the same bytes for the same rows; returns the number of rows.

    Numbers and instants are stored as differences, which in row order is both small and quick, text by a dictionary.
    Encoding runs beside the query.

    Raises:
        OSError: the disk refused.
        duckdb.Error: the query fails.
    """
    reader = connection.sql(sql).to_arrow_reader(ROW_GROUP)
    rows = 0
    waiting: deque[Future[None]] = deque()
    with path.open("wb") as file:
        with _writer(file, reader.schema) as writer, ThreadPoolExecutor(1) as pool:
            for group in _groups(reader):
                if len(waiting) == _GROUPS_WAITING:
                    waiting.popleft().result()
                waiting.append(pool.submit(writer.write_table, group, row_group_size=ROW_GROUP))
                rows += group.num_rows
                progress(f"write {path.stem}", rows, None)
            for future in waiting:
                future.result()
        file.flush()
        os.fsync(file.fileno())
    return rows


def _groups(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows in tables of one row group each, in one piece, so that how they came in does not show; one at least."""
    waiting: list[pa.RecordBatch] = []
    held, none = 0, True
    for batch in reader:
        waiting.append(batch)
        held += batch.num_rows
        while held >= ROW_GROUP:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, ROW_GROUP).combine_chunks()
            none = False
            waiting, held = table.slice(ROW_GROUP).to_batches(), held - ROW_GROUP
    if held or none:
        yield pa.Table.from_batches(waiting, schema=reader.schema).combine_chunks()


def _writer(file: object, schema: pa.Schema) -> pq.ParquetWriter:
    texts = [field.name for field in schema if _is_text(field.type)]
    numbers = {field.name: "DELTA_BINARY_PACKED" for field in schema if _is_whole(field.type)}
    return pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=texts, column_encoding=numbers)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_whole(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind)
    )
