"""Shared: one sub-graph for all seeds of a batch, every row in it once; for seeds that see the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kincast.errors import DataError, ProjectError
from kincast.sample.arrays import Graph
from kincast.sample.batch import Int32s, Int64s, Seeds
from kincast.sample.edge import EdgeType
from kincast.sample.hetero import EdgeIndex, hetero_data
from kincast.sample.number import number, put
from kincast.sample.reader import Reader
from kincast.sample.sampler import Sampler

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


@dataclass(frozen=True, slots=True)
class SharedBlock:
    """One hop along one edge type, edges grouped by destination.

    The neighbours of local row ``dst_start + i`` of ``edge.table`` are local rows
    ``src[offsets[i] .. offsets[i + 1]]`` of ``edge.other``.

    Attributes:
        hop: from 1.
        edge: the direction followed.
        dst_start: first local row of the frontier, which is all rows of ``edge.table`` first found at ``hop - 1``.
        offsets: [num_dst + 1] int64.
        src: [edges] int64 local rows of ``edge.other``, of any hop.
        num_visible: [num_dst] int64 how many neighbours each frontier row could see before the fanout cut them.
        places: [edges] int64 as in ``Block``.
    """

    hop: int
    edge: EdgeType
    dst_start: int
    offsets: Int64s
    src: Int64s
    num_visible: Int64s
    places: Int64s


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Seeds with the neighbourhood they share.

    Attributes:
        seeds: as given; the same row may be there several times.
        num_hops: links away from the seeds at most.
        rows: table → [n_t] int64 snapshot rows, each once, by the hop they were first found at.
        hop_offsets: table → [num_hops + 2] int64; rows first found at hop h are ``hop_offsets[h] .. [h + 1]``.
        seed_rows: [n] int64 local row of each seed in its table.
        blocks: by hop, then in edge order; empty ones left out.
    """

    seeds: Seeds
    num_hops: int
    rows: dict[str, Int64s]
    hop_offsets: dict[str, Int64s]
    seed_rows: Int64s
    blocks: tuple[SharedBlock, ...]

    @property
    def num_edges(self) -> int:
        """Sampled edges of all blocks."""
        return sum(len(block.src) for block in self.blocks)

    def to_pyg(self) -> HeteroData:
        """As PyTorch Geometric's ``HeteroData``, laid out as by its own loaders; ``seed_rows`` says where seeds are.

        Raises:
            MissingExtraError: PyTorch Geometric is not installed.
        """
        edges = [
            EdgeIndex(b.hop, b.edge, b.src, b.dst_start + np.repeat(np.arange(len(b.offsets) - 1), np.diff(b.offsets)))
            for b in self.blocks
        ]
        places = [block.places for block in self.blocks]
        extra = {self.seeds.table: {"seed_rows": self.seed_rows}}
        return hetero_data(self.seeds, self.rows, self.hop_offsets, zip(edges, places, strict=True), extra)


def sample_shared(sampler: Sampler, seeds: Seeds) -> SharedBatch:
    """One neighbourhood for all seeds, each of its rows once and expanded once.

    What is drawn for a row depends on the run, the hop, the edge type, the row and the instant, not on the other seeds
    (but at which hop a row is first met does).

    Raises:
        DataError: the seeds see different things: they have several instants, and rows or edges of the graph a time.
            Neighbours seen from one instant must not reach a seed of another.
        ProjectError: the sampler limits the rows of each seed.
    """
    sampler.check(seeds)
    if sampler.max_rows_per_seed is not None:
        raise ProjectError("max_rows_per_seed needs a neighbourhood per seed", hint="sample trees: Sampler.sample")
    instants = np.unique(np.stack([seeds.as_of_us, seeds.visible]), axis=1).shape[1]
    if instants > 1 and has_time(sampler.snapshot):
        hint = "batch seeds of one instant, or sample a tree for each: Sampler.sample"
        raise DataError(f"seeds of {instants:,} instants cannot share neighbours", where=seeds.table, hint=hint)
    found = {name: Found(table.num_rows) for name, table in sampler.snapshot.tables.items()}
    seed_rows = found[seeds.table].number(seeds.rows)
    for each in found.values():
        each.close()
    # One seed stands for all: its instants are theirs, and draws are keyed by the rows expanded.
    first = Seeds(seeds.table, np.zeros(1, np.int64), seeds.as_of_us[:1], seeds.visible[:1]) if len(seeds) else seeds
    reader, blocks = Reader(sampler, first), []
    for hop in range(1, sampler.num_hops + 1):
        for index in np.flatnonzero(sampler.fanout[:, hop - 1]).tolist():
            edge = sampler.edges[index]
            frontier = found[edge.table].last
            step, rows, _, places = reader.read(hop, index, (frontier, np.zeros(len(frontier), np.int32)))
            if not step.total:
                continue
            src = found[edge.other].number(rows)
            dst_start = found[edge.table].ends[-2]
            blocks.append(SharedBlock(hop, edge, dst_start, step.offsets, src, step.num_visible, places))
        for each in found.values():
            each.close()
    return SharedBatch(
        seeds=seeds,
        num_hops=sampler.num_hops,
        rows={name: np.concatenate(each.rows) for name, each in found.items()},
        hop_offsets={name: np.array(each.ends, np.int64) for name, each in found.items()},
        seed_rows=seed_rows,
        blocks=tuple(blocks),
    )


