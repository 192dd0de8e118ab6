"""Snapshot: a snapshot, its labels and sampled batches, as an audit takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from kincast.clock import add
from kincast.project import SplitSettings
from kincast.query.labels import Labels
from kincast.query.task import Task
from kincast.sample.arrays import Graph
from kincast.sample.audit.subject import Draw, Edges, Facts, Nodes, Outcomes
from kincast.sample.batch import Batch
from kincast.schema import Schema, SemanticType, Table


class Database(Graph, Protocol):
    """A graph of tables whose values can be read, such as a ``Snapshot``."""

    @property
    def schema(self) -> Schema: ...
    def columns(self, table: str, names: Sequence[str]) -> pa.Table: ...


BY_CHANCE = ("random", "random_link", "manual")


def facts_of(snapshot: Database, inputs: Mapping[str, Sequence[str]] | None = None) -> dict[str, Facts]:
    """The tables of a snapshot as an audit takes them.

    Args:
        snapshot: the rows.
        inputs: table → columns that a model reads; None for all that it could read.
    """
    found = {}
    for table in snapshot.schema:
        links = {
            link.link.columns[0]: (link.link.target, link.forward)
            for link in snapshot.links[: len(snapshot.schema.links)]  # those of the schema come first
            if link.link.table == table.name and len(link.link.columns) == 1
        }
        found[table.name] = Facts(
            table.name,
            snapshot.tables[table.name].num_rows,
            tuple(column.name for column in table.columns),
            lambda column, name=table.name: snapshot.columns(name, [column])[column],  # type: ignore[misc]
            key=table.key,
            links={column: target for column, (target, _) in links.items()},
            time=table.time.column if table.time else None,
            end_time=table.end_time,
            inputs=_readable(table, snapshot) if inputs is None else tuple(inputs.get(table.name, ())),
            time_us=snapshot.tables[table.name].time_us,
            forward={column: np.asarray(forward) for column, (_, forward) in links.items()},
        )
    return found


def outcomes_of(task: Task, labels: Labels, split: SplitSettings) -> Outcomes:
    """Labels as an audit takes them."""
    window = start = None
    if task.window is not None and len(labels.as_of_us):
        last = int(labels.as_of_us.max())
        start, window = (add(last, edge) - last for edge in task.window)
    return Outcomes(
        labels.entity,
        labels.rows,
        labels.as_of_us,
        labels.target,
        labels.split,
        window_us=window,
        start_us=start or 0,
        visible_us=labels.visible_us,
        by_chance=split.implied in BY_CHANCE,
        frozen=task.is_static,
    )


def draw_of(batch: Batch) -> Draw:
    """A batch of the sampler as an audit takes it."""
    nodes = {}
    for name, rows in batch.rows.items():
        hops = np.repeat(np.arange(batch.num_hops + 1), np.diff(batch.hop_offsets[name]))
        nodes[name] = Nodes(rows, batch.seed[name].astype(np.int64), hops)
    edges = []
    for block in batch.blocks:
        dst = np.repeat(np.arange(block.dst_start, block.dst_start + block.num_dst), np.diff(block.offsets))
        src = np.arange(block.src_start, block.src_start + block.num_src)
        edges.append(Edges(block.edge.other, src, block.edge.table, dst))
    return Draw(batch.seeds.table, batch.seeds.rows, batch.seeds.visible, nodes, tuple(edges))


def _readable(table: Table, snapshot: Database) -> tuple[str, ...]:
    """Columns that could be features."""
    time = table.time
    own = {*table.key, table.end_time, time.column if time else None, time.clock if time else None}
    own |= {name for link in snapshot.schema.links_from(table.name) for name in link.columns}
    unusable = (SemanticType.ID, SemanticType.IGNORED)
    return tuple(c.name for c in table.columns if c.name not in own and c.type not in unusable)
