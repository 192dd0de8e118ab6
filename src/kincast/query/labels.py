"""Labels: who had which outcome, as of when, in which split; made by a query or read from a table of the user's."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kincast.atomic import PARTIAL, storage_errors
from kincast.clock import format_instant
from kincast.errors import DataError, KeyNotFoundError
from kincast.project import SplitSettings
from kincast.query.anchors import Anchors, make_anchors, time_range
from kincast.query.family import Family, operand_family
from kincast.query.split import SPLITS, split_by_anchor, split_static
from kincast.query.statement import label_statement, seed_statement, static_statement
from kincast.query.table import label_columns
from kincast.query.task import Task, TaskKind
from kincast.query.tree import Aggregate, ColumnRef
from kincast.source.base import quote
from kincast.source.cast import kept_type, same_key_sql
from kincast.source.tables import Tables

MAX_CLASSES = 6_000
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]
Int8s = NDArray[np.int8]


@dataclass(frozen=True)
class Labels:
    """Labels of one task, by as-of instant and then by row where a query made them.

    Attributes:
        entity: the entity table.
        kind: what is learnt.
        rows: [n] int64 row in the entity table.
        as_of_us: [n] int64 instant in microseconds.
        target: [n] float64 class code, or the value for regression.
        split: [n] int8, 0 train, 1 validation, 2 test.
        classes: names of the class codes; ``("false", "true")`` for binary, empty for regression.
        freeze_us: no fact after it is seen by any label's prediction; None without.
    """

    entity: str
    kind: TaskKind
    rows: Int64s
    as_of_us: Int64s
    target: Floats
    split: Int8s
    classes: tuple[str, ...] = ()
    freeze_us: int | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.rows), len(self.as_of_us), len(self.target), len(self.split)}
        if len(lengths) != 1:
            raise DataError(f"the columns of a label table have different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, split: int) -> Labels:
        """The labels of one split: 0 train, 1 validation, 2 test."""
        chosen = self.split == split
        return replace(
            self,
            rows=self.rows[chosen],
            as_of_us=self.as_of_us[chosen],
            target=self.target[chosen],
            split=self.split[chosen],
        )

    @property
    def visible_us(self) -> Int64s:
        """[n] int64 facts later than this are not seen: the as-of instant, or the freeze where that is earlier."""
        return self.as_of_us if self.freeze_us is None else np.minimum(self.as_of_us, self.freeze_us)

    def to_parquet(self, path: Path) -> None:
        """Write them as one Parquet file, which appears whole or not at all.

        Raises:
            StorageError: the disk refused.
        """
        about = {"entity": self.entity, "kind": self.kind, "classes": self.classes, "freeze_us": self.freeze_us}
        names = ["row", "as_of_us", "target", "split"]
        table = pa.table(dict(zip(names, (self.rows, self.as_of_us, self.target, self.split), strict=True)))
        temporary = path.parent / f"{PARTIAL}{path.name}-{secrets.token_hex(4)}"
        try:
            with storage_errors(path):
                with temporary.open("wb") as file:
                    pq.write_table(table.replace_schema_metadata({"kincast": json.dumps(about)}), file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    @staticmethod
    def from_parquet(path: Path) -> Labels:
        """Read what ``to_parquet`` wrote.

        Raises:
            DataError: it is not there or not a label file.
        """
        try:
            table = pq.read_table(path)
            about = json.loads((table.schema.metadata or {})[b"kincast"])
            rows, instants, target, splits = (table[name].to_numpy() for name in ("row", "as_of_us", "target", "split"))
            kind, classes, freeze_us = TaskKind(about["kind"]), tuple(about["classes"]), about["freeze_us"]
            return Labels(about["entity"], kind, rows, instants, target, splits, classes, freeze_us)
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
            reason = str(error).split("\n")[0]
            raise DataError(f"is not a label file of ours: {reason}", where=str(path)) from None


def label_sql(task: Task, anchors: Anchors | Sequence[int], static_as_of_us: int | None = None) -> str:
    """The one statement that makes the labels: columns ``row``, ``as_of_us``, ``target``.

    Args:
        task: what is predicted.
        anchors: instants of the windows; not used for a static target.
        static_as_of_us: as-of instant of a static target of a timeless entity.
    """
    if task.is_static:
        return static_statement(task, static_as_of_us)
    return label_statement(task, anchors.all if isinstance(anchors, Anchors) else anchors)


def make_labels(task: Task, tables: Tables, split: SplitSettings) -> Labels:
    """Make the labels of a task.

    Args:
        task: what is predicted.
        tables: the rows.
        split: which instants, and which split each belongs to.

    Raises:
        DataError: a split has no labels, or training has only one class.
    """
    anchors = make_anchors(task, tables, split)
    as_of_us = static_as_of(task, tables)
    with tables.connect() as connection:
        table: pa.Table = connection.sql(label_sql(task, anchors, as_of_us)).to_arrow_table()
        rows, instants = table["row"].to_numpy(), table["as_of_us"].to_numpy()
        order = np.lexsort((rows, instants))
        rows, instants = rows[order].astype(np.int64), instants[order].astype(np.int64)
        target, classes = encode(task, table["target"].take(pa.array(order)))
        if task.is_static:
            splits = split_static(task, connection, rows, instants, split)
        else:
            splits = split_by_anchor(instants, anchors)
    labels = Labels(task.entity, task.kind, rows, instants, target, splits, classes, split.freeze_us)
    check_labels(labels, task.query_line)
    return labels


def static_as_of(task: Task, tables: Tables) -> int | None:
    """The as-of instant of a static target of a timeless entity: the end of the data, 0 in a timeless graph.

    None when the target has a window, or the entity's rows have their own time.
    """
    if not task.is_static or task.entity_table.time is not None:
        return None
    timed = [table.name for table in tables.schema if table.time is not None]
    return time_range(tables, timed)[1] if timed else 0


def encode(task: Task, values: pa.ChunkedArray) -> tuple[Floats, tuple[str, ...]]:
    """Targets as numbers and the names of the class codes.

    Raises:
        DataError: a value is not finite, or there are too many classes.
    """
    if task.kind is not TaskKind.MULTICLASS:
        target = values.cast(pa.float64()).to_numpy().astype(np.float64)
        if not np.isfinite(target).all():
            what = f"{np.count_nonzero(~np.isfinite(target))} targets are infinite"
            raise DataError(what, hint="look at the aggregated column with 'kincast check'")
        return target, ("false", "true") if task.kind is TaskKind.BINARY else ()
    coded = pa.array(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values).dictionary_encode()
    names: list[str] = coded.dictionary.to_pylist()
    if len(names) > MAX_CLASSES:
        what = f"the target has {len(names):,} different values; a class each is too many"
        raise DataError(what, hint=f"at most {MAX_CLASSES:,}; predict a condition instead")
    numeric = isinstance(task.query.target, ColumnRef | Aggregate)
    numeric = numeric and operand_family(task.query.target) is Family.NUMBER  # type: ignore[arg-type]
    ranked = sorted(range(len(names)), key=lambda i: (float(names[i]) if numeric else 0.0, names[i]))
    place = np.empty(len(names), dtype=np.int64)
    place[ranked] = np.arange(len(names))
    codes = coded.indices.to_numpy()
    return place[codes].astype(np.float64), tuple(names[i] for i in ranked)


def check_labels(labels: Labels, where: str) -> None:
    """Refuse labels that nothing can be learnt from.

    Raises:
        DataError: there are none, a split is empty, or training has only one class.
    """
    if not len(labels):
        hint = "the filters leave no entity, or no window holds a fact: 'kincast explain' shows the SQL"
        raise DataError("the query gives no labels at all", where=where, hint=hint)
    for number, name in enumerate(SPLITS):
        if not np.any(labels.split == number):
            hint = "use a longer window, more windows or other start dates"
            raise DataError(f"there are no labels in the {name} split", where=where, hint=hint)
    if labels.kind is not TaskKind.REGRESSION:
        codes = np.unique(labels.of(0).target)
        if len(codes) == 1:
            only = labels.classes[int(codes[0])]
            what = f"all {len(labels.of(0)):,} training labels are '{only}', so there is nothing to tell apart"
            raise DataError(what, where=where, hint="change the condition, the filter or the window")


def prediction_seeds(
    task: Task, tables: Tables, as_of_us: int | None = None, keys: Sequence[Any] | None = None
) -> tuple[Int64s, int]:
    """The rows to predict for: entities that exist at an instant and pass the filter; ASSUMING is taken as true.

    Args:
        task: what is predicted.
        tables: the rows.
        as_of_us: the instant; by default the latest time in the target's fact tables, for a static target in all.
        keys: only these, in this order (tuples for keys of several columns); by default those of ``FOR … IN``, or all.

    Returns:
        [n] int64 rows, and the instant.

    Raises:
        KeyNotFoundError: a key that no row has.
        DataError: the instant lies before the first fact.
    """
    timed = [table.name for table in tables.schema if table.time is not None]
    names = task.fact_tables or timed
    if names:
        first, last = time_range(tables, names)
        if as_of_us is not None and as_of_us < first:
            what = f"{format_instant(as_of_us)} lies before the first fact, {format_instant(first)}"
            raise DataError(what, where=", ".join(names), hint="give a later instant")
        as_of_us = last if as_of_us is None else as_of_us
    as_of_us = as_of_us or 0
    with tables.connect() as connection:
        rows = connection.execute(seed_statement(task, as_of_us)).fetchnumpy()["row"].astype(np.int64)
        if keys is None and task.query.entity.keys is not None:
            keys = [constant.value for constant in task.query.entity.keys]
        if keys is None:
            return rows, as_of_us
        wanted = find_rows(task, connection, keys)
    return wanted[np.isin(wanted, rows)], as_of_us


def find_rows(task: Task, connection: duckdb.DuckDBPyConnection, keys: Sequence[Any]) -> Int64s:
    """[n] int64 rows of the entity table of the user's keys, in their order.

    Raises:
        KeyNotFoundError: a key that no row has.
    """
    table = task.entity_table
    tuples = [key if isinstance(key, tuple) else (key,) for key in keys]
    if any(len(key) != len(table.key) for key in tuples):
        raise KeyNotFoundError(f"a key of {table.name} is ({', '.join(table.key)})", where=table.name)
    texts = {f"k{i}": [str(key[i]) for key in tuples] for i in range(len(table.key))}
    connection.register("wanted", pa.table({**texts, "place": np.arange(len(tuples))}))
    on = " AND ".join(
        same_key_sql(f"w.k{i}", "VARCHAR", f"e.{quote(name)}", kept_type(table.column(name)))
        for i, name in enumerate(table.key)
    )
    sql = f"SELECT coalesce(e._row, -1) AS row FROM wanted w LEFT JOIN {quote(table.name)} e ON {on} ORDER BY w.place"
    rows = connection.execute(sql).fetchnumpy()["row"].astype(np.int64)
    connection.unregister("wanted")
    missing = [tuples[i] for i in np.flatnonzero(rows < 0)]
    if missing:
        shown = ", ".join("/".join(str(part) for part in key) for key in missing[:3])
        what = f"{len(missing)} of {len(tuples)} keys are not in {table.name}: {shown}"
        raise KeyNotFoundError(what, where=f"{table.name}.{'+'.join(table.key)}", hint="check how the keys are written")
    return rows


def read_labels(task: Task, tables: Tables, path: Path, split: SplitSettings) -> Labels:
    """Read a label table of the user's instead of making labels; its order is kept.

    Args:
        task: says what the targets mean.
        tables: the rows.
        path: Parquet or CSV file with the entity's key columns, ``as_of``, ``target`` and ``split`` (train,
            validation, test, or 0, 1, 2); without ``split`` the start dates of the settings decide.
        split: start dates and freeze.

    Raises:
        DataError: it cannot be read, lacks a column, has nulls, unknown keys, the same entity twice at an instant,
            entities before they exist, or unreadable values; with the count and three samples.
    """
    rows, instants, values, splits = label_columns(task, tables, path, split)
    target, classes = encode(task, values)
    labels = Labels(task.entity, task.kind, rows, instants, target, splits, classes, split.freeze_us)
    check_labels(labels, str(path))
    return labels
