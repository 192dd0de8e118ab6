"""Sampler: for every seed, the tree of rows around it that existed at its instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.errors import DataError, ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.sample import kernels
from kincast.sample.batch import Batch, Block, Int32s, Int64s, Seeds
from kincast.sample.edge import EdgeType, edge_types, fanout_table
from kincast.sample.random import fold_all

_EMPTY = np.empty(0, np.int64)
_NO_END = np.empty(0, np.int64)
_NO_END.flags.writeable = False


class Sampler:
    """Draws neighbourhoods from a snapshot; without state, so any number of threads may share one.

    A neighbour is visible to a seed when its time is not later than the seed's visible instant (earlier, when strict)
    and it has not ended by then; rows without a time always are. The same seed gets the same tree whatever else is in
    the batch.

    Args:
        snapshot: to draw from.
        fanout: neighbours per frontier row and edge type for each hop: -1 all, 0 none, k at most k.
        overrides: edge name, such as ``customers.customer_id->orders.customer_id`` → its own number for every hop.
        strategy: ``last`` takes the newest (of timeless rows the highest numbers), ``uniform`` draws without repeats.
        seed: of the draws.
        strict: hide facts at the very instant.
        redraw: another number, other draws, such as the epoch.
        keyed_by: ``seed``: draws differ between seeds; ``row``: they depend on sampler seed, hop, edge type and
            frontier row alone, as predictions need.

    Attributes:
        edges: both directions of every link.
        fanout: [num_edges, num_hops] int64.
        num_hops: links away at most.

    Raises:
        ProjectError: a wrong fanout, strategy, edge name or combination.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        fanout: Sequence[int],
        overrides: Mapping[str, Sequence[int]] | None = None,
        strategy: str = "last",
        seed: int = 0,
        strict: bool = False,
        redraw: int = 0,
        *,
        keyed_by: str = "seed",
    ) -> None:
        if strategy not in ("last", "uniform"):
            raise ProjectError(f"there is no sampling strategy '{strategy}'", hint="there are last and uniform")
        if keyed_by not in ("seed", "row"):
            raise ProjectError(f"draws cannot be keyed by '{keyed_by}'", hint="by seed, or by row for predictions")
        if keyed_by == "row" and redraw:
            raise ProjectError("draws keyed by row cannot be redrawn", hint="a prediction is one number everywhere")
        self.snapshot = snapshot
        self.edges = edge_types(snapshot.schema)
        self.fanout = fanout_table(self.edges, fanout, overrides or {})
        self.num_hops = len(fanout)
        self.strategy = strategy
        self.strict = strict
        self.keyed_by = keyed_by
        self._key = fold_all(fold_all(0, np.array([seed], np.int64)), np.array([redraw], np.int64))

    def sample(self, seeds: Seeds) -> Batch:
        """The neighbourhoods of the seeds.

        Raises:
            DataError: the seeds' table or a row of theirs is not in the snapshot.
        """
        self._check(seeds)
        expansion = _Expansion(self, seeds)
        for hop in range(1, self.num_hops + 1):
            expansion.expand(hop)
        return expansion.batch()

    def seed_keys(self, seeds: Seeds) -> NDArray[np.uint64]:
        """[n] uint64 what the draws of each seed's tree start from."""
        if self.keyed_by == "row":
            return np.repeat(self._key, len(seeds))
        return fold_all(fold_all(self._key, seeds.rows), seeds.as_of_us)

    def _check(self, seeds: Seeds) -> None:
        table = self.snapshot.tables.get(seeds.table)
        if table is None:
            names = ", ".join(self.snapshot.tables)
            raise DataError("the snapshot has no such table", where=seeds.table, hint=f"it has {names}")
        wrong = (seeds.rows < 0) | (seeds.rows >= table.num_rows)
        if wrong.any():
            samples = ", ".join(map(str, seeds.rows[wrong][:3]))
            raise DataError(f"{wrong.sum():,} seeds are no rows of the snapshot: {samples}", where=seeds.table)


def edge_key(hop: int, edge: int) -> int:
    """What tells the draws of one hop along one edge type from all others."""
    return hop << 32 | edge


@dataclass(frozen=True, slots=True)
class _Step:
    """One edge type at one hop, counted and ready to be written.

    ``found`` is the row per frontier row of a forward edge; ``begin``, ``stop`` and ``alive`` belong to a reverse one.
    """

    index: int
    edge: EdgeType
    offsets: Int64s
    found: Int64s
    begin: Int64s
    stop: Int64s
    alive: Int64s

    @property
    def total(self) -> int:
        return int(self.offsets[-1])

    @property
    def num_visible(self) -> Int64s:
        """[num_dst] neighbours of each frontier row that exist at its instant, before the fanout."""
        if not self.edge.reverse:
            return np.diff(self.offsets)
        return self.alive if len(self.alive) else self.stop - self.begin


