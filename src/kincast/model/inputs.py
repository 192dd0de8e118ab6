"""Inputs: a sampled batch as tensors: features per table, ages, and the edges of each hop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kincast.clock import DAY_US
from kincast.feature.convert import NO_INSTANT
from kincast.feature.store import RowFeatures, TableFeatures
from kincast.model.fused import spread
from kincast.model.share import local_rows, shared_rows
from kincast.query.past import PastValues
from kincast.sample.batch import Batch, Block
from kincast.sample.edge import EdgeType
from kincast.sample.shared import SharedBatch, SharedBlock


@dataclass(frozen=True, slots=True)
class TableInputs:
    """Features of the local rows of one table.

    Attributes:
        numeric: float32 [n, numeric_width].
        codes: int32 [n, categorical columns].
        ages: float32 [n, 1 + instant columns]: days from the row's time, and from each instant, to the seed's
            as-of; NaN where there is none.
        mixed: float32 [n, channels] what an encoder reads instead, as its ``mix`` gives it; None for the above.
    """

    numeric: Tensor
    codes: Tensor
    ages: Tensor
    mixed: Tensor | None = None


@dataclass(frozen=True, slots=True)
class EdgeInputs:
    """One hop along one edge type: neighbours of a contiguous frontier, contiguous themselves unless rows are shared.

    Attributes:
        hop: from 1.
        edge: the direction followed.
        dst_start, num_dst: the frontier's local rows in ``edge.table``.
        src_start: first neighbour's local row in ``edge.other``.
        offsets: [num_dst + 1] int64.
        num_visible: float32 [num_dst] how many neighbours could be seen before the fanout cut them.
        src: int64 [edges] local rows of the neighbours where rows are shared; None in a tree.
    """

    hop: int
    edge: EdgeType
    dst_start: int
    num_dst: int
    src_start: int
    offsets: Tensor
    num_visible: Tensor
    src: Tensor | None = None

    def neighbours(self, hidden: Tensor) -> Tensor:
        """Vectors [edges, width] of the neighbours, of those of all local rows of ``edge.other``."""
        if self.src is not None:
            return spread(hidden, self.src)
        start, stop = self.src_start, self.src_start + int(self.offsets[-1])
        return hidden if start == 0 and stop == len(hidden) else hidden[start:stop]


@dataclass(frozen=True, slots=True)
class Places:
    """Which rows the local rows of a table are.

    Attributes:
        rows: int64 [n] snapshot rows.
        seed: int64 [n] the seed whose tree each belongs to.
    """

    rows: Tensor
    seed: Tensor


@dataclass(frozen=True, slots=True)
class ReachedInputs:
    """Items that the seeds of a batch reach over facts they share with others.

    Attributes:
        seed, item: int64 [p] pairs of a seed and an item's snapshot row, each once.
        values: float32 [p, WALK_WIDTH + STATE_WIDTH] how strongly, and how much the item is in demand.
    """

    seed: Tensor
    item: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a network reads of one batch.

    Attributes:
        num_seeds: how many.
        seed_table: whose rows they are.
        tables: features of the local rows of each table.
        hop_offsets: as of ``Batch``.
        edges: by hop.
        past: float32 [num_seeds, lags] past values of the target; None where none are read.
        places: table → rows and seeds of its local rows, for tables whose rows must be told apart.
        seed_rows: int64 [num_seeds] local rows of the seeds; None where they are the first.
        reached: items over shared facts; None where they are not read.
    """

    num_seeds: int
    seed_table: str
    tables: dict[str, TableInputs]
    hop_offsets: dict[str, tuple[int, ...]]
    edges: tuple[EdgeInputs, ...]
    past: Tensor | None = None
    places: dict[str, Places] = field(default_factory=dict)
    seed_rows: Tensor | None = None
    reached: ReachedInputs | None = None

    @property
    def num_hops(self) -> int:
        """Links away from the seeds at most."""
        return len(next(iter(self.hop_offsets.values()))) - 2


