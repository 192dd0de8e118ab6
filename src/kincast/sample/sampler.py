"""Sampler: for every seed, the tree of rows around it that existed at its instant."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kincast.errors import DataError, ProjectError
from kincast.sample import kernels
from kincast.sample.arrays import Graph, edges_of
from kincast.sample.batch import Batch, Block, Int32s, Int64s, Seeds
from kincast.sample.edge import EdgeType
from kincast.sample.limit import Limit
from kincast.sample.lists import NeighbourLists, neighbour_lists
from kincast.sample.random import fold_all
from kincast.sample.strategy import LinkSampling, link_samplings

_EMPTY = np.empty(0, np.int64)
_EMPTY.flags.writeable = False


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
        expansion = _Expansion(self, seeds)
        for hop in range(1, self.num_hops + 1):
            expansion.expand(hop)
        return expansion.batch()

    def seed_keys(self, seeds: Seeds) -> NDArray[np.uint64]:
        """[n] uint64 what the draws of each seed's tree start from."""
        if self.keyed_by == "row":
            return np.repeat(self._key, len(seeds))
        return fold_all(fold_all(self._key, seeds.rows), seeds.as_of_us)

    def edge_key(self, hop: int, edge: int) -> int:
        """What tells the draws of one hop along one edge type from all others."""
        return edge if self.keyed_by == "row" else hop << 32 | edge

    def whole(self, hop: int, edge: int) -> int:
        """Neighbours that every later hop takes too: lists that are no longer need no order."""
        later = [k for k in self.fanout[edge, hop:].tolist() if k > 0]
        return min(later, default=int(kernels.ALL))

    def check(self, seeds: Seeds) -> None:
        """Refuse seeds that are no rows of the graph.

        Raises:
            DataError: the seeds' table or a row of theirs is not in the graph.
        """
        table = self.snapshot.tables.get(seeds.table)
        if table is None:
            names = ", ".join(self.snapshot.tables)
            raise DataError("the snapshot has no such table", where=seeds.table, hint=f"it has {names}")
        wrong = (seeds.rows < 0) | (seeds.rows >= table.num_rows)
        if wrong.any():
            samples = ", ".join(map(str, seeds.rows[wrong][:3]))
            raise DataError(f"{wrong.sum():,} seeds are no rows of the snapshot: {samples}", where=seeds.table)

    def _draw_by(self, redraw: int, keyed_by: str) -> None:
        if keyed_by not in ("seed", "row"):
            raise ProjectError(f"draws cannot be keyed by '{keyed_by}'", hint="by seed, or by row for predictions")
        if keyed_by == "row" and redraw:
            raise ProjectError("draws keyed by row cannot be redrawn", hint="a prediction is one number everywhere")
        self.keyed_by = keyed_by
        self._key = fold_all(fold_all(0, np.array([self._seed], np.int64)), np.array([redraw], np.int64))


@dataclass(frozen=True, slots=True)
class Step:
    """One edge type at one hop, counted and ready to be written.

    Attributes:
        index: of the edge type.
        edge: the edge type.
        offsets: [num_dst + 1] int64 how many each frontier row takes, summed up.
        num_visible: [num_dst] neighbours of each frontier row that exist at its instant, before the fanout.
        found: along a foreign key: rows and seeds of all that were found.
        prefix: backwards: first visible place and end of the visible ones, per frontier row; then, where rows end, how
            many of them have not.
    """

    index: int
    edge: EdgeType
    offsets: Int64s
    num_visible: Int64s
    found: tuple[Int64s, Int32s] | None
    prefix: tuple[Int64s, ...]

    @property
    def total(self) -> int:
        """Edges of the step."""
        return int(self.offsets[-1])


Front = tuple[Int64s, Int32s]
"""Frontier rows, and the seed each belongs to."""


