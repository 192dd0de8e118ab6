"""Share: rows that the last hop of several trees has in common are read and encoded once.

A row of the last hop has heard nothing yet: its vector is its features and ages, which depend on the row and the
instant alone. Wherever it was met before at that instant, and, of a table without any time, at any instant, the vector
is the same. The commonest case is the way back along the link just followed: from a user's orders to the user.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from kincast.compile import compiled
from kincast.sample.batch import Batch, Int32s, Int64s

WORTH = 0.8
"""Rows are shared when at most this share of a table's rows of the last hop remains."""


@dataclass(frozen=True, slots=True)
class LocalRows:
    """The local rows of a batch.

    Attributes:
        rows, seed, hop_offsets: as of ``Batch``; where rows are shared, those of the last hop are fewer.
        src: of each block the local rows of its neighbours, int64; None where they are contiguous as in the batch.
    """

    rows: dict[str, Int64s]
    seed: dict[str, Int32s]
    hop_offsets: dict[str, Int64s]
    src: tuple[Int64s | None, ...]


def local_rows(batch: Batch) -> LocalRows:
    """Those of the trees, nothing shared."""
    return LocalRows(batch.rows, batch.seed, batch.hop_offsets, (None,) * len(batch.blocks))


def shared_rows(batch: Batch, timeless: Collection[str], apart: str | None = None) -> LocalRows:
    """Those of the trees, with rows of the last hop shared where that saves some.

    Args:
        batch: the trees.
        timeless: tables whose rows are encoded alike at every instant.
        apart: table whose rows must be told apart; None for none.
    """
    rows, seed, hop_offsets = dict(batch.rows), dict(batch.seed), dict(batch.hop_offsets)
    places: dict[str, Int64s] = {}
    for name in rows:
        num_inner, num = hop_offsets[name][-2:].tolist()
        if name == apart or num == num_inner:
            continue
        instants = np.zeros(1, np.int64) if name in timeless else batch.seeds.as_of_us
        place, kept = np.empty(num, np.int64), np.empty(num, np.int64)
        num_kept = _share(rows[name], seed[name], instants, num_inner, place, kept)
        if num_kept - num_inner <= WORTH * (num - num_inner):
            places[name] = place
            rows[name], seed[name] = rows[name][kept[:num_kept]], seed[name][kept[:num_kept]]
            hop_offsets[name] = np.append(hop_offsets[name][:-1], num_kept)
    src = tuple(
        places[block.edge.other][block.src_start : block.src_start + block.num_src]
        if block.hop == batch.num_hops and block.edge.other in places
        else None
        for block in batch.blocks
    )
    return LocalRows(rows, seed, hop_offsets, src)


@compiled
def _share(rows, seed, instants, num_inner, place, kept):  # type: ignore[no-untyped-def]
    """Give each row the first local row that is the same.

    Args:
        rows, seed: [n] of the local rows; those of the last hop begin at ``num_inner`` and the others all stay.
        instants: [num_seeds] int64, or [1] where they do not matter.
        place: [n] int64, written: new local row of each.
        kept: [n] int64, written: old local rows of the new ones.

    Returns:
        how many are kept.
    """
    size = 16
    while size < 2 * rows.shape[0]:
        size *= 2
    mask, one_instant = np.uint64(size - 1), instants.shape[0] == 1
    slots = np.full(size, -1, np.int64)  # old local rows
    num = 0
    for i in range(rows.shape[0]):
        instant = instants[0] if one_instant else instants[seed[i]]
        mixed = (np.uint64(rows[i]) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(instant)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        slot = (mixed ^ (mixed >> np.uint64(32))) & mask
        found = slots[slot]
        while found >= 0 and not (rows[found] == rows[i] and (one_instant or instants[seed[found]] == instant)):
            slot = (slot + np.uint64(1)) & mask
            found = slots[slot]
        if found < 0:
            slots[slot] = i
        if found < 0 or i < num_inner:
            place[i] = num
            kept[num] = i
            num += 1
        else:
            place[i] = place[found]
    return num
