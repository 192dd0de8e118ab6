"""Expand: seeds become sub-graphs, hop by hop: each node once per seed, or once per batch where seeds share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.pyg import draw
from kincast.pyg.graph import Graph, Int64s, Relation, Rows
from kincast.sample import kernels
from kincast.sample.random import fold_all
from kincast.sample.sampler import edge_key

Int32s = NDArray[np.int32]
Uint64s = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Plan:
    """How neighbours are chosen.

    Attributes:
        fanout: [num_relations, num_hops] int64; -1 all, 0 none, k at most k.
        last: the newest, else drawn.
        replace: draw with replacement.
        disjoint: each seed has a sub-graph of its own, else all share one.
        induced: finally all visible edges between the nodes found, instead of those followed.
    """

    fanout: Int64s
    last: bool
    replace: bool
    disjoint: bool
    induced: bool


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sub-graph; lists are per node type or per relation of the graph.

    Attributes:
        nodes: [n] int64 each, by hop; the seeds first.
        tree: [n] int32 each: the seed it was found for; zeros where seeds share.
        row: [m] int64 each: local number of the source of each edge.
        col: [m] int64 each: local number of the destination.
        place: [m] int64 each: position in ``edge_index``.
        num_nodes: of each hop from 0, new ones.
        num_edges: of each hop from 1; empty when induced.
    """

    nodes: list[Int64s]
    tree: list[Int32s]
    row: list[Int64s]
    col: list[Int64s]
    place: list[Int64s]
    num_nodes: list[list[int]]
    num_edges: list[list[int]]


def expand(graph: Graph, plan: Plan, seeds: dict[int, Int64s], time: Int64s | None, key: Uint64s) -> Sampled:
    """The sub-graphs of seeds.

    Args:
        graph: neighbour lists.
        plan: how they are followed.
        seeds: index of node type → [n_t] nodes.
        time: [sum of n_t] the instant of each seed, by type as in ``seeds``; None without.
        key: [1] of the draws. With ``disjoint`` a seed's draws depend on it, the node and the instant; else on it and
            on each node, so that the batch's other seeds change nothing either.
    """
    expansion = _Expansion(graph, plan, seeds, time, key)
    for hop in range(1, plan.fanout.shape[1] + 1):
        expansion.hop(hop)
    if plan.induced:
        expansion.induce()
    return expansion.sampled()


class _Known:
    """The nodes of one type found so far, their local numbers, and where the hops end."""

    def __init__(self, num_nodes: int, seeds: Int64s, tree: Int32s) -> None:
        self.size = num_nodes
        self.nodes, self.tree = [seeds], [tree]
        self.ends = [0, len(seeds)]
        self.count = len(seeds)
        self._table = _table(len(seeds))
        draw.put(self._table, tree * np.int64(num_nodes) + seeds, np.arange(len(seeds)))

    def front(self) -> tuple[Int64s, Int32s, int]:
        """Nodes and trees of the newest hop, and the local number of its first."""
        return self.nodes[-1], self.tree[-1], self.ends[-2]

    def number(self, nodes: Rows, tree: Int32s) -> tuple[Int64s, tuple[Int64s, Int32s]]:
        """[n] local numbers of those nodes, and which are new."""
        if 2 * (self.count + len(nodes)) > len(self._table[0]):
            old, self._table = self._table, _table(self.count + len(nodes))
            draw.put(self._table, *old)
        local = np.empty(len(nodes), np.int64)
        fresh = (np.empty(len(nodes), np.int64), np.empty(len(nodes), np.int32))
        before = self.count
        self.count = int(draw.number(self._table, nodes, tree, self.size, before, local, fresh))
        return local, (fresh[0][: self.count - before], fresh[1][: self.count - before])

    def find(self, nodes: Rows, tree: Int32s) -> Int64s:
        """[n] local numbers of those nodes, -1 for those not found so far."""
        local = np.empty(len(nodes), np.int64)
        draw.number(self._table, nodes, tree, self.size, -1, local, (np.empty(0, np.int64), np.empty(0, np.int32)))
        return local

    def close(self, found: list[tuple[Int64s, Int32s]]) -> None:
        """End a hop that found those nodes."""
        self.nodes.append(np.concatenate([nodes for nodes, _ in found]) if found else np.empty(0, np.int64))
        self.tree.append(np.concatenate([tree for _, tree in found]) if found else np.empty(0, np.int32))
        self.ends.append(self.count)


