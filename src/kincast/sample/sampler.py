"""Sampler: for every seed, the tree of rows around it that existed at its instant."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kincast.errors import DataError, ProjectError
from kincast.sample import kernels
from kincast.sample.arrays import Graph, edges_of
from kincast.sample.batch import Batch, Block, Int64s, Seeds
from kincast.sample.lists import NeighbourLists, neighbour_lists
from kincast.sample.random import fold_all, fold_pairs
from kincast.sample.reader import Reading
from kincast.sample.strategy import LinkSampling, link_samplings
from kincast.sample.tree import grow_trees


class Sampler:
    """Draws neighbourhoods from a graph; without state, so any number of threads may share one.

    A neighbour is visible to a seed when its time is not later than the seed's visible instant (earlier, when strict)
    and it has not ended by then; rows without a time always are. The same seed gets the same tree whatever else is in
    the batch.

    Args:
        snapshot: to draw from: a snapshot, or a graph made by ``array_graph``.
        fanout: neighbours per frontier row and edge type for each hop: -1 all, 0 none, k at most k.
        overrides: edge name, such as ``customers.customer_id->orders.customer_id`` → its own number for every hop, or
            everything about it.
        strategy: of the edge types without an override that says otherwise: its name, or everything but the fanout.
            Rows without a time have no age: ``recency`` draws them uniformly, ``last`` takes the highest numbers, and
            a window holds them all.
        seed: of the draws.
        strict: hide facts at the very instant.
        redraw: another number, other draws, such as the epoch.
        keyed_by: ``seed``: draws differ between seeds; ``row``: they depend on sampler seed, edge type and frontier
            row alone, whatever the hop, as predictions need.
        max_rows_per_seed: rows of a tree at most, its seed included. A hop that would exceed it has its longest lists
            shortened to one length, to their newest or first drawn; what is left goes to the first lists.
        keep_places: say in ``Block.places`` which edges were sampled.

    Attributes:
        edges: edge types of the graph.
        samplings: how each is sampled.
        fanout: [num_edges, num_hops] int64.
        num_hops: links away at most.
        lists: neighbour lists of each; None along a foreign key.
        reading: the same as plain arrays.
        edge_keys: [num_hops, num_edges] uint64 of draws.

    Raises:
        ProjectError: a wrong fanout, strategy, edge name or combination.
        DataError: a weight is negative or infinite.
    """

    def __init__(  # over budget: what a tree depends on, in one place; all but two have defaults
        self,
        snapshot: Graph,
        fanout: Sequence[int],
        overrides: Mapping[str, Sequence[int] | LinkSampling] | None = None,
        strategy: str | LinkSampling = "last",
        seed: int = 0,
        strict: bool = False,
        redraw: int = 0,
        *,
        keyed_by: str = "seed",
        max_rows_per_seed: int | None = None,
        keep_places: bool = False,
    ) -> None:
        if max_rows_per_seed is not None and max_rows_per_seed < 1:
            raise ProjectError(f"max_rows_per_seed is {max_rows_per_seed}", hint="at least 1: the seed itself")
        usual = LinkSampling(strategy) if isinstance(strategy, str) else strategy
        self.snapshot = snapshot
        self.edges = edges_of(snapshot)
        self.samplings = link_samplings(self.edges, fanout, overrides or {}, usual)
        hops = [sampling.fanout for sampling in self.samplings]
        self.fanout: NDArray[np.int64] = np.array(hops, np.int64).reshape(len(self.edges), len(fanout))
        self.num_hops = len(fanout)
        self.strict = strict
        self.max_rows_per_seed = max_rows_per_seed
        self.keep_places = keep_places
        self.lists: tuple[NeighbourLists | None, ...] = tuple(
            neighbour_lists(snapshot, edge, sampling) if edge.reverse else None
            for edge, sampling in zip(self.edges, self.samplings, strict=True)
        )
        self.reading = Reading(snapshot, self.edges, self.samplings, self.fanout, self.lists)
        self._seed = seed
        self._draw_by(redraw, keyed_by)

    def redrawn(self, redraw: int, keyed_by: str = "seed") -> Sampler:
        """The same sampler with other draws; sums of weights are not computed again."""
        other = copy.copy(self)
        other._draw_by(redraw, keyed_by)
        return other

    def sample(self, seeds: Seeds) -> Batch:
        """The neighbourhoods of the seeds.

        Raises:
            DataError: the seeds' table or a row of theirs is not in the snapshot.
        """
        self.check(seeds)
        reading = self.reading
        rows, seed, starts, blocks, offsets, num_visible, places = grow_trees(
            (reading.table, reading.ends, reading.limits, reading.bounds),
            (reading.fanout, reading.wholes),
            (reading.tables[seeds.table], seeds.rows, seeds.as_of_us, seeds.visible),
            (self.seed_keys(seeds), self.edge_keys),
            (len(reading.tables), self.strict, self.max_rows_per_seed or 0, self.keep_places),
            reading.every if self.max_rows_per_seed is None else True,
        )
        ends = np.cumsum(starts[:, -1]).tolist()
        spans = {name: slice(start, end) for name, start, end in zip(reading.tables, [0, *ends], ends, strict=False)}
        return Batch(
            seeds=seeds,
            num_hops=self.num_hops,
            rows={name: rows[span] for name, span in spans.items()},
            seed={name: seed[span] for name, span in spans.items()},
            hop_offsets=dict(zip(reading.tables, starts, strict=True)),
            blocks=tuple([self._block(block, spans, offsets, num_visible, places) for block in blocks.tolist()]),
        )

    def _block(
        self, block: list[int], spans: Mapping[str, slice], offsets: Int64s, num_visible: Int64s, places: Int64s
    ) -> Block:
        hop, index, dst_start, num_dst, src_start, place, list_place = block
        edge, own = self.edges[index], offsets[place : place + num_dst + 1]
        kept = None
        if self.keep_places:
            start = spans[edge.other].start + src_start
            kept = self.placed(index, places[start : start + int(own[-1])])
        visible = num_visible[list_place : list_place + num_dst]
        return Block(hop, edge, dst_start, num_dst, src_start, own, visible, kept)

    def placed(self, index: int, places: Int64s) -> Int64s:
        """Places in the arrays of a link, from those in the lists that are read."""
        lists = self.lists[index]
        return places if lists is None or lists.places is None else lists.places[places]

    def seed_keys(self, seeds: Seeds) -> NDArray[np.uint64]:
        """[n] uint64 what the draws of each seed's tree start from."""
        if self.keyed_by == "row":
            return np.repeat(self._key, len(seeds))
        keys: NDArray[np.uint64] = fold_pairs(self._key[0], seeds.rows, seeds.as_of_us)
        return keys

    def check(self, seeds: Seeds) -> None:
        """Refuse seeds that are no rows of the graph.

        Raises:
            DataError: the seeds' table or a row of theirs is not in the graph.
        """
        table = self.snapshot.tables.get(seeds.table)
        if table is None:
            names = ", ".join(self.snapshot.tables)
            raise DataError("the snapshot has no such table", where=seeds.table, hint=f"it has {names}")
        num_wrong = kernels.num_outside(seeds.rows, table.num_rows)
        if num_wrong:
            wrong = (seeds.rows < 0) | (seeds.rows >= table.num_rows)
            samples = ", ".join(map(str, seeds.rows[wrong][:3]))
            raise DataError(f"{num_wrong:,} seeds are no rows of the snapshot: {samples}", where=seeds.table)

    def _draw_by(self, redraw: int, keyed_by: str) -> None:
        if keyed_by not in ("seed", "row"):
            raise ProjectError(f"draws cannot be keyed by '{keyed_by}'", hint="by seed, or by row for predictions")
        if keyed_by == "row" and redraw:
            raise ProjectError("draws keyed by row cannot be redrawn", hint="a prediction is one number everywhere")
        self.keyed_by = keyed_by
        self._key = fold_all(fold_all(0, np.array([self._seed], np.int64)), np.array([redraw], np.int64))
        # What tells the draws of one hop along one edge type from all others.
        hops = np.arange(1, self.num_hops + 1) if keyed_by == "seed" else np.zeros(self.num_hops, np.int64)
        self.edge_keys = (hops[:, None] << 32 | np.arange(len(self.edges))).astype(np.uint64)
