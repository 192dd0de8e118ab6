"""Cluster: a static graph cut into parts that are trained on whole, with all edges within."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled
from kincast.errors import DataError, ProjectError
from kincast.graph.csr import reverse_link
from kincast.sample.arrays import Graph, edges_of
from kincast.sample.batch import Int64s, Seeds
from kincast.sample.reader import Reader
from kincast.sample.sampler import Sampler
from kincast.sample.shared import Found, SharedBatch, SharedBlock, has_time

Part = dict[str, Int64s]
"""Table → rows, ascending."""


def clusters(graph: Graph, max_rows: int) -> tuple[Part, ...]:
    """Cut all rows of a static graph into parts of linked rows, none larger than ``max_rows``.

    A part grows from the first row not taken yet, along edges in either direction, nearest rows first, until it is
    full or nothing more is linked to it; what ends small is put together with what comes next. The same graph gives
    the same parts. As in Cluster-GCN (Chiang et al. 2019), training takes some parts at a time: ``induced``.

    Raises:
        DataError: something in the graph has a time: what a row may see then depends on the instant, not on a part.
        ProjectError: a part has room for no row.
    """
    if has_time(graph):
        hint = "sample a tree for each seed at its instant: Sampler.sample"
        raise DataError("a graph with times cannot be cut into parts that are seen whole", hint=hint)
    if max_rows < 1:
        raise ProjectError(f"max_rows is {max_rows}, at least 1 is needed", where="clusters")
    starts = dict(
        zip(graph.tables, np.cumsum([0, *(t.num_rows for t in graph.tables.values())]).tolist(), strict=False)
    )
    num = sum(table.num_rows for table in graph.tables.values())
    one, two = _ends(graph, starts)
    offsets, edges = reverse_link(np.concatenate([one, two]), num)
    part = np.full(num, -1, np.int64)
    count = int(_grow(offsets, np.concatenate([two, one])[edges], max_rows, part)) if num else 0
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(count + 1))
    return tuple(
        {name: _of_table(order[low:high], starts[name], table.num_rows) for name, table in graph.tables.items()}
        for low, high in pairwise(bounds)
    )


def induced(graph: Graph, parts: Iterable[Mapping[str, Int64s]], table: str) -> SharedBatch:
    """All rows of some parts with all edges among them, also those between parts.

    Args:
        graph: static.
        parts: different ones of ``clusters``.
        table: whose rows are the seeds.

    Returns:
        A batch of one hop, all rows of which are there from the beginning; ``num_visible`` counts the neighbours
        outside too.
    """
    taken = list(parts)
    found = {name: Found(each.num_rows) for name, each in graph.tables.items()}
    for name, each in found.items():
        each.number(np.concatenate([np.empty(0, np.int64), *(part[name] for part in taken)]))
        each.close()
    rows = {name: each.last for name, each in found.items()}
    sampler = Sampler(graph, [-1], strategy="all")
    reader = Reader(sampler, Seeds(table, np.zeros(1, np.int64), np.zeros(1, np.int64)))
    blocks = []
    for index, edge in enumerate(sampler.edges):
        frontier = rows[edge.table]
        step, neighbours, _, places = reader.read(1, index, (frontier, np.zeros(len(frontier), np.int32)))
        src = found[edge.other].find(neighbours)
        within = src >= 0
        offsets = np.concatenate([[0], np.cumsum(within)])[step.offsets]
        if offsets[-1]:
            blocks.append(SharedBlock(1, edge, 0, offsets, src[within], step.num_visible, places[within]))
    seeds = Seeds(table, rows[table], np.zeros(len(rows[table]), np.int64))
    ends = {name: np.array([0, len(own), len(own)], np.int64) for name, own in rows.items()}
    return SharedBatch(seeds, 1, rows, ends, np.arange(len(seeds)), tuple(blocks))


def _ends(graph: Graph, starts: Mapping[str, int]) -> tuple[Int64s, Int64s]:
    """[edges] both ends of every edge, rows of all tables numbered through."""
    ones, twos = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for edge in edges_of(graph):
        if edge.reverse:  # a link that can be followed both ways is there once
            link = graph.links[edge.link]
            ones.append(starts[edge.table] + np.repeat(np.arange(len(link.offsets) - 1), np.diff(link.offsets)))
            twos.append(starts[edge.other] + link.rows.astype(np.int64))
    return np.concatenate(ones), np.concatenate(twos)


def _of_table(rows: Int64s, start: int, num_rows: int) -> Int64s:
    own: NDArray[np.int64] = rows[(rows >= start) & (rows < start + num_rows)] - start
    return own


@compiled
def _grow(offsets, neighbours, max_rows, part):  # type: ignore[no-untyped-def]
    """Write the part of every row; how many parts there are."""
    queue = np.empty(max_rows, np.int64)
    current = size = 0
    for first in range(part.shape[0]):
        if part[first] >= 0:
            continue
        if size == max_rows:
            current, size = current + 1, 0
        part[first] = current
        queue[size] = first
        done, size = size, size + 1
        while done < size:
            row = queue[done]
            done += 1
            for place in range(offsets[row], offsets[row + 1]):
                if size < max_rows and part[neighbours[place]] < 0:
                    part[neighbours[place]] = current
                    queue[size] = neighbours[place]
                    size += 1
    return current + 1