class _Expansion:
    """One batch while it grows, hop by hop."""

    def __init__(self, sampler: Sampler, seeds: Seeds) -> None:
        self._sampler = sampler
        self._seeds = seeds
        self._keys = sampler.seed_keys(seeds)
        self._cuts: dict[str, Int64s] = {}
        self._blocks: list[Block] = []
        names = list(sampler.snapshot.tables)
        self._rows: dict[str, list[Int64s]] = {name: [np.empty(0, np.int64)] for name in names}
        self._seed: dict[str, list[Int32s]] = {name: [np.empty(0, np.int32)] for name in names}
        self._starts: dict[str, list[int]] = {name: [0, 0] for name in names}  # local rows before each hop, and all
        self._rows[seeds.table] = [seeds.rows]
        self._seed[seeds.table] = [np.arange(len(seeds), dtype=np.int32)]
        self._starts[seeds.table] = [0, len(seeds)]

    def expand(self, hop: int) -> None:
        """Add the rows of one more hop: first count along every edge type, then write into arrays of that size."""
        found = []
        totals = dict.fromkeys(self._rows, 0)
        for index, edge in enumerate(self._sampler.edges):
            fanout = int(self._sampler.fanout[index, hop - 1])
            if fanout == 0 or not len(self._rows[edge.table][-1]):
                continue
            step = self._count(index, edge, kernels.ALL if fanout < 0 else fanout)
            if step.total:
                found.append((step, totals[edge.other]))
                totals[edge.other] += step.total
        rows = {name: np.empty(total, np.int64) for name, total in totals.items()}
        seed = {name: np.empty(total, np.int32) for name, total in totals.items()}
        for step, start in found:
            edge = step.edge
            place = slice(start, start + step.total)
            self._fill(hop, step, rows[edge.other][place], seed[edge.other][place])
            dst_start, dst_stop = self._starts[edge.table][-2:]
            src_start = self._starts[edge.other][-1] + start
            self._blocks.append(
                Block(hop, edge, dst_start, dst_stop - dst_start, src_start, step.offsets, step.num_visible)
            )
        for name, total in totals.items():
            self._rows[name].append(rows[name])
            self._seed[name].append(seed[name])
            self._starts[name].append(self._starts[name][-1] + total)

    def _count(self, index: int, edge: EdgeType, fanout: int) -> _Step:
        front = self._front(edge)
        num = len(front[0])
        link = self._sampler.snapshot.links[edge.link]
        cuts, ends = self._cut(edge.other), self._ends(edge.other)
        offsets = np.empty(num + 1, np.int64)
        if not edge.reverse:
            found = np.empty(num, np.int64)
            versions = self._sampler.snapshot.tables[edge.other].versions
            if versions is None:
                kernels.count_forward(front, link.forward, cuts, ends, found, offsets)
            else:
                lists = (versions.offsets, versions.rows)
                kernels.count_versions(front, link.forward, lists, cuts, ends, found, offsets)
            return _Step(index, edge, offsets, found, _EMPTY, _EMPTY, _EMPTY)
        begin, stop = prefix = (np.empty(num, np.int64), np.empty(num, np.int64))
        kernels.count_reverse(front, (link.offsets, link.rows), cuts, fanout, prefix, offsets)
        alive = _EMPTY
        if len(ends[0]):
            alive = np.empty(num, np.int64)
            kernels.count_ending(front[1], link.rows, ends, fanout, prefix, alive, offsets)
        return _Step(index, edge, offsets, _EMPTY, begin, stop, alive)

    def _fill(self, hop: int, step: _Step, rows: Int64s, seeds: Int32s) -> None:
        edge, offsets, out = step.edge, step.offsets, (rows, seeds)
        _, seed = front = self._front(edge)
        if not edge.reverse:
            kernels.fill_forward(seed, step.found, out)
            return
        link_rows = self._sampler.snapshot.links[edge.link].rows
        ends = self._ends(edge.other)
        last = self._sampler.strategy == "last"
        key = np.uint64(edge_key(hop, step.index))
        if len(ends[0]) and last:
            kernels.fill_last_ending(seed, link_rows, ends, step.stop, offsets, out)
        elif len(ends[0]):
            prefix = (step.begin, step.stop, step.alive)
            kernels.fill_uniform_ending(front, link_rows, ends, prefix, offsets, self._keys, key, out)
        elif last:
            kernels.fill_last(seed, link_rows, step.stop, offsets, out)
        else:
            kernels.fill_uniform(front, link_rows, (step.begin, step.stop), offsets, self._keys, key, out)

    def _front(self, edge: EdgeType) -> tuple[Int64s, Int32s]:
        """The rows found last and their seeds; what refers to a version refers to its key, so to the first of them."""
        rows, seed = self._rows[edge.table][-1], self._seed[edge.table][-1]
        versions = self._sampler.snapshot.tables[edge.table].versions
        if edge.reverse and versions is not None:
            rows = versions.forward[rows].astype(np.int64)
        return rows, seed

    def _cut(self, name: str) -> Int64s:
        """[num_seeds] rows of a table below which each seed may look."""
        cuts = self._cuts.get(name)
        if cuts is None:
            table = self._sampler.snapshot.tables[name]
            cuts = np.full(len(self._seeds), table.num_rows, np.int64)
            if table.time_us is not None:
                kernels.cut_rows(table.time_us, self._seeds.visible, self._sampler.strict, cuts)
            self._cuts[name] = cuts
        return cuts

    def _ends(self, name: str) -> tuple[Int64s, Int64s]:
        end_us = self._sampler.snapshot.tables[name].end_us
        return (_NO_END if end_us is None else end_us), self._seeds.visible

    def batch(self) -> Batch:
        """All hops together."""
        return Batch(
            seeds=self._seeds,
            num_hops=self._sampler.num_hops,
            rows={name: np.concatenate(parts) for name, parts in self._rows.items()},
            seed={name: np.concatenate(parts) for name, parts in self._seed.items()},
            hop_offsets={name: np.array(starts, np.int64) for name, starts in self._starts.items()},
            blocks=tuple(self._blocks),
        )
