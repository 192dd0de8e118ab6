"""Expand: seeds become sub-graphs, hop by hop: each node once per seed, or once per batch where seeds share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.pyg.graph import Int64s, TypedGraph
from kincast.sample.batch import Int32s, Seeds
from kincast.sample.number import number, put
from kincast.sample.reader import Front, Reader
from kincast.sample.sampler import Sampler


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sub-graph; lists are per node type or per edge type of the graph.

    Attributes:
        nodes: [n] int64 each, by hop; the seeds first.
        tree: [n] int32 each: the seed it was found for; zeros where seeds share.
        row: [m] int64 each: local number of the source of each edge.
        col: [m] int64 each: local number of the destination.
        place: [m] int64 each: position in ``edge_index``.
        num_nodes: of each hop from 0, new ones.
        num_edges: of each hop from 1; of one hop when induced.
    """

    nodes: list[Int64s]
    tree: list[Int32s]
    row: list[Int64s]
    col: list[Int64s]
    place: list[Int64s]
    num_nodes: list[list[int]]
    num_edges: list[list[int]]


@dataclass(frozen=True, slots=True)
class Choice:
    """How neighbours are chosen.

    Attributes:
        sampler: of the graph's arrays: how many neighbours along each edge type, and which.
        induced: takes all neighbours at its one hop: finally all visible edges between the nodes found stand in place
            of those followed; None leaves those.
        disjoint: each seed has a sub-graph of its own and draws depend on it and its instant; else all share one and
            draws depend on each node and the hop alone. Either way the other seeds of the batch change nothing.
    """

    sampler: Sampler
    induced: Sampler | None
    disjoint: bool


def expand(graph: TypedGraph, choice: Choice, seeds: dict[int, Int64s], time: Int64s | None) -> Sampled:
    """The sub-graphs of seeds.

    Args:
        graph: what is sampled.
        choice: how.
        seeds: index of node type → [n_t] nodes.
        time: [sum of n_t] the instant of each seed, by type as in ``seeds``; None without.
    """
    nodes = np.concatenate([np.empty(0, np.int64), *seeds.values()])
    if not choice.disjoint:
        nodes = np.zeros(1, np.int64)  # one tree for all, without an instant
    trees = Seeds("seeds", nodes, np.zeros_like(nodes) if time is None else time)
    expansion = _Expansion(graph, seeds, choice.disjoint)
    reader = Reader(choice.sampler, trees)
    for hop in range(1, choice.sampler.num_hops + 1):
        expansion.hop(reader, hop)
    if choice.induced is not None:
        expansion.induce(Reader(choice.induced, trees))
    return expansion.sampled()


class _Known:
    """The nodes of one type found so far, their local numbers, and where the hops end."""

    def __init__(self, num_nodes: int, seeds: Int64s, tree: Int32s) -> None:
        self.nodes, self.tree = [seeds], [tree]
        self.ends = [0, len(seeds)]
        self._size = num_nodes
        self._count = len(seeds)
        self._table = _table(len(seeds))
        put(self._table, tree * np.int64(num_nodes) + seeds, np.arange(len(seeds)))

    def number(self, nodes: Int64s, tree: Int32s) -> tuple[Int64s, Front]:
        """[n] local numbers of those nodes, and which are new."""
        if 2 * (self._count + len(nodes)) > len(self._table[0]):
            old, self._table = self._table, _table(self._count + len(nodes))
            put(self._table, *old)
        local = np.empty(len(nodes), np.int64)
        fresh = (np.empty(len(nodes), np.int64), np.empty(len(nodes), np.int32))
        before = self._count
        self._count = int(number(self._table, nodes, tree, self._size, before, local, fresh))
        return local, (fresh[0][: self._count - before], fresh[1][: self._count - before])

    def find(self, nodes: Int64s, tree: Int32s) -> Int64s:
        """[n] local numbers of those nodes, -1 for those not found so far."""
        local = np.empty(len(nodes), np.int64)
        number(self._table, nodes, tree, self._size, -1, local, (np.empty(0, np.int64), np.empty(0, np.int32)))
        return local

    def close(self, found: list[Front]) -> None:
        """End a hop that found those nodes."""
        self.nodes.append(np.concatenate([np.empty(0, np.int64), *(nodes for nodes, _ in found)]))
        self.tree.append(np.concatenate([np.empty(0, np.int32), *(tree for _, tree in found)]))
        self.ends.append(self._count)


class _Expansion:
    """One batch while it grows, hop by hop."""

    def __init__(self, graph: TypedGraph, seeds: dict[int, Int64s], disjoint: bool) -> None:
        self._edges = graph.arrays.edges
        self._links = graph.arrays.links
        self._kinds = {name: kind for kind, name in enumerate(graph.tables)}
        self._known = []
        starts = dict(zip(seeds, np.cumsum([0, *map(len, seeds.values())]).tolist(), strict=False))
        for kind, num_nodes in enumerate(graph.num_nodes):
            own = seeds.get(kind, np.empty(0, np.int64))
            tree = np.zeros(len(own), np.int32)
            if disjoint and len(own):
                tree = np.arange(starts[kind], starts[kind] + len(own), dtype=np.int32)
            self._known.append(_Known(num_nodes, own, tree))
        self._found: list[list[tuple[Int64s, Int64s, Int64s]]] = [[] for _ in self._edges]

    def hop(self, reader: Reader, hop: int) -> None:
        """Follow every edge type from the nodes found last."""
        new: list[list[Front]] = [[] for _ in self._known]
        for index, edge in enumerate(self._edges):
            known, kind = self._known[self._kinds[edge.table]], self._kinds[edge.other]
            front = (known.nodes[-1], known.tree[-1])
            step, nodes, tree, places = reader.read(hop, index, front)
            local, fresh = self._known[kind].number(nodes, tree)
            new[kind].append(fresh)
            col = np.repeat(np.arange(known.ends[-2], known.ends[-2] + len(front[0])), np.diff(step.offsets))
            self._found[index].append((local, col, self._links[index].edges[places]))
        for known, fresh_ones in zip(self._known, new, strict=True):
            known.close(fresh_ones)

    def induce(self, reader: Reader) -> None:
        """Put all visible edges between the nodes found in place of those followed."""
        for index, edge in enumerate(self._edges):
            known = self._known[self._kinds[edge.table]]
            front = (np.concatenate(known.nodes), np.concatenate(known.tree))
            step, nodes, tree, places = reader.read(1, index, front)
            local = self._known[self._kinds[edge.other]].find(nodes, tree)
            col = np.repeat(np.arange(len(front[0])), np.diff(step.offsets))
            kept = local >= 0
            self._found[index] = [(local[kept], col[kept], self._links[index].edges[places[kept]])]

    def sampled(self) -> Sampled:
        """All hops together."""
        rows, cols, places = (
            [np.concatenate([np.empty(0, np.int64), *(hop[part] for hop in hops)]) for hops in self._found]
            for part in range(3)
        )
        return Sampled(
            nodes=[np.concatenate(known.nodes) for known in self._known],
            tree=[np.concatenate(known.tree) for known in self._known],
            row=rows,
            col=cols,
            place=places,
            num_nodes=[np.diff(known.ends).tolist() for known in self._known],
            num_edges=[[len(hop[0]) for hop in hops] for hops in self._found],
        )


def _table(num: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An empty table with room for that many keys."""
    size = 1 << max(4, (2 * num).bit_length())
    return np.full(size, -1, np.int64), np.empty(size, np.int64)