class SharedSampler:
    """Draws one neighbourhood for all seeds of a batch, with the numbers of neighbours of a ``Sampler``.

    Args:
        sampler: with the same number of neighbours at every hop of an edge type.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.trees = sampler

    def redrawn(self, redraw: int) -> SharedSampler:
        """The same with other draws."""
        return SharedSampler(self.trees.redrawn(redraw))

    def sample(self, seeds: Seeds) -> SharedBatch:
        """The neighbourhood of the seeds; errors as ``sample_shared``, and seeds are of one instant in any graph."""
        if len(np.unique(seeds.as_of_us)) > 1:
            hint = "predict rows of one instant together, or train with model.neighbourhood: tree"
            raise DataError("seeds of several instants cannot share rows", where=seeds.table, hint=hint)
        return sample_shared(self.trees, seeds)


def has_time(graph: Graph) -> bool:
    """Whether anything in a graph begins or ends."""
    return any(t.time_us is not None or t.end_us is not None for t in graph.tables.values()) or any(
        link.time_us is not None for link in graph.links
    )


class Found:
    """The rows of one table found so far, and their local numbers."""

    def __init__(self, num_rows: int) -> None:
        self.rows: list[Int64s] = []
        self.ends = [0]
        self._fresh: list[Int64s] = []
        self._num_rows = num_rows
        self._count = 0
        self._table = _table(0)

    @property
    def last(self) -> Int64s:
        """Rows first found at the hop before."""
        return self.rows[-1]

    def number(self, rows: Int64s) -> Int64s:
        """[n] local rows; new ones are numbered in the order they come."""
        if 2 * (self._count + len(rows)) > len(self._table[0]):
            old, self._table = self._table, _table(self._count + len(rows))
            put(self._table, *old)
        local = np.empty(len(rows), np.int64)
        fresh = (np.empty(len(rows), np.int64), np.empty(len(rows), np.int32))
        before = self._count
        no_tree: Int32s = np.zeros(len(rows), np.int32)
        self._count = int(number(self._table, rows, no_tree, self._num_rows, before, local, fresh))
        self._fresh.append(fresh[0][: self._count - before])
        return local

    def find(self, rows: Int64s) -> Int64s:
        """[n] local rows; -1 for those not found so far."""
        local = np.empty(len(rows), np.int64)
        no_tree: Int32s = np.zeros(len(rows), np.int32)
        nothing = (np.empty(0, np.int64), np.empty(0, np.int32))
        number(self._table, rows, no_tree, self._num_rows, -1, local, nothing)
        return local

    def close(self) -> None:
        """End a hop."""
        self.rows.append(np.concatenate([np.empty(0, np.int64), *self._fresh]))
        self.ends.append(self._count)
        self._fresh = []


def _table(num: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An empty hash table with room for that many rows."""
    size = 1 << max(4, (2 * num - 1).bit_length())
    return np.full(size, -1, np.int64), np.empty(size, np.int64)