class _Expansion:
    """One batch while it grows, hop by hop."""

    def __init__(self, graph: Graph, plan: Plan, seeds: dict[int, Int64s], time: Int64s | None, key: Uint64s) -> None:
        self._graph, self._plan, self._time = graph, plan, time
        self._num_trees = sum(map(len, seeds.values())) if plan.disjoint else 1
        self._cuts: dict[int, Int64s] = {}
        self._keys = key
        if plan.disjoint:
            nodes = np.concatenate(list(seeds.values()))
            self._keys = fold_all(
                fold_all(np.repeat(key, len(nodes)), nodes), np.zeros_like(nodes) if time is None else time
            )
        self._known = []
        first = dict(zip(seeds, np.cumsum([0, *map(len, seeds.values())]).tolist(), strict=False))
        for kind, num_nodes in enumerate(graph.num_nodes):
            own = seeds.get(kind, np.empty(0, np.int64))
            tree = np.zeros(len(own), np.int32)
            if plan.disjoint and len(own):
                tree = np.arange(first[kind], first[kind] + len(own), dtype=np.int32)
            self._known.append(_Known(num_nodes, own, tree))
        self._edges: list[list[tuple[Int64s, Int64s, Int64s]]] = [[] for _ in graph.relations]

    def hop(self, hop: int) -> None:
        """Follow every edge type from the nodes found last."""
        found: list[list[tuple[Int64s, Int32s]]] = [[] for _ in self._known]
        for index, relation in enumerate(self._graph.relations):
            fanout = int(self._plan.fanout[index, hop - 1])
            nodes, tree, start = self._known[relation.dst].front()
            lengths, edges = self._choose(index, relation, (nodes, tree), fanout, np.uint64(edge_key(hop, index)))
            local, fresh = self._known[relation.src].number(relation.source[edges], np.repeat(tree, lengths))
            found[relation.src].append(fresh)
            col = np.repeat(np.arange(start, start + len(nodes)), lengths)
            self._edges[index].append((local, col, relation.place[edges].astype(np.int64)))
        for known, new in zip(self._known, found, strict=True):
            known.close(new)

    def induce(self) -> None:
        """Put all visible edges between the nodes found in place of those followed."""
        for index, relation in enumerate(self._graph.relations):
            known = self._known[relation.dst]
            nodes, tree = np.concatenate(known.nodes), np.concatenate(known.tree)
            lengths, edges = self._choose(index, relation, (nodes, tree), -1, np.uint64(0))
            local = self._known[relation.src].find(relation.source[edges], np.repeat(tree, lengths))
            kept = local >= 0
            col = np.repeat(np.arange(len(nodes)), lengths)[kept]
            self._edges[index] = [(local[kept], col, relation.place[edges[kept]].astype(np.int64))]

    def sampled(self) -> Sampled:
        """All hops together."""
        rows, cols, places = (
            [np.concatenate([np.empty(0, np.int64), *(hop[part] for hop in hops)]) for hops in self._edges]
            for part in range(3)
        )
        return Sampled(
            nodes=[np.concatenate(known.nodes) for known in self._known],
            tree=[np.concatenate(known.tree) for known in self._known],
            row=rows,
            col=cols,
            place=places,
            num_nodes=[np.diff(known.ends).tolist() for known in self._known],
            num_edges=[] if self._plan.induced else [[len(hop[0]) for hop in hops] for hops in self._edges],
        )

    def _choose(
        self, index: int, relation: Relation, front: tuple[Int64s, Int32s], fanout: int, hop_edge: np.uint64
    ) -> tuple[Int64s, Int64s]:
        """How many edges each frontier node takes, and which."""
        num = len(front[0])
        if fanout == 0 or num == 0:
            return np.zeros(num, np.int64), np.empty(0, np.int64)
        begin, stop, offsets = (np.empty(num + more, np.int64) for more in (0, 0, 1))
        most = kernels.ALL if fanout < 0 else fanout
        prefix = (begin, stop)
        kernels.count_reverse(front, (relation.offsets, relation.edges), self._cut(index), most, prefix, offsets)
        weighted = relation.weight is not None and fanout > 0
        replaced = self._plan.replace and fanout > 0
        if weighted or replaced:
            held = stop - begin
            if weighted:
                draw.count_weighted(relation.edges, relation.weight, prefix, held)
            np.cumsum(np.where(held > 0, fanout, 0) if replaced else np.minimum(held, fanout), out=offsets[1:])
        edges = np.empty(offsets[-1], np.int64)
        lists = (relation.edges, relation.weight)
        if weighted and replaced:
            draw.fill_weighted_replace(front, lists, prefix, offsets, self._keys, hop_edge, edges)
        elif weighted:
            draw.fill_weighted(front, lists, prefix, offsets, self._keys, hop_edge, edges)
        elif replaced:
            draw.fill_replace(front, relation.edges, prefix, offsets, self._keys, hop_edge, edges)
        else:
            out = (edges, np.empty(len(edges), np.int32))
            if self._plan.last or fanout < 0:
                kernels.fill_last(front[1], relation.edges, stop, offsets, out)
            else:
                kernels.fill_uniform(front, relation.edges, prefix, offsets, self._keys, hop_edge, out)
        return np.diff(offsets), edges

    def _cut(self, index: int) -> Int64s:
        """[num_trees] number below which each seed sees the edges of a relation."""
        cuts = self._cuts.get(index)
        if cuts is None:
            relation = self._graph.relations[index]
            cuts = np.full(self._num_trees, len(relation.edges), np.int64)
            if relation.time is not None and self._time is not None:
                kernels.cut_rows(relation.time, self._time, False, cuts)
            self._cuts[index] = cuts
        return cuts


def _table(num: int) -> tuple[Int64s, Int64s]:
    """An empty table with room for that many keys."""
    size = 1 << max(4, (4 * num).bit_length())
    return np.full(size, -1, np.int64), np.empty(size, np.int64)
