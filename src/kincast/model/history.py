"""History: labels that were known at an instant, as rows of the graph, which a network reads like any other fact.

A label is a fact of its own: it is known from the end of its window on. So the past labels of a task are one more
table, whose rows have that end as their time and refer to the entity; the sampler's rule of time does the rest, for the
entity itself and for whatever is linked to it. They are made at instants a step apart, counted from one that belongs to
the version: which labels are known at an instant does not depend on how far the data reach beyond it.

The label of a target that is a column is known from a second after its row came to be: rows see the column of earlier
rows and never their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import Span, add
from kincast.feature.encode import encode_rows
from kincast.feature.spec import Categorical, FeatureSpec, TableSpec, table_spec
from kincast.feature.statistic import Numbers
from kincast.feature.store import HeldWords, TableFeatures
from kincast.graph.csr import reverse_link, row_type
from kincast.graph.live import LiveLink, LiveSnapshot, LiveTable
from kincast.graph.snapshot import Rows, Snapshot, SnapshotLink, SnapshotTable
from kincast.project import FeatureStorage, ModelSettings
from kincast.query.anchors import MAX_ANCHORS, time_range
from kincast.query.labels import Labels, labels_at
from kincast.query.task import Task, TaskKind
from kincast.sample.edge import edge_types
from kincast.sample.live import LiveGraph
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

HISTORY_TABLE = "label history"
_TARGET, _KNOWN = "label", "known"
_NEXT = Span(1, "seconds")  # from a row's own time to when others see its column
_KINDS = (TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION)

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HistorySpec:
    """Which past labels a version reads.

    Attributes:
        inputs: how a label becomes numbers.
        anchor_us: one of the instants they are made at.
        step: from one instant to the next; None where the target is a column.
        end: from an instant to when its labels are known.
        most: labels that a network reads of one row.
    """

    inputs: TableSpec
    anchor_us: int
    step: Span | None
    end: Span
    most: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> HistorySpec:
        """Inverse of ``as_dict``."""
        step = None if values["step"] is None else Span(**values["step"])
        end = Span(**values["end"])
        return HistorySpec(table_spec(values["inputs"]), int(values["anchor_us"]), step, end, int(values["most"]))

    def schema(self, schema: Schema, entity: str) -> Schema:
        """The schema with the table of past labels."""
        key = schema.table(entity).key
        columns = [replace(schema.table(entity).column(name), type=SemanticType.ID) for name in key]
        columns.append(Column(_KNOWN, SemanticType.TIMESTAMP, "TIMESTAMP"))
        columns.append(Column(_TARGET, SemanticType.NUMERICAL, "DOUBLE"))
        table = Table(HISTORY_TABLE, tuple(columns), (), RowTime(column=_KNOWN))
        return Schema((*schema, table), (*schema.links, Link(HISTORY_TABLE, key, entity, key)))

    def features(self, spec: FeatureSpec) -> FeatureSpec:
        """The inputs of all tables, this one included."""
        return replace(spec, tables=(*spec.tables, self.inputs))

    def settings(self, settings: ModelSettings, schema: Schema, entity: str) -> ModelSettings:
        """The settings with how many past labels are read: the newest, and nothing is looked for from there."""
        forth, back = edge_types(self.schema(schema, entity))[-2:]
        hops = settings.num_hops
        overrides = {**settings.fanout_overrides, back.name: (self.most,) * hops, forth.name: (0,) * hops}
        return settings.model_copy(update={"fanout_overrides": overrides})

    def anchors(self, first_us: int, until_us: int) -> tuple[int, ...]:
        """Instants, ascending, from the first fact on, whose labels are known by then: the newest 5,000 at most."""
        if self.step is None:
            return ()
        found: list[int] = []
        number = (until_us - self.anchor_us) // max(self.step.approx_us, 1) + 2
        while len(found) < MAX_ANCHORS:
            instant = add(self.anchor_us, self.step * number)
            number -= 1
            if instant < first_us:
                break
            if add(instant, self.end) <= until_us:
                found.append(instant)
        return tuple(reversed(found))

    def later(self, known_us: int, until_us: int) -> bool:
        """Whether labels become known after one instant and up to another."""
        return any(add(anchor, self.end) > known_us for anchor in self.anchors(add(known_us, -self.end), until_us))


@dataclass(frozen=True, slots=True)
class LabelHistory:
    """The past labels of a task in a snapshot.

    Attributes:
        spec: which.
        until_us: those known by then are there.
        entity: the entity table.
        rows: [n] int64 of the entity table.
        known_us: [n] int64 ascending.
        targets: [n] text of the class, or a number.
        words: [n, width] uint64 records of their inputs.
        storage: of the numbers.
    """

    spec: HistorySpec
    until_us: int
    entity: str
    rows: Int64s
    known_us: Int64s
    targets: pa.Array
    words: NDArray[np.uint64]
    storage: FeatureStorage

    @property
    def features(self) -> TableFeatures:
        """The inputs of the labels."""
        return TableFeatures(self.spec.inputs, self.storage, HeldWords(self.words))

    def columns(self, snapshot: Any, names: Sequence[str], rows: Int64s | None = None) -> pa.Table:
        """Columns of those labels, of all where ``rows`` is None, in their order."""
        chosen = np.arange(len(self.rows)) if rows is None else rows
        known = pa.array(self.known_us[chosen]).cast(pa.timestamp("us"))
        found = snapshot.keys_of(self.entity, self.rows[chosen]).append_column(_KNOWN, known)
        return found.append_column(_TARGET, self.targets.take(pa.array(chosen))).select(list(names))

    def graph(self, snapshot: Any) -> HistoryGraph:
        """A snapshot with the labels as one more table."""
        entity = snapshot.tables[self.entity]
        schema = self.spec.schema(snapshot.schema, self.entity)
        rows = np.where(self.rows < entity.num_rows, self.rows, -1)
        if entity.versions is not None:
            rows = np.where(rows >= 0, entity.versions.forward[rows], -1)
        narrow = row_type(entity.num_rows) is np.int32
        forward: Rows = rows.astype(np.int32) if narrow else rows.astype(np.int64)
        link = SnapshotLink(schema.links[-1], forward, *reverse_link(forward, entity.num_rows))
        table = SnapshotTable(HISTORY_TABLE, len(forward), self.known_us, None)
        return HistoryGraph(schema, {**snapshot.tables, HISTORY_TABLE: table}, (*snapshot.links, link), snapshot, self)

    def live(self, view: LiveSnapshot, graph: HistoryGraph) -> LiveHistoryGraph:
        """A live view with the labels; rows that were changed keep those of the row they were."""
        table, link = LiveTable.still(graph.tables[HISTORY_TABLE]), LiveLink.still(graph.links[-1])
        return LiveHistoryGraph({**view.tables, HISTORY_TABLE: table}, (*view.links, link))


@dataclass(frozen=True, slots=True)
class LiveHistoryGraph:
    """A live view with past labels, as a sampler reads it."""

    tables: Mapping[str, LiveTable]
    links: tuple[LiveLink, ...]


@dataclass(frozen=True, slots=True)
class HistoryGraph:
    """A snapshot with past labels, as a sampler reads it."""

    schema: Schema
    tables: Mapping[str, SnapshotTable]
    links: tuple[SnapshotLink, ...]
    snapshot: Snapshot
    history: LabelHistory

    def columns(self, table: str, names: Sequence[str]) -> pa.Table:
        """Columns of all rows of a table, in the order of the rows."""
        if table != HISTORY_TABLE:
            return self.snapshot.columns(table, names)
        return self.history.columns(self.snapshot, names)


def graph_with(
    snapshot: Snapshot | LiveSnapshot, tables: Mapping[str, TableFeatures], history: LabelHistory | None
) -> tuple[Snapshot | HistoryGraph, LiveGraph | None, dict[str, TableFeatures]]:
    """What neighbours are sampled from, with past labels where they are read.

    Args:
        snapshot: the rows.
        tables: encoded features of each table.
        history: labels that are read as facts; None without.

    Returns:
        the graph of the snapshot, or of the one below live rows; the live view, None without; and the features.
    """
    live = snapshot if isinstance(snapshot, LiveSnapshot) else None
    base = snapshot.base if isinstance(snapshot, LiveSnapshot) else snapshot
    if history is None:
        return base, live, dict(tables)
    graph = history.graph(base)
    view = None if live is None else history.live(live, graph)
    return graph, view, {**tables, HISTORY_TABLE: history.features}


def fit_history(task: Task, labels: Labels, step: Span | None, most: int) -> HistorySpec | None:
    """Which past labels to read, with statistics of the training labels.

    Args:
        task: what is predicted.
        labels: made by its query, of all splits.
        step: from one instant to the next; None where the target is a column.
        most: labels that a network reads of one row.

    Returns:
        None where there are none: the target is a column of rows without a time, or of a kind whose labels are lists.
    """
    if task.kind not in _KINDS or (task.window is None and task.entity_table.time is None):
        return None
    inputs = TableSpec(HISTORY_TABLE, calendar=True)
    if task.kind is TaskKind.REGRESSION:
        numbers = Numbers()
        numbers.fold(labels.of(0).target[:, None])
        found = numbers.numeric(_TARGET)
        inputs = replace(inputs, numeric=() if found is None else (found,))
    else:
        inputs = replace(inputs, categorical=(Categorical(_TARGET, labels.classes),))
    end = _NEXT if task.window is None else task.window[1]
    return HistorySpec(inputs, int(labels.as_of_us.max()), step, end, most)


def make_history(
    task: Task, snapshot: Snapshot, spec: HistorySpec, until_us: int, storage: FeatureStorage
) -> LabelHistory:
    """Make the labels that are known by an instant.

    Args:
        task: what is predicted.
        snapshot: the rows.
        spec: which labels.
        until_us: the instant.
        storage: of the numbers.
    """
    with snapshot.open_tables() as tables:
        first_us = time_range(tables, task.fact_tables)[0] if spec.step is not None else until_us
        rows, instants, targets = labels_at(task, tables, spec.anchors(first_us, until_us))
    return history_of(task, spec, (rows, instants, targets), until_us, storage)


def history_of(
    task: Task, spec: HistorySpec, labels: tuple[Int64s, Int64s, pa.Array], until_us: int, storage: FeatureStorage
) -> LabelHistory:
    """Labels that were made already, as facts.

    Args:
        task: what is predicted.
        spec: which labels.
        labels: rows, instants and targets as ``labels_at`` gives them; each is known from the end of its window on.
        until_us: the instant by which all are known that may be read.
        storage: of the numbers.
    """
    rows, instants, targets = labels
    known = {instant: add(instant, spec.end) for instant in np.unique(instants).tolist()}
    known_us = np.array([known[instant] for instant in instants.tolist()], np.int64)
    order = np.lexsort((rows, known_us))
    rows, known_us = rows[order], known_us[order]
    targets = targets.take(pa.array(order))
    records = encode_rows(pa.table({_TARGET: targets}), spec.inputs, known_us, storage)
    words = records.view(np.uint64).reshape(len(records), -1)
    return LabelHistory(spec, until_us, task.entity, rows, known_us, targets, words, storage)