def make_inputs(
    batch: Batch | SharedBatch,
    features: Mapping[str, TableFeatures],
    past: PastValues | None = None,
    placed: str | None = None,
    *,
    shared: bool = False,
) -> Inputs:
    """Gather the features of every sampled row.

    Args:
        batch: the sampled rows.
        features: table → features of all its rows.
        past: of the target; None where none is read.
        placed: table whose rows must be told apart, in trees; None for none.
        shared: of a tree, keep one of the last hop's rows that are encoded alike, as ``kincast.model.share`` says; the
            network's answers are the same.
    """
    seeds = batch.seeds
    found = None if past is None else torch.from_numpy(past.read(seeds.rows, seeds.as_of_us, seeds.visible))
    places = {}
    if isinstance(batch, SharedBatch):
        as_of_us = {name: _instants(batch, name) for name in batch.rows}
        rows, hop_offsets = batch.rows, batch.hop_offsets
        edges = [_edge_inputs(block, block.src) for block in batch.blocks]
    else:
        timeless = [name for name, table in features.items() if not table.spec.calendar and not table.spec.instants]
        local = shared_rows(batch, timeless, placed) if shared else local_rows(batch)
        as_of_us = {name: seeds.as_of_us[seed] for name, seed in local.seed.items()}
        rows, hop_offsets = local.rows, local.hop_offsets
        edges = [_edge_inputs(block, src) for block, src in zip(batch.blocks, local.src, strict=True)]
        if placed is not None:
            of = torch.from_numpy(local.seed[placed].astype(np.int64))
            places[placed] = Places(torch.from_numpy(local.rows[placed]), of)
    return Inputs(
        num_seeds=len(seeds),
        seed_table=seeds.table,
        tables={name: _table_inputs(features[name], own, as_of_us[name]) for name, own in rows.items()},
        hop_offsets={name: tuple(int(offset) for offset in offsets) for name, offsets in hop_offsets.items()},
        edges=tuple(edges),
        past=found,
        places=places,
        seed_rows=torch.from_numpy(batch.seed_rows) if isinstance(batch, SharedBatch) else None,
    )


def _instants(batch: SharedBatch, table: str) -> NDArray[np.int64]:
    """[n] the instant at which each local row of a table is looked at: shared rows have one for all."""
    instants = batch.seeds.as_of_us
    return np.broadcast_to(instants[:1], len(batch.rows[table]) if len(instants) else 0)


def _table_inputs(features: TableFeatures, rows: NDArray[np.int64], as_of_us: NDArray[np.int64]) -> TableInputs:
    found = features.gather(rows)
    spec = features.spec
    ages = np.empty((len(rows), 1 + len(spec.instants)), dtype=np.float32)
    if not spec.calendar:
        ages[:, 0] = np.nan
    missing = found.instants_us == NO_INSTANT
    known = ages[:, 1 - int(spec.calendar) :]  # the columns that there are instants for
    known[:] = (as_of_us[:, None] - np.where(missing, 0, found.instants_us)) / DAY_US
    known[missing] = np.nan
    numeric = as_float32(features, found)
    return TableInputs(numeric=numeric, codes=torch.from_numpy(found.codes), ages=torch.from_numpy(ages))


def gathered_numbers(features: TableFeatures, rows: NDArray[np.int64]) -> Tensor:
    """The numbers of rows [n] as a model reads them: float32 [n, numeric_width]."""
    return as_float32(features, features.gather(rows))


def as_float32(features: TableFeatures, found: RowFeatures) -> Tensor:
    """The numbers that were gathered, [n, numeric_width], in the scale that models read."""
    # float32 stays where it was gathered to; other types are converted faster by torch than by NumPy.
    numbers = torch.from_numpy(found.numbers).to(torch.float32)
    return numbers if features.scales is None else numbers.mul_(torch.from_numpy(features.scales))


def _edge_inputs(block: Block | SharedBlock, src: NDArray[np.int64] | None) -> EdgeInputs:
    return EdgeInputs(
        hop=block.hop,
        edge=block.edge,
        dst_start=block.dst_start,
        num_dst=len(block.offsets) - 1,
        src_start=0 if isinstance(block, SharedBlock) else block.src_start,
        offsets=torch.from_numpy(block.offsets),
        num_visible=torch.from_numpy(block.num_visible.astype(np.float32)),
        src=None if src is None else torch.from_numpy(src),
    )
