"""Block: labels made in blocks of anchors, one statement each; each block is a file that appears whole or not at all.

A killed run goes on with the blocks that are missing. Memory is bounded by a block, not by the number of labels.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kincast.atomic import PARTIAL, storage_errors
from kincast.progress import Progress, silent
from kincast.query.print import print_query
from kincast.query.statement import (
    bare_statement,
    fact_statement,
    label_statement,
    rests_on_one_count,
    static_statement,
)
from kincast.query.task import Task
from kincast.source.tables import Tables

Maker = Callable[[Sequence[int]], pa.Table]
"""Anchors → their labels, by instant and then by row."""

MAX_GRID = 8_000_000
"""Entities times anchors of a block, where a block has more than one anchor."""

MAX_STEPS = 20_000
"""Anchors times steps of a block, where a block has more than one anchor."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which labels are made, and in which blocks.

    Attributes:
        task: what is predicted.
        tables: the rows.
        anchors: instants; empty for a static task.
        static_as_of_us: as-of instant of a static target of a timeless entity.
    """

    task: Task
    tables: Tables
    anchors: tuple[int, ...]
    static_as_of_us: int | None = None

    @property
    def blocks(self) -> list[tuple[int, ...]]:
        """Anchors of each block; a static task is one block without."""
        if self.task.is_static:
            return [()]
        entities = max(self.tables.num_rows(self.task.entity), 1)
        size = max(1, min(MAX_GRID // entities, MAX_STEPS // self.task.steps))
        return [self.anchors[start : start + size] for start in range(0, len(self.anchors), size)]

    @property
    def digest(self) -> str:
        """Tells labels of other queries, anchors and rows apart; 16 hexadecimal digits."""
        files = [self.tables.path(table.name).stat() for table in self.tables.schema]
        parts = [
            print_query(self.task.query),
            self.task.schema.digest,
            list(self.anchors),
            self.static_as_of_us,
            [len(block) for block in self.blocks],
            [(file.st_size, file.st_mtime_ns) for file in files],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def make_blocks(plan: Plan, folder: Path | None = None, progress: Progress = silent) -> Iterator[pa.Table]:
    """The labels block by block: ``row``, ``as_of_us``, ``target``, by instant and then by row.

    Args:
        plan: which.
        folder: where blocks are kept, in a folder of the plan's own; those already there are not made again.
        progress: told the number of blocks done.
    """
    blocks = plan.blocks
    home = folder / plan.digest if folder is not None else None
    if home is not None:
        with storage_errors(home):
            home.mkdir(parents=True, exist_ok=True)
    with plan.tables.connect() as connection:
        makers: list[Maker] = []
        for number, anchors in enumerate(blocks):
            progress("compute labels", number, len(blocks))
            path = home / f"block-{number:05}.parquet" if home is not None else None
            if path is not None and path.is_file():
                yield pq.read_table(path)
                continue
            makers = makers or [_maker(plan, connection)]
            table = makers[0](anchors)
            if path is not None:
                write_table(path, table)
            yield table
            del table
    progress("compute labels", len(blocks), len(blocks))


def _maker(plan: Plan, connection: duckdb.DuckDBPyConnection) -> Maker:
    """How the blocks of a plan are made."""
    task, num_rows = plan.task, plan.tables.num_rows(plan.task.entity)

    def static(anchors: Sequence[int]) -> pa.Table:
        return in_order(connection.sql(static_statement(task, plan.static_as_of_us)).to_arrow_table(), (), num_rows)

    def windowed(anchors: Sequence[int]) -> pa.Table:
        return in_order(connection.sql(label_statement(task, anchors)).to_arrow_table(), anchors, num_rows)

    if task.is_static:
        return static
    return _filled(plan, connection) if rests_on_one_count(task) else windowed


def _filled(plan: Plan, connection: duckdb.DuckDBPyConnection) -> Maker:
    """Labels of those with facts by SQL; all others have the same label, which is filled in here, in order."""
    bare = connection.sql(bare_statement(plan.task)).to_arrow_table()
    rows = bare["row"].to_numpy().astype(np.int64, copy=False)
    born = bare["born_us"].cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
    gone = bare["gone_us"].cast(pa.int64()).fill_null(np.iinfo(np.int64).max).to_numpy()
    nothing = bare["target"].cast(pa.float64()).fill_null(np.nan).to_numpy()
    num_rows = plan.tables.num_rows(plan.task.entity)

    def filled(anchors: Sequence[int]) -> pa.Table:
        found = connection.sql(fact_statement(plan.task, anchors)).to_arrow_table()
        places = np.searchsorted(np.asarray(anchors, dtype=np.int64), found["as_of_us"].to_numpy())
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(anchors) + 1))
        owners = found["row"].to_numpy()[order]
        values = found["target"].cast(pa.float64()).fill_null(np.nan).to_numpy()[order]
        dense = np.empty(num_rows)  # [rows] target at one anchor
        parts = []
        for i, anchor in enumerate(anchors):
            dense[rows] = nothing
            own = slice(bounds[i], bounds[i + 1])
            dense[owners[own]] = values[own]
            target = dense[rows]
            kept = (born <= anchor) & (gone > anchor) & ~np.isnan(target)
            parts.append((rows[kept], np.full(np.count_nonzero(kept), anchor, dtype=np.int64), target[kept]))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return pa.table(dict(zip(("row", "as_of_us", "target"), columns, strict=True)))

    return filled


def in_order(table: pa.Table, anchors: Sequence[int], num_rows: int) -> pa.Table:
    """Labels sorted by instant and then by row; there is at most one of each.

    Args:
        table: with ``row`` and ``as_of_us``.
        anchors: instants of a block, ascending; empty for a static task.
        num_rows: rows of the entity table.
    """
    table = table.combine_chunks()
    rows, instants = (table[name].to_numpy().astype(np.int64, copy=False) for name in ("row", "as_of_us"))
    if not anchors:
        return table.take(pa.array(np.lexsort((rows, instants))))
    # Each label has a place of its own in the grid of anchors and rows: no sorting needed.
    cells = np.searchsorted(np.asarray(anchors, dtype=np.int64), instants) * num_rows + rows
    if np.all(cells[1:] > cells[:-1]):
        return table
    if len(cells) * 8 < len(anchors) * num_rows:
        return table.take(pa.array(np.argsort(cells, kind="stable")))
    places = np.full(len(anchors) * num_rows, -1, dtype=np.int32)
    places[cells] = np.arange(len(cells), dtype=np.int32)
    return table.take(pa.array(places[places >= 0]))


def write_table(path: Path, table: pa.Table) -> None:
    """Write one Parquet file, which appears whole or not at all.

    Raises:
        StorageError: the disk refused.
    """
    temporary = path.parent / f"{PARTIAL}{path.name}-{secrets.token_hex(4)}"
    others = [name for name in table.column_names if name != "row"]
    try:
        with storage_errors(path):
            with temporary.open("wb") as file:
                # Rows ascend: their differences need a bit each.
                encoding = {"row": "DELTA_BINARY_PACKED"} if "row" in table.column_names else None
                pq.write_table(table, file, compression="zstd", use_dictionary=others, column_encoding=encoding)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
