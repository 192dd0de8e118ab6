"""Without: sampled trees from which rows, or all that was found along a link, are taken out with what hangs on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kincast.sample.batch import Batch, Block, Int64s

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RowCut:
    """A row is taken out wherever it was met; seeds stay.

    Attributes:
        table: its table.
        row: snapshot row.
    """

    table: str
    row: int


@dataclass(frozen=True, slots=True)
class LinkCut:
    """Nothing is found along an edge type.

    Attributes:
        edge: its name.
    """

    edge: str


Cut = RowCut | LinkCut


def without(batch: Batch, cuts: Sequence[Sequence[Cut]]) -> Batch:
    """The batch as it would have been sampled had there been fewer rows, and none to take their places.

    What was reached only through a row that goes, goes with it, and the numbers of visible neighbours shrink by those
    that went.

    Args:
        batch: of n seeds.
        cuts: [n] what is taken out of the tree of each.
    """
    gone = _marked(batch, cuts)
    for block in batch.blocks:  # by hop, so that what goes is known before what hangs on it is looked at
        frontier, found = batch.hop(block)
        gone[block.edge.other][found] |= np.repeat(gone[block.edge.table][frontier], np.diff(block.offsets))
    kept = {name: ~mask for name, mask in gone.items()}
    before = {name: np.concatenate([[0], np.cumsum(mask)]) for name, mask in kept.items()}
    blocks = [_shorter(batch, block, kept, before) for block in batch.blocks]
    return replace(
        batch,
        rows={name: rows[kept[name]] for name, rows in batch.rows.items()},
        seed={name: seed[kept[name]] for name, seed in batch.seed.items()},
        hop_offsets={name: before[name][offsets] for name, offsets in batch.hop_offsets.items()},
        blocks=tuple(block for block in blocks if block.num_src),
    )


def _marked(batch: Batch, cuts: Sequence[Sequence[Cut]]) -> dict[str, Bools]:
    """Table → [n_t] local rows that are cut themselves."""
    rows: dict[str, list[tuple[int, int]]] = {}
    links: dict[str, list[int]] = {}
    for seed, own in enumerate(cuts):
        for cut in own:
            if isinstance(cut, RowCut):
                rows.setdefault(cut.table, []).append((seed, cut.row))
            else:
                links.setdefault(cut.edge, []).append(seed)
    gone = {name: np.zeros(len(local), np.bool_) for name, local in batch.rows.items()}
    for name, pairs in rows.items():
        seeds, wanted = np.array(pairs, np.int64).T
        width = int(max(batch.rows[name].max(initial=0), wanted.max())) + 1
        met = batch.seed[name].astype(np.int64) * width + batch.rows[name]
        gone[name] = np.isin(met, seeds * width + wanted)
    gone[batch.seeds.table][: len(batch.seeds)] = False
    for block in batch.blocks:
        if block.edge.name in links:
            _, found = batch.hop(block)
            gone[block.edge.other][found] |= np.isin(batch.seed[block.edge.other][found], links[block.edge.name])
    return gone


def _shorter(batch: Batch, block: Block, kept: dict[str, Bools], before: dict[str, Int64s]) -> Block:
    """The block of the rows that stay."""
    frontier, found = batch.hop(block)
    own, others = kept[block.edge.table][frontier], kept[block.edge.other][found]
    upto = np.concatenate([[0], np.cumsum(others)])[block.offsets]  # kept neighbours before each frontier row's
    lost = np.diff(block.offsets) - np.diff(upto)
    return Block(
        block.hop,
        block.edge,
        int(before[block.edge.table][block.dst_start]),
        int(own.sum()),
        int(before[block.edge.other][block.src_start]),
        np.concatenate([[0], np.cumsum(np.diff(upto)[own])]),
        (block.num_visible - lost)[own],
        None if block.places is None else block.places[others],
    )
