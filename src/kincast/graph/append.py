"""Append: rows of the user's own, kept in the log beside the snapshot."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kincast.errors import DataError
from kincast.graph.delta import DeltaLog, Kept
from kincast.graph.judge import Judge
from kincast.graph.open import open_snapshot
from kincast.project import Project
from kincast.schema import Schema
from kincast.source.change import Changes, Delivery

STREAM = "append"


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of rows.

    Attributes:
        kept: where they are in the log.
        num_rows: rows that join the graph, now or once the row that gives them their time is there.
        rejected: the rows that a rule rejects, as they came, with the rule in ``_rule``.
    """

    kept: Kept
    num_rows: int
    rejected: pa.Table


def append_rows(log: DeltaLog, schema: Schema, table: str, rows: pa.Table, deleted: bool = False) -> Appended:
    """Keep rows that were inserted or updated, or the keys of rows that are gone; on the disk when this returns.

    Each call is newer than the ones before it, and than changes that a database's stream brings with times as their
    sequence.

    Args:
        log: opened for writing.
        schema: of the snapshot.
        table: whose rows they are.
        rows: columns by name, typed or as text; those that are missing are null.
        deleted: the rows are gone; only their keys are looked at.

    Raises:
        SchemaError: there is no such table.
        DataError: the rows have none of the table's columns or not its key, or cannot be read at all.
        StorageError: the disk refused; nothing is kept.
    """
    changes = own_changes(schema, table, rows, deleted)
    judged = Judge(schema).judge(changes)
    rejected = judged.rejected()
    kept = log.append(Delivery(STREAM, str(int(changes.sequence[0])) if len(changes) else "0", (changes,)))
    return Appended(kept, len(changes) - rejected.num_rows, rejected)


def own_changes(schema: Schema, table: str, rows: pa.Table, deleted: bool = False) -> Changes:
    """Rows of the user's own as changes of now."""
    found = schema.table(table)
    missing = [name for name in found.key if name not in rows.column_names]
    if missing:
        raise DataError(f"the rows have no column {missing[0]}", where=table, hint="give the key of every row")
    if not any(found.has_column(name) for name in rows.column_names):
        names = ", ".join(column.name for column in found.columns)
        raise DataError("the rows have none of the table's columns", where=table, hint=f"it has {names}")
    now = time.time_ns() // 1000
    # Rows of one call keep their order: the last of one key holds.
    sequence = now + np.arange(rows.num_rows)
    call = secrets.token_hex(8)
    ids = None if found.key else tuple(f"{STREAM} {call} {i}" for i in range(rows.num_rows))
    return Changes(table, rows, sequence, np.full(rows.num_rows, deleted), ids)


def append(
    project: Project, table: str, rows: pa.Table | Sequence[Mapping[str, Any]], deleted: bool = False
) -> Appended:
    """Append rows to a project's graph; they are on the disk when this returns, and seen within a second.

    Args:
        project: with a snapshot.
        table: whose rows they are.
        rows: a table, or mappings from column names to values.
        deleted: the rows are gone; only their keys are looked at.

    Raises:
        SnapshotError: there is no snapshot yet.
        StorageError: another process takes changes in, or the disk refused.
        SchemaError, DataError: as ``append_rows``.
    """
    schema = open_snapshot(project.snapshots).schema
    given = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows])
    with DeltaLog(project.snapshots) as log:
        return append_rows(log, schema, table, given, deleted)