class Reader:
    """Counts and writes the neighbours of frontiers, for seeds at their instants."""

    def __init__(self, sampler: Sampler, seeds: Seeds) -> None:
        self._sampler = sampler
        self._seeds = seeds
        self._known: dict[tuple[str | None, int | None], Int64s] = {}

    def count(self, hop: int, index: int, front: Front) -> Step | None:
        """How many neighbours each frontier row takes along an edge type; None where it takes none at this hop."""
        sampler = self._sampler
        edge, sampling = sampler.edges[index], sampler.samplings[index]
        fanout = int(sampler.fanout[index, hop - 1])
        num = len(front[0])
        if fanout == 0 or not num:
            return None
        take = (kernels.ALL, False) if fanout < 0 else (fanout, sampling.replace)
        offsets = np.empty(num + 1, np.int64)
        ends = self._ends(edge.other)
        lists = sampler.lists[index]
        if lists is None:
            found = (np.empty(num, np.int64), np.empty(num, np.int32))
            limits = self._limits(edge.other, sampling.window_us)
            forward = sampler.snapshot.links[edge.link].forward
            versions = sampler.snapshot.tables[edge.other].versions
            if versions is None:
                kernels.follow(front, forward, limits, ends, offsets, found)
            else:
                lists_of_versions = (versions.offsets, versions.rows)
                kernels.follow_versions(front, forward, lists_of_versions, limits, ends, offsets, found)
            return Step(index, edge, offsets, np.diff(offsets), found, ())
        begin, stop = prefix = (np.empty(num, np.int64), np.empty(num, np.int64))
        limits = self._limits(None if lists.by_time else edge.other, sampling.window_us)
        kernels.count_reverse(front, (lists.offsets, lists.marks), limits, take, prefix, offsets)
        if not len(ends[0]):
            return Step(index, edge, offsets, stop - begin, None, prefix)
        alive = np.empty(num, np.int64)
        kernels.count_ending(front[1], lists.rows, ends, take, prefix, alive, offsets)
        return Step(index, edge, offsets, alive, None, (begin, stop, alive))

    def fill(self, hop: int, step: Step, front: Front, out: tuple[Int64s, Int32s, Int64s]) -> None:
        """Write the neighbours of a step: rows, seeds, and places unless that is empty."""
        sampler, edge, offsets = self._sampler, step.edge, step.offsets
        lists = sampler.lists[step.index]
        if lists is None:
            _fill_found(step, front[0], out)
            return
        sampling, fanout = sampler.samplings[step.index], int(sampler.fanout[step.index, hop - 1])
        ends = self._ends(edge.other)
        if sampling.strategy in ("last", "all"):
            if len(ends[0]):
                kernels.fill_last_ending(front[1], lists.rows, ends, step.prefix[1], offsets, out)
            else:
                kernels.fill_last(front[1], lists.rows, step.prefix[1], offsets, out)
        else:
            arrays = (lists.offsets, lists.rows, lists.sums)
            keys = (self._keys, np.uint64(sampler.edge_key(hop, step.index)))
            rule = (sampler.whole(hop, step.index), sampling.replace and fanout > 0)
            if len(ends[0]):
                kernels.fill_drawn_ending(front, arrays, ends, step.prefix, offsets, keys, rule, out)
            else:
                kernels.fill_drawn(front, arrays, step.prefix, offsets, keys, rule, out)
        if lists.places is not None and len(out[2]):
            out[2][:] = lists.places[out[2]]

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        return self._sampler.seed_keys(self._seeds)

    def _limits(self, table: str | None, window_us: int | None) -> tuple[Int64s, Int64s]:
        """Cuts and floors [num_seeds] between which each seed sees the rows of a table, or the times of edges."""
        cuts = self._cut(table, None)
        return cuts, _EMPTY if window_us is None else self._cut(table, window_us)

    def _cut(self, table: str | None, window_us: int | None) -> Int64s:
        """[num_seeds] the first row, or the first instant, that a seed does not see, or, back in time, still sees."""
        cuts = self._known.get((table, window_us))
        if cuts is None:
            sampler, seeds = self._sampler, self._seeds
            instants = seeds.visible if window_us is None else _before(seeds.as_of_us, window_us)
            times = None if table is None else sampler.snapshot.tables[table].time_us
            if table is None:
                latest = np.iinfo(np.int64).max
                cuts = instants if sampler.strict else np.minimum(instants, latest - 1) + 1
            elif times is None:
                cuts = np.full(len(seeds), 0 if window_us else sampler.snapshot.tables[table].num_rows, np.int64)
            else:
                different, which = np.unique(instants, return_inverse=True)  # often a few, and in order near each other
                found = np.empty(len(different), np.int64)
                kernels.cut_rows(times, different, sampler.strict, found)
                cuts = found[which]
            self._known[table, window_us] = cuts
        return cuts

    def _ends(self, name: str) -> tuple[Int64s, Int64s]:
        end_us = self._sampler.snapshot.tables[name].end_us
        return (_EMPTY if end_us is None else end_us), self._seeds.visible


