"""Through: link tables that messages pass straight through: the rows at their ends are neighbours themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa

from kincast.errors import ProjectError
from kincast.graph.snapshot import SnapshotTable
from kincast.sample.arrays import EdgeList, array_link
from kincast.sample.edge import EdgeType, edge_types
from kincast.schema import Schema


@dataclass(frozen=True, slots=True, eq=False)
class ThroughGraph:
    """A graph without the edges of some link tables and with those that lead from one of their ends to another.

    Attributes:
        schema: of the graph.
        tables: of the graph; rows of link tables are there but nothing leads to them.
        links: of the graph, and after them one for each pair of ends.
        edges: that are followed.
        whole: the graph.
    """

    schema: Schema
    tables: Mapping[str, SnapshotTable]
    links: tuple[Any, ...]
    edges: tuple[EdgeType, ...]
    whole: Any

    def columns(self, table: str, names: Sequence[str]) -> pa.Table:
        """Columns of all rows of a table, in the order of the rows."""
        return self.whole.columns(table, names)


def through_edges(schema: Schema, through: Sequence[str]) -> tuple[EdgeType, ...]:
    """Both directions of every link, those of link tables replaced by edges from one end to the other.

    The name of such an edge is the way it goes: with a table of citations,
    ``papers.id->citations.citing->citations.cited->papers.id`` finds the papers that a paper cites.

    Args:
        schema: tables and links.
        through: names of the link tables.

    Raises:
        ProjectError: there is no such table, or it does not lead to two rows.
    """
    edges = [edge for edge in edge_types(schema) if schema.links[edge.link].table not in through]
    for number, (a, b) in enumerate(_pairs(schema, through), start=len(schema.links)):
        one, two = schema.links[a], schema.links[b]
        (src, dst), back = one.name.split(" -> "), two.name.split(" -> ")
        edges.append(EdgeType(one.target, two.target, number, True, "->".join([dst, src, *back])))
    return tuple(edges)


def through_graph(graph: Any, through: Sequence[str]) -> ThroughGraph:
    """A graph whose link tables are passed straight through.

    Such an edge is seen from when its row and the row it leads to are there. What else stands in the link table is not
    read.

    Args:
        graph: a snapshot, or a graph with its schema, tables and links.
        through: names of the link tables.

    Raises:
        ProjectError: there is no such table, it does not lead to two rows, its rows end, or they lead to a table of
            versions.
    """
    schema, edges = graph.schema, through_edges(graph.schema, through)
    num_rows = {name: table.num_rows for name, table in graph.tables.items()}
    links = list(graph.links)
    for a, b in _pairs(schema, through):
        one, two = graph.links[a], graph.links[b]
        own, other = graph.tables[schema.links[a].table], graph.tables[schema.links[b].target]
        if own.end_us is not None or other.versions is not None:
            what = "its rows end" if own.end_us is not None else f"{other.name} is a table of versions"
            raise ProjectError(f"{own.name} cannot be passed through: {what}", where="model.through")
        there = np.flatnonzero((one.forward >= 0) & (two.forward >= 0))
        times = None if own.time_us is None else own.time_us[there]
        edge = EdgeList(schema.links[b].target, schema.links[a].target, two.forward[there], one.forward[there], times)
        links.append(array_link(edge, num_rows, other.time_us))
    return ThroughGraph(schema, graph.tables, tuple(links), edges, graph)


def _pairs(schema: Schema, through: Sequence[str]) -> list[tuple[int, int]]:
    """Places in the schema's links of the two foreign keys of every way through a link table."""
    pairs: list[tuple[int, int]] = []
    for name in through:
        own = [index for index, link in enumerate(schema.links) if link.table == name]
        if len(own) < 2:
            known = name in {table.name for table in schema}
            count = f"{name} has {len(own)} links, and a link table at least two"
            what = count if known else f"there is no table {name}"
            raise ProjectError(what, where="model.through", hint="name tables whose rows lead to two others")
        if any(link.target == name for link in schema.links):
            raise ProjectError(f"rows of other tables lead to {name}", where="model.through", hint="leave it out")
        pairs.extend(permutations(own, 2))
    return pairs
