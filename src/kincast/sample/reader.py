"""Reader: the neighbours of frontiers, for seeds at their instants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kincast.compile import address
from kincast.sample import kernels
from kincast.sample.arrays import Graph
from kincast.sample.batch import Int32s, Int64s, Seeds
from kincast.sample.edge import EdgeType
from kincast.sample.hop import INSTANTS, OF_ROWS, TIMELESS, count_hop, edge_table, fill_hop, find_limit, is_plain
from kincast.sample.lists import NeighbourLists
from kincast.sample.strategy import LinkSampling

if TYPE_CHECKING:
    from kincast.sample.sampler import Sampler

Front = tuple[Int64s, Int32s]
"""Frontier rows, and the seed each belongs to."""


class Reading:
    """What reading a graph needs to know of its edge types; the same for every batch.

    Args:
        graph: to read.
        edges: its edge types.
        samplings: how each is sampled.
        fanout: [num_edges, num_hops] int64.
        lists: of each the neighbour lists; None along a foreign key.
    """

    def __init__(
        self,
        graph: Graph,
        edges: Sequence[EdgeType],
        samplings: Sequence[LinkSampling],
        fanout: NDArray[np.int64],
        lists: Sequence[NeighbourLists | None],
    ) -> None:
        self.fanout = np.ascontiguousarray(fanout.T)
        later = np.where(self.fanout > 0, self.fanout, kernels.ALL)
        after = np.minimum.accumulate(later[::-1])[::-1]
        # Neighbours that every later hop takes too: lists that are no longer need no order.
        self.wholes = np.vstack([after[1:], np.full((1, len(edges)), kernels.ALL)])
        self.tables = {name: number for number, name in enumerate(graph.tables)}
        ends = [(self.tables[edge.table], self.tables[edge.other]) for edge in edges]
        self.ends = np.array(ends, np.int64).reshape(-1, 2)
        limits: dict[tuple[str | None, int | None], int] = {}
        bounds, about = [], []
        for edge, sampling, own in zip(edges, samplings, lists, strict=True):
            timed = None if own is not None and own.by_time else edge.other
            wanted = [(timed, None)] if sampling.window_us is None else [(timed, None), (timed, sampling.window_us)]
            bounds.append(([*(limits.setdefault(limit, len(limits)) for limit in wanted), -1])[:2])
            tables = {"table": graph.tables[edge.table], "other": graph.tables[edge.other]}
            if own is None:
                about.append({**tables, "forward": graph.links[edge.link].forward})
            else:
                drawn = sampling.strategy not in ("last", "all")
                about.append({**tables, "lists": own, "drawn": drawn, "replace": sampling.replace})
        self.table, self._kept = edge_table(about)
        self.every = None if is_plain(self.table) else True
        self.bounds = np.array(bounds, np.int64).reshape(-1, 2)
        self.limits = np.array([self._limit(graph, *limit) for limit in limits], np.int64).reshape(-1, 4)

    def _limit(self, graph: Graph, table: str | None, window_us: int | None) -> tuple[int, int, int, int]:
        """What ``find_limit`` reads."""
        back = -1 if window_us is None else window_us
        if table is None:
            return INSTANTS, 0, 0, back
        time_us, num_rows = graph.tables[table].time_us, graph.tables[table].num_rows
        if time_us is None:
            return TIMELESS, 0, num_rows, back
        own = np.ascontiguousarray(time_us, np.int64)
        self._kept.append(own)
        return OF_ROWS, address(own), num_rows, back


@dataclass(frozen=True, slots=True)
class Step:
    """One edge type at one hop.

    Attributes:
        offsets: [num + 1] int64 how many each frontier row takes, summed up.
        num_visible: [num] int64 neighbours of each frontier row that exist at its instant, before the fanout.
    """

    offsets: Int64s
    num_visible: Int64s

    @property
    def total(self) -> int:
        """Edges of the step."""
        return int(self.offsets[-1])


class Reader:
    """Finds the neighbours of frontiers.

    Args:
        sampler: says how.
        seeds: that the frontiers belong to.
    """

    def __init__(self, sampler: Sampler, seeds: Seeds) -> None:
        self._sampler, self._reading, self._seeds = sampler, sampler.reading, seeds
        self._limits = np.empty((max(len(self._reading.limits), 1), len(seeds)), np.int64)
        for about, cuts in zip(self._reading.limits, self._limits, strict=False):
            find_limit(about, seeds.visible, seeds.as_of_us, sampler.strict, cuts)

    def read(self, hop: int, index: int, front: Front) -> tuple[Step, Int64s, Int32s, Int64s]:
        """Follow one edge type.

        Args:
            hop: from 1.
            index: of the edge type.
            front: rows [num] and their seeds.

        Returns:
            the step, and [edges] each the neighbours, their seeds and their places.
        """
        reading, num = self._reading, len(front[0])
        steps = np.array([[index, 0, num, *reading.bounds[index], 0]], np.int64)
        begin, stop, alive, num_visible = np.empty((4, num), np.int64)
        offsets = np.empty(num + 1, np.int64)
        visible = self._seeds.visible
        count = (begin, stop, alive, num_visible)
        limits, every = (self._limits, visible), reading.every
        count_hop(reading.table, reading.fanout[hop - 1], steps, front, limits, count, offsets, every)
        total = int(offsets[-1])
        rows, seeds, places = np.empty(total, np.int64), np.empty(total, np.int32), np.empty(total, np.int64)
        seeds_read = (visible, self._keys, self._sampler.edge_keys[hop - 1])
        out, found = (rows, seeds, places), (begin, stop, alive)
        edges = (reading.table, reading.fanout[hop - 1], reading.wholes[hop - 1])
        fill_hop(edges, steps, front, seeds_read, found, offsets, out, every)
        return Step(offsets, num_visible), rows, seeds, self._sampler.placed(index, places)

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        return self._sampler.seed_keys(self._seeds)