def _fill_found(step: Step, frontier: Int64s, out: tuple[Int64s, Int32s, Int64s]) -> None:
    """Write what a foreign key led to, as far as ``offsets`` has room; an edge's place is the row that holds it."""
    rows, seeds, places = out
    all_rows, all_seeds = step.found or (_EMPTY, np.empty(0, np.int32))
    num_found = int(step.num_visible.sum()) if step.total else 0
    if step.total == num_found:
        rows[:], seeds[:] = all_rows[:num_found], all_seeds[:num_found]
    else:  # a limit has left some out
        kept = np.diff(step.offsets)[step.num_visible > 0] > 0
        rows[:], seeds[:] = all_rows[:num_found][kept], all_seeds[:num_found][kept]
    if len(places):
        places[:] = frontier[np.diff(step.offsets) > 0]


def _before(instants: Int64s, span_us: int) -> Int64s:
    """Instants that much earlier, none before the first there is."""
    first = np.iinfo(np.int64).min
    return np.maximum(instants, first + span_us) - span_us


class _Expansion:
    """One batch while it grows, hop by hop."""

    def __init__(self, sampler: Sampler, seeds: Seeds) -> None:
        self._sampler = sampler
        self._seeds = seeds
        self._reader = Reader(sampler, seeds)
        most = sampler.max_rows_per_seed
        self._limit = None if most is None else Limit(len(seeds), most)
        self._blocks: list[Block] = []
        names = list(sampler.snapshot.tables)
        self._rows = {name: np.empty(0, np.int64) for name in names}
        self._seed = {name: np.empty(0, np.int32) for name in names}
        self._starts: dict[str, list[int]] = {name: [0, 0] for name in names}  # local rows before each hop, and all
        self._rows[seeds.table] = seeds.rows.copy()
        self._seed[seeds.table] = np.arange(len(seeds), dtype=np.int32)
        self._starts[seeds.table] = [0, len(seeds)]

    def expand(self, hop: int) -> None:
        """Add the rows of one more hop: first count along every edge type, then write into arrays of that size."""
        steps = [self._reader.count(hop, index, self._front(edge)) for index, edge in enumerate(self._sampler.edges)]
        found = [step for step in steps if step is not None and step.total]
        if self._limit is not None:
            cut = self._limit.shorten([(self._front(step.edge)[1], step.offsets) for step in found])
            found = [replace(step, offsets=offsets) for step, offsets in zip(found, cut, strict=True) if offsets[-1]]
        fronts = {step.edge.table: self._front(step.edge) for step in found}
        done = {name: starts[-1] for name, starts in self._starts.items()}
        for name, total in self._grow(found).items():
            self._starts[name].append(done[name] + total)
        for step in found:
            edge = step.edge
            src_start = done[edge.other]
            done[edge.other] = src_stop = src_start + step.total
            places = np.empty(step.total if self._sampler.keep_places else 0, np.int64)
            out = (self._rows[edge.other][src_start:src_stop], self._seed[edge.other][src_start:src_stop], places)
            self._reader.fill(hop, step, fronts[edge.table], out)
            dst_start, dst_stop = self._starts[edge.table][-3:-1]
            kept = places if self._sampler.keep_places else None
            self._blocks.append(
                Block(hop, edge, dst_start, dst_stop - dst_start, src_start, step.offsets, step.num_visible, kept)
            )

    def _grow(self, steps: Sequence[Step]) -> dict[str, int]:
        """Make room for what the steps take; how much that is per table."""
        totals = dict.fromkeys(self._rows, 0)
        for step in steps:
            totals[step.edge.other] += step.total
        for name, total in totals.items():
            if total:  # the last hop is nearly all of it, so copying what came before is cheap
                before = len(self._rows[name])
                rows, seed = np.empty(before + total, np.int64), np.empty(before + total, np.int32)
                rows[:before], seed[:before] = self._rows[name], self._seed[name]
                self._rows[name], self._seed[name] = rows, seed
        return totals

    def _front(self, edge: EdgeType) -> Front:
        """The rows found last and their seeds; what refers to a version refers to its key, so to the first of them."""
        start, stop = self._starts[edge.table][-2:]
        rows, seed = self._rows[edge.table][start:stop], self._seed[edge.table][start:stop]
        versions = self._sampler.snapshot.tables[edge.table].versions
        if edge.reverse and versions is not None:
            rows = versions.forward[rows].astype(np.int64)
        return rows, seed

    def batch(self) -> Batch:
        """All hops together."""
        return Batch(
            seeds=self._seeds,
            num_hops=self._sampler.num_hops,
            rows=self._rows,
            seed=self._seed,
            hop_offsets={name: np.array(starts, np.int64) for name, starts in self._starts.items()},
            blocks=tuple(self._blocks),
        )
