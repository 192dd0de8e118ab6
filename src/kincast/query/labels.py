"""Labels: who had which outcome, as of when, in which split; made by a query or read from a table of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import format_instant
from kincast.errors import DataError, KeyNotFoundError
from kincast.progress import Progress, silent
from kincast.project import SplitSettings
from kincast.query.anchors import Anchors, make_anchors, split_family, time_range
from kincast.query.block import Plan, make_blocks
from kincast.query.encode import Encoded, Lists, encode
from kincast.query.split import NOWHERE, SPLITS, split_labels, split_links
from kincast.query.statement import label_statement, seed_statement, static_statement
from kincast.query.table import LabelTable, label_columns
from kincast.query.task import Task, TaskKind
from kincast.query.triple import read_triples, triple_statement
from kincast.source.base import quote
from kincast.source.cast import kept_type, same_key_sql
from kincast.source.tables import Tables

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
        as_of_us: [n] int64 instant in microseconds; of a link without a time the number of its split, so that links
            of earlier splits are known and its own and later ones are not.
        target: [n] float64 class code, or the value for regression; the length of a list, the mean of a forecast.
        split: [n] int8, 0 train, 1 validation, 2 test.
        classes: names of the class codes; ``("false", "true")`` for binary, empty for regression and links.
        freeze_us: no fact after it is seen by any label's prediction; None without.
        lists: class codes, rows linked to, or steps of a forecast; None for kinds with one value a label.
        item_table: table of the rows linked to; None unless links are predicted.
        weight: [n] float64 how much each label counts; None when all count alike.
        lags_us: [n] int64 how long before its instant each stops seeing facts; None where only the freeze says so.
        extra: further columns of a label table of the user's, [n] each; None without any.
        relation: [n] int64 codes of the relations of facts, whose ``target`` is the row of the tail; None otherwise.
        relations: names of the codes.
    """

    entity: str
    kind: TaskKind
    rows: Int64s
    as_of_us: Int64s
    target: Floats
    split: Int8s
    classes: tuple[str, ...] = ()
    freeze_us: int | None = None
    lists: Lists | None = None
    item_table: str | None = None
    weight: Floats | None = None
    lags_us: Int64s | None = None
    extra: pa.Table | None = None
    relation: Int64s | None = None
    relations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = [self.rows, self.as_of_us, self.target, self.split, self.lists, self.weight, self.extra]
        columns += [self.relation]
        lengths = {len(column) for column in columns if column is not None}
        if len(lengths) != 1:
            raise DataError(f"the columns of a label table have different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, split: int) -> Labels:
        """The labels of one split: 0 train, 1 validation, 2 test."""
        return self.where(self.split == split)

    def where(self, chosen: NDArray[np.bool_]) -> Labels:
        """Some of the labels, in their order.

        Args:
            chosen: [n] which.
        """
        return replace(
            self,
            rows=self.rows[chosen],
            as_of_us=self.as_of_us[chosen],
            target=self.target[chosen],
            split=self.split[chosen],
            lists=self.lists.take(chosen) if self.lists is not None else None,
            weight=self.weight[chosen] if self.weight is not None else None,
            lags_us=self.lags_us[chosen] if self.lags_us is not None else None,
            extra=self.extra.filter(pa.array(chosen)) if self.extra is not None else None,
            relation=self.relation[chosen] if self.relation is not None else None,
        )

    @property
    def visible_us(self) -> Int64s:
        """[n] int64 facts later than this are not seen: the as-of instant, or the freeze where that is earlier."""
        if self.lags_us is not None:
            return np.asarray(self.as_of_us - self.lags_us)
        return self.as_of_us if self.freeze_us is None else np.minimum(self.as_of_us, self.freeze_us)


def label_sql(
    task: Task,
    anchors: Anchors | Sequence[int],
    static_as_of_us: int | None = None,
    dialect: str = "duckdb",
) -> str:
    """The one statement that makes the labels: columns ``row``, ``as_of_us``, ``target``; of forecasts ``step`` too.

    Args:
        task: what is predicted.
        anchors: instants of the windows; not used for a static target.
        static_as_of_us: as-of instant of a static target of a timeless entity.
        dialect: ``duckdb``, over the tables of a snapshot, or ``postgres``, over the user's own tables: their rows
            take their times through links, are typed and are numbered as in a snapshot.
    """
    if task.kind is TaskKind.KNOWLEDGE:
        if dialect != "duckdb":
            raise DataError(f"there is no statement in {dialect} for {task.kind.words}", where=task.query_line)
        return triple_statement(task)
    if task.is_static:
        return static_statement(task, static_as_of_us, dialect)
    return label_statement(task, anchors.all if isinstance(anchors, Anchors) else anchors, dialect)


def make_labels(
    task: Task, tables: Tables, split: SplitSettings, folder: Path | None = None, progress: Progress = silent
) -> Labels:
    """Make the labels of a task.

    Args:
        task: what is predicted.
        tables: the rows.
        split: which instants, and which split each belongs to.
        folder: where the blocks of labels are kept, so that a killed run goes on; None keeps nothing.
        progress: told the number of blocks done.

    Raises:
        DataError: a split has no labels, or training has only one class.
    """
    if task.kind is TaskKind.KNOWLEDGE:
        return _knowledge(task, tables, split)
    anchors = make_anchors(task, tables, split)
    plan = Plan(task, tables, anchors.all, static_as_of(task, tables))
    table = pa.concat_tables(make_blocks(plan, folder, progress))
    rows, instants = (table[name].to_numpy().astype(np.int64, copy=False) for name in ("row", "as_of_us"))
    found = encode(task, table["target"], table["step"] if "step" in table.column_names else None)
    with tables.connect() as connection:
        if split_family(task, split) == "random_link" and found.lists is not None:
            rows, splits, lists = split_links(task, connection, rows, found.lists, split)
            found = Encoded(lists.lengths.astype(np.float64), (), lists)
            instants = splits.astype(np.int64)
        else:
            splits = split_labels(task, connection, rows, instants, anchors, split)
    labels = labels_of(task, found, LabelTable(rows, instants, table["target"], splits), split)
    check_labels(labels, task.query_line)
    return labels


def _knowledge(task: Task, tables: Tables, split: SplitSettings) -> Labels:
    """Facts as labels: of their heads, with the row of the tail as target."""
    found = read_triples(task, tables, split)
    labels = Labels(
        entity=task.entity,
        kind=task.kind,
        rows=found.head,
        as_of_us=np.zeros(len(found.head), np.int64),
        target=found.tail.astype(np.float64),
        split=found.split,
        item_table=task.item_table,
        relation=found.relation,
        relations=found.relations,
    )
    check_labels(labels, task.query_line)
    return labels


def labels_at(task: Task, tables: Tables, anchors: Sequence[int]) -> tuple[Int64s, Int64s, pa.Array]:
    """Labels of instants of one's own choice, by instant and then by row; of a column all, at their rows' own times.

    Returns:
        [n] each: rows of the entity table, instants, and targets: text of the class, or a number.
    """
    wanted = anchors or task.is_static
    table = pa.concat_tables(make_blocks(Plan(task, tables, tuple(anchors)))) if wanted else None
    if table is None or not table.num_rows:
        return np.empty(0, np.int64), np.empty(0, np.int64), pa.nulls(0, pa.string())
    found = encode(task, table["target"])
    targets = pa.array(found.target)
    if found.classes:
        targets = pa.array(found.classes).take(pa.array(found.target.astype(np.int64)))
    rows, instants = (table[name].to_numpy().astype(np.int64, copy=False) for name in ("row", "as_of_us"))
    return rows, instants, targets


def labels_of(task: Task, found: Encoded, table: LabelTable, split: SplitSettings) -> Labels:
    """Put labels together, without those that no split takes and without rankings of nothing."""
    labels = Labels(
        entity=task.entity,
        kind=task.kind,
        rows=table.rows,
        as_of_us=table.as_of_us,
        target=found.target,
        split=table.split,
        classes=found.classes,
        freeze_us=split.freeze_us,
        lists=found.lists,
        item_table=task.item_table,
        weight=table.weight,
        extra=table.extra,
    )
    kept = table.split != NOWHERE
    if task.kind in (TaskKind.RANKING, TaskKind.TEMPORAL_LINK, TaskKind.STATIC_LINK):
        kept &= found.target > 0
    return labels if kept.all() else labels.where(kept)


def static_as_of(task: Task, tables: Tables) -> int | None:
    """The as-of instant of a static target of a timeless entity: the end of the data, 0 in a timeless graph.

    None when the target has a window, or the entity's rows have their own time.
    """
    if not task.is_static or task.entity_table.time is not None:
        return None
    timed = [table.name for table in tables.schema if table.time is not None]
    return time_range(tables, timed)[1] if timed else 0


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
    if labels.lists is not None and labels.kind is not TaskKind.FORECASTING and not labels.of(0).target.any():
        raise DataError("no training label has anything in its list", where=where, hint="change the filter or window")
    if labels.kind in (TaskKind.BINARY, TaskKind.MULTICLASS):
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
            keys = [tuple(part.value for part in key) for key in task.query.entity.keys]
        if keys is None:
            return rows, as_of_us
        wanted = find_rows(task, connection, keys)
    return wanted[np.isin(wanted, rows)], as_of_us


def find_rows(task: Task, connection: duckdb.DuckDBPyConnection, keys: Sequence[Any]) -> Int64s:
    """[n] int64 rows of the entity table of the user's keys, in their order; all versions of each where it has some.

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
    sql = (
        f"SELECT coalesce(e._row, -1) AS row, w.place FROM wanted w LEFT JOIN {quote(table.name)} e ON {on} ORDER BY 2"
    )
    found = connection.execute(sql).fetchnumpy()
    rows = found["row"].astype(np.int64)
    connection.unregister("wanted")
    missing = [tuples[i] for i in found["place"][rows < 0]]
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
            validation, test, or 0, 1, 2); without ``split`` the start dates of the settings decide. ``weight`` says
            how much a label counts; further columns are kept. A target of many values is a list, or text with
            commas; of links, a list of keys.
        split: start dates and freeze.

    Raises:
        DataError: it cannot be read, lacks a column, has nulls, unknown keys, the same entity twice at an instant,
            entities before they exist, or unreadable values; with the count and three samples; or its splits are
            not in the order of time.
    """
    table = label_columns(task, tables, path, split)
    found = encode(task, table.target)
    labels = labels_of(task, found, table, split)
    check_labels(labels, str(path))
    _check_order(labels, str(path))
    return labels


def task_labels(
    task: Task,
    tables: Tables,
    split: SplitSettings,
    own: Path | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Labels:
    """The user's own labels where there is a file of them, else labels that are made.

    Args:
        task: what is predicted.
        tables: the rows.
        split: as for ``make_labels`` and ``read_labels``.
        own: the user's label table; None without.
        folder: as for ``make_labels``.
        progress: as for ``make_labels``.

    Raises:
        DataError: as ``make_labels`` and ``read_labels``.
    """
    if own is not None:
        return read_labels(task, tables, own, split)
    return make_labels(task, tables, split, folder, progress)


def target_labels(
    task: Task, tables: Tables, split: SplitSettings, folder: Path | None = None, progress: Progress = silent
) -> tuple[Labels, ...]:
    """The labels of each target of a query of several; arguments and errors as of ``make_labels``."""
    return tuple(make_labels(part, tables, split, folder, progress) for part in task.targets)


def _check_order(labels: Labels, where: str) -> None:
    """Refuse splits that are not in the order of time: a model would be judged on what came before its training."""
    for earlier, later in ((0, 1), (1, 2)):
        before, after = labels.of(earlier).as_of_us, labels.of(later).as_of_us
        if len(before) and len(after) and before.max() > after.max():
            names = [SPLITS[split] for split in (earlier, later)]
            raise DataError(
                f"the newest {names[0]} label, of {format_instant(int(before.max()))}, is later than the newest "
                f"{names[1]} label, of {format_instant(int(after.max()))}",
                where=where,
                hint="split by time: train before validation before test",
            )
