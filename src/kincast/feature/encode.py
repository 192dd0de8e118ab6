"""Encode: the rows of a table as records, one batch of rows after another, straight to a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.ahead import in_order
from kincast.feature import convert
from kincast.feature.record import file_header, record_type, stored
from kincast.feature.spec import SUMMARY, TableSpec
from kincast.feature.text import text_inputs
from kincast.graph.snapshot import BATCH_ROWS, Snapshot
from kincast.project import FeatureStorage

NUM_THREADS = 2  # that encode, while this one reads and writes
BATCH_BYTES = 8 << 20
"""What the numbers of a batch of rows may take before they are stored."""


def write_records(snapshot: Snapshot, spec: TableSpec, storage: FeatureStorage, path: Path) -> None:
    """Write the records of all rows of a table as a ``.npy`` file; what is in memory does not grow with the table."""
    record = record_type(spec, storage)
    num_rows = snapshot.tables[spec.table].num_rows
    time_us = snapshot.tables[spec.table].time_us

    def encode(batch: tuple[int, pa.Table]) -> NDArray[np.void]:
        start, rows = batch
        own_us = None if time_us is None else time_us[start : start + rows.num_rows]
        return encode_rows(rows, spec, own_us, storage)

    with path.open("wb") as file:
        file.write(file_header(record, num_rows))
        for records in in_order(_placed(_batches(snapshot, spec)), encode, NUM_THREADS, NUM_THREADS):
            file.write(records.data)


def encode_rows(
    rows: pa.Table, spec: TableSpec, time_us: NDArray[np.int64] | None, storage: FeatureStorage
) -> NDArray[np.void]:
    """Records [n] of rows, each a function of its row alone.

    Args:
        rows: the columns of the spec, n rows of them.
        spec: the table's inputs.
        time_us: [n] int64 times of the rows; None for a timeless table.
        storage: of the numbers.
    """
    records = np.zeros(rows.num_rows, record_type(spec, storage))
    for place, part in enumerate(spec.categorical):
        records["codes"][:, place] = convert.codes_of(convert.as_texts(rows[part.column]), part)
    if time_us is not None and spec.calendar:
        records["instants"][:, 0] = time_us
    for place, instant in enumerate(spec.instants, start=int(spec.calendar)):
        records["instants"][:, place] = convert.as_instants(rows[instant.column])
    if spec.numeric_width:
        numbers = np.concatenate(list(_numbers(rows, spec, time_us)), axis=1)
        records["numbers"] = stored(numbers, spec.int8_scales, storage)
    return records


def _numbers(rows: pa.Table, spec: TableSpec, time_us: NDArray[np.int64] | None) -> Iterator[NDArray[np.float32]]:
    """Blocks of columns in the order that ``TableSpec.numeric_width`` gives."""
    for part in spec.numeric:
        yield convert.scaled(convert.as_floats(rows[part.column]), part)
    for items in spec.items:
        yield convert.item_flags(convert.as_lists(rows[items.column], items.separator), items.items)
    for text in spec.text:
        yield text_inputs(convert.as_texts(rows[text.column]), text)
    for vector in spec.vectors:
        width = len(vector.center)
        yield convert.vector_inputs(convert.as_vectors(rows[vector.column], width), vector)
    for sequence in spec.sequences:
        figures = convert.summaries(rows[sequence.column])
        for figure in sequence.figures:
            place = SUMMARY.index(figure.column)
            yield convert.scaled(figures.T[place], figure)
    if spec.calendar and time_us is not None:
        yield convert.calendar(time_us)


def _placed(batches: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """Each batch with the number of its first row."""
    start = 0
    for rows in batches:
        yield start, rows
        start += rows.num_rows


def _batches(snapshot: Snapshot, spec: TableSpec) -> Iterator[pa.Table]:
    """The columns of the spec in batches of rows; where there is none, tables of as many rows without columns."""
    size = max(1, min(BATCH_ROWS, BATCH_BYTES // max(4 * spec.numeric_width, 1)))
    if spec.columns:
        yield from snapshot.batches(spec.table, spec.columns, size)
        return
    num_rows = snapshot.tables[spec.table].num_rows
    for start in range(0, num_rows, size):
        # Arrow counts the rows of a table by its columns.
        yield pa.table({"_row": np.arange(start, min(start + size, num_rows))})
