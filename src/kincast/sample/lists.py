"""Lists: the neighbour lists of one edge type as its strategy reads them, with weights summed up beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled
from kincast.errors import DataError, ProjectError
from kincast.sample.arrays import Graph, GraphLink
from kincast.sample.edge import EdgeType
from kincast.sample.strategy import LinkSampling

_NOTHING = np.empty(0, np.float64)
_NOTHING.flags.writeable = False


@dataclass(frozen=True, slots=True)
class NeighbourLists:
    """Neighbour lists, oldest first.

    Attributes:
        offsets: [num_dst + 1] int64 into the others.
        rows: [edges] int32 or int64 rows of the neighbours' table.
        marks: [edges] ascending in each list, what is compared with the cut of a seed: the rows, or the edges' times.
        by_time: whether marks are times.
        sums: [edges] float64: log2 of the weights of each list summed up to there; empty where nothing is weighted.
        places: [edges] int64 of each in the link's arrays where edges of weight 0 were left out; None where none was.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[Any]
    marks: NDArray[Any]
    by_time: bool
    sums: NDArray[np.float64]
    places: NDArray[np.int64] | None = None


def neighbour_lists(graph: Graph, edge: EdgeType, sampling: LinkSampling) -> NeighbourLists:
    """The lists of a reverse edge type.

    Weights that halve with age need no instant: seen from any later one, all have shrunk by the same factor. So one
    running sum per list serves every seed; it is kept as a logarithm, since ages of many half-lives overflow.

    Raises:
        ProjectError: weights are asked for that the graph does not have.
        DataError: a weight is negative or infinite.
    """
    link: GraphLink = graph.links[edge.link]
    rows, times = link.rows, link.time_us
    marks = rows if times is None else times
    plain = NeighbourLists(link.offsets, rows, marks, times is not None, _NOTHING)
    if sampling.strategy == "recency":
        row_times = graph.tables[edge.other].time_us
        instants = times if times is not None else None if row_times is None else row_times[rows]
        if instants is None:  # what has no time has no age: all weights are equal
            return plain
        sums = np.empty(len(rows), np.float64)
        _sum_recency(link.offsets, instants, float(sampling.half_life_us or 1), sums)
        return NeighbourLists(link.offsets, rows, marks, times is not None, sums)
    if sampling.strategy == "weighted":
        return _weighted(plain, _weights(graph, edge, sampling.column))
    return plain


def _weighted(lists: NeighbourLists, weights: NDArray[np.float64]) -> NeighbourLists:
    """The lists without the neighbours that can never be drawn, and the running sums of the others."""
    offsets, rows, marks, places = lists.offsets, lists.rows, lists.marks, None
    drawn = weights > 0
    if not drawn.all():
        offsets = np.concatenate([[0], np.cumsum(drawn)])[offsets]
        places = np.flatnonzero(drawn)
        rows, marks, weights = rows[places], marks[places], weights[places]
    sums = np.empty(len(rows), np.float64)
    _sum_weights(offsets, weights, sums)
    return NeighbourLists(offsets, rows, rows if not lists.by_time else marks, lists.by_time, sums, places)


def _weights(graph: Graph, edge: EdgeType, column: str | None) -> NDArray[np.float64]:
    """[edges] float64 weight of each neighbour in the lists; 0 where there is none."""
    link = graph.links[edge.link]
    if column is None:
        weights = getattr(link, "weight", None)
        if weights is None:
            hint = "name a column of the neighbours' table"
            raise ProjectError("these edges carry no weights of their own", where=edge.name, hint=hint)
    else:
        read = getattr(graph, "columns", None)
        if read is None:
            raise ProjectError(f"there is no column {column} in this graph", where=edge.name)
        values = read(edge.other, [column]).column(column)
        try:
            numbers = np.asarray(values.to_numpy(), np.float64)
        except (TypeError, ValueError):
            raise ProjectError(f"{edge.other}.{column} is no number", where=edge.name) from None
        weights = numbers[link.rows]
    weights = np.where(np.isnan(weights), 0.0, weights)
    wrong = (weights < 0) | np.isinf(weights)
    if wrong.any():
        sample = weights[wrong][0]
        raise DataError(f"{wrong.sum():,} weights are negative or infinite, such as {sample:g}", where=edge.name)
    return weights


@compiled
def _sum_recency(offsets, instants, half_life_us, sums):  # type: ignore[no-untyped-def]
    """Running log2 sums of ``2 ** ((time - first time of the list) / half-life)``."""
    for dst in range(offsets.shape[0] - 1):
        start = offsets[dst]
        for place in range(start, offsets[dst + 1]):
            exponent = np.float64(instants[place] - instants[start]) / half_life_us
            sums[place] = exponent if place == start else add_log2(sums[place - 1], exponent)


@compiled
def _sum_weights(offsets, weights, sums):  # type: ignore[no-untyped-def]
    """Running log2 sums of positive weights."""
    for dst in range(offsets.shape[0] - 1):
        total = 0.0
        for place in range(offsets[dst], offsets[dst + 1]):
            total += weights[place]
            sums[place] = np.log2(total)


@compiled
def add_log2(one, two):  # type: ignore[no-untyped-def]
    """log2(2 ** one + 2 ** two) without overflow."""
    return max(one, two) + np.log2(1.0 + 2.0 ** -abs(one - two))
