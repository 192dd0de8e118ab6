"""Batch: seeds in, sampled neighbourhoods out: plain arrays grouped by destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.sample.edge import EdgeType
from kincast.sample.hetero import EdgeIndex, hetero_data

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Seeds:
    """Rows of one table, each at an instant.

    Attributes:
        table: whose rows they are.
        rows: [n] int64 snapshot rows.
        as_of_us: [n] int64 the instant each is predicted at.
        visible_us: [n] int64 facts later than this are not seen; ``as_of_us`` when None.
    """

    table: str
    rows: Int64s
    as_of_us: Int64s
    visible_us: Int64s | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "as_of_us", "visible_us"):
            values = getattr(self, name)
            if values is None:
                continue
            values = np.require(values, np.int64, ["C", "W"])  # loops are compiled for arrays that may be written
            if values.ndim != 1 or len(values) != len(self.rows):
                raise DataError(
                    f"{name} has shape {values.shape}, expected [{len(self.rows)}]", where=f"seeds of {self.table}"
                )
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def visible(self) -> Int64s:
        """[n] int64 the instant up to which facts are seen."""
        return self.as_of_us if self.visible_us is None else self.visible_us

    def take(self, index: Int64s | slice) -> Seeds:
        """The seeds at those positions, in that order."""
        visible = None if self.visible_us is None else self.visible_us[index]
        return Seeds(self.table, self.rows[index], self.as_of_us[index], visible)


@dataclass(frozen=True, slots=True)
class Block:
    """One hop along one edge type: the neighbours of each frontier row, contiguous. A tree: nothing is shared.

    Frontier row ``i`` is local row ``dst_start + i`` of ``edge.table``; its neighbours are local rows
    ``src_start + offsets[i] .. src_start + offsets[i + 1]`` of ``edge.other``; newest first for ``last``.

    Attributes:
        hop: from 1.
        edge: the direction followed.
        dst_start: first local row of the frontier, which is all rows of ``edge.table`` found at ``hop - 1``.
        num_dst: frontier rows.
        src_start: first local row of the neighbours.
        offsets: [num_dst + 1] int64.
        num_visible: [num_dst] int64 how many neighbours each frontier row could see before the fanout cut them.
        places: [num_src] int64 where each edge is in the arrays of its link (along a foreign key, the row that holds
            it); None unless the sampler keeps them.
    """

    hop: int
    edge: EdgeType
    dst_start: int
    num_dst: int
    src_start: int
    offsets: Int64s
    num_visible: Int64s
    places: Int64s | None = None

    @property
    def num_src(self) -> int:
        """Neighbours of all frontier rows together, which is also the number of edges."""
        return int(self.offsets[-1])


@dataclass(frozen=True, slots=True)
class Batch:
    """Seeds with their sampled neighbourhoods.

    Every table of the schema is a key of ``rows``, ``seed`` and ``hop_offsets``, also those without rows.

    Attributes:
        seeds: as given.
        num_hops: links away from the seeds at most.
        rows: table → [n_t] int64 snapshot rows in local order: hop 0, hop 1, ...; the seeds are the first
            ``len(seeds)`` local rows of their table, in their order.
        seed: table → [n_t] int32 index of the seed whose tree the local row belongs to.
        hop_offsets: table → [num_hops + 2] int64; local rows of hop h are ``hop_offsets[h] .. hop_offsets[h + 1]``.
        blocks: by hop, then in edge order; empty ones left out.
    """

    seeds: Seeds
    num_hops: int
    rows: dict[str, Int64s]
    seed: dict[str, Int32s]
    hop_offsets: dict[str, Int64s]
    blocks: tuple[Block, ...]

    @property
    def num_edges(self) -> int:
        """Sampled edges of all blocks."""
        return sum(block.num_src for block in self.blocks)

    def to_pyg(self) -> HeteroData:
        """As PyTorch Geometric's ``HeteroData``, laid out as by its own disjoint loaders; ``batch`` is the seed.

        Raises:
            MissingExtraError: PyTorch Geometric is not installed.
        """
        edges = [
            (
                EdgeIndex(
                    block.hop,
                    block.edge,
                    block.src_start + np.arange(block.num_src),
                    block.dst_start + np.repeat(np.arange(block.num_dst), np.diff(block.offsets)),
                ),
                block.places,
            )
            for block in self.blocks
        ]
        extra = {name: {"batch": seed.astype(np.int64)} for name, seed in self.seed.items()}
        return hetero_data(self.seeds, self.rows, self.hop_offsets, edges, extra)

    def hop(self, block: Block) -> tuple[slice, slice]:
        """Local rows of a block: its frontier in ``edge.table`` and its neighbours in ``edge.other``."""
        return (
            slice(block.dst_start, block.dst_start + block.num_dst),
            slice(block.src_start, block.src_start + block.num_src),
        )
