"""Arrays: a graph that is no snapshot, made from edge lists in memory: static, homogeneous, or with timed edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.graph.csr import row_type
from kincast.graph.snapshot import SnapshotTable
from kincast.sample.edge import EdgeType, edge_types

Int64s = NDArray[np.int64]


class GraphLink(Protocol):
    """What a sampler reads of a link; ``SnapshotLink`` has it all.

    ``offsets`` [num_dst + 1] int64 into ``rows`` [edges] int32 or int64: neighbours per row, oldest first. ``time_us``
    [edges] int64 is when each edge began, ascending in each list; None where that is the neighbour's own time, and the
    lists then ascend by row.
    """

    @property
    def offsets(self) -> Int64s: ...
    @property
    def rows(self) -> NDArray[Any]: ...
    @property
    def time_us(self) -> Int64s | None: ...


class Graph(Protocol):
    """What a sampler reads of a graph: a ``Snapshot``, an ``ArrayGraph``, or anything else that has these.

    Rows of a table with ``time_us`` are numbered in time order. ``edges_of`` says which edge types there are.
    """

    @property
    def tables(self) -> Mapping[str, SnapshotTable]: ...
    @property
    def links(self) -> tuple[Any, ...]: ...


@dataclass(frozen=True, slots=True)
class EdgeList:
    """Edges as they come: from rows of one table to rows of another or the same, any number between any two.

    A row of ``dst`` is expanded by its rows of ``src``: messages flow along the edges, sampling goes against them.

    Attributes:
        src, dst: names of the tables.
        src_rows, dst_rows: [edges] rows of either.
        time_us: [edges] when each edge began; None for edges that have always been.
        weight: [edges] not negative, for the strategy ``weighted``; None without.
    """

    src: str
    dst: str
    src_rows: NDArray[Any]
    dst_rows: NDArray[Any]
    time_us: NDArray[Any] | None = None
    weight: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class ArrayLink:
    """Neighbour lists made from an edge list.

    Attributes:
        offsets: [num_dst + 1] int64.
        rows: [edges] int32 or int64 rows of ``src`` per row of ``dst``, oldest first.
        edges: [edges] int64 place of each in the edge list.
        time_us: [edges] int64; None without.
        weight: [edges] float64; None without.
    """

    offsets: Int64s
    rows: NDArray[Any]
    edges: Int64s
    time_us: Int64s | None
    weight: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, eq=False)
class ArrayGraph:
    """A graph in memory; made by ``array_graph``.

    Attributes:
        tables: name → number of rows and their ends; times are those of the edges.
        links: in the order of the edge lists.
        edges: one edge type per link, named as its edge list.
    """

    tables: Mapping[str, SnapshotTable]
    links: tuple[ArrayLink, ...]
    edges: tuple[EdgeType, ...]


def array_graph(
    num_rows: Mapping[str, int],
    edges: Mapping[str, EdgeList],
    time_us: Mapping[str, NDArray[Any]] | None = None,
    end_us: Mapping[str, NDArray[Any]] | None = None,
) -> ArrayGraph:
    """Make a graph from edge lists, for ``Sampler``.

    Rows need not be in time order. An edge is seen from the later of its own time and that of the row it comes from,
    so nothing can be found before it exists. Edges of equal time are ordered as they come.

    >>> graph = array_graph({"page": 3}, {"cites": EdgeList("page", "page", np.array([1, 2]), np.array([0, 0]))})
    >>> graph.links[0].rows.tolist(), graph.edges[0].name
    ([1, 2], 'cites')

    Args:
        num_rows: table → how many rows.
        edges: name → edge list; a relation to be followed both ways is given twice, with src and dst exchanged.
        time_us: table → [rows] int64 when each row began; tables without it have always been.
        end_us: table → [rows] int64 from when each row no longer exists.

    Raises:
        DataError: an edge list names an unknown table, a row out of range, or arrays of different lengths.
    """
    times, ends = dict(time_us or {}), dict(end_us or {})
    for name in (*times, *ends):
        if name not in num_rows:
            raise DataError("there is no such table", where=name, hint=f"there are {', '.join(num_rows)}")
    for name, values in (*times.items(), *ends.items()):
        if np.shape(values) != (num_rows[name],):
            raise DataError(f"times have shape {np.shape(values)}, expected [{num_rows[name]}]", where=name)
    tables = {
        name: SnapshotTable(name, int(num), None, _int64(ends[name]) if name in ends else None)
        for name, num in num_rows.items()
    }
    links, types = [], []
    for index, (name, edge) in enumerate(edges.items()):
        _check(name, edge, num_rows)
        links.append(array_link(edge, num_rows, times.get(edge.src)))
        types.append(EdgeType(edge.dst, edge.src, index, True, name))
    return ArrayGraph(tables, tuple(links), tuple(types))


def edges_of(graph: Any) -> tuple[EdgeType, ...]:
    """The edge types of a graph: its own ``edges``, or both directions of every link of its ``schema``."""
    own = getattr(graph, "edges", None)
    return edge_types(graph.schema) if own is None else tuple(own)


def array_link(edge: EdgeList, num_rows: Mapping[str, int], src_time_us: NDArray[Any] | None) -> ArrayLink:
    """The neighbour lists of an edge list whose ``src`` rows began at ``src_time_us`` [rows], None for always."""
    src_rows, dst_rows = _int64(edge.src_rows), _int64(edge.dst_rows)
    times = None if edge.time_us is None else _int64(edge.time_us)
    if src_time_us is not None:
        began = _int64(src_time_us)[src_rows]
        times = began if times is None else np.maximum(times, began)
    order = np.argsort(dst_rows, kind="stable") if times is None else np.lexsort((times, dst_rows))
    offsets = np.zeros(num_rows[edge.dst] + 1, np.int64)
    np.cumsum(np.bincount(dst_rows, minlength=num_rows[edge.dst]), out=offsets[1:])
    return ArrayLink(
        offsets=offsets,
        rows=src_rows[order].astype(row_type(num_rows[edge.src])),
        edges=order,
        time_us=None if times is None else times[order],
        weight=None if edge.weight is None else np.asarray(edge.weight, np.float64)[order],
    )


def _check(name: str, edge: EdgeList, num_rows: Mapping[str, int]) -> None:
    num_edges = len(edge.src_rows)
    for table, rows in ((edge.src, edge.src_rows), (edge.dst, edge.dst_rows)):
        if table not in num_rows:
            raise DataError(f"there is no table {table}", where=name, hint=f"there are {', '.join(num_rows)}")
        if len(rows) and not 0 <= rows.min() <= rows.max() < num_rows[table]:
            raise DataError(f"a row is not in 0 .. {num_rows[table] - 1} of {table}", where=name)
    for values in (edge.dst_rows, edge.time_us, edge.weight):
        if values is not None and np.shape(values) != (num_edges,):
            raise DataError(f"an array has shape {np.shape(values)}, expected [{num_edges}]", where=name)


def _int64(values: NDArray[Any]) -> Int64s:
    return np.ascontiguousarray(values, np.int64)
