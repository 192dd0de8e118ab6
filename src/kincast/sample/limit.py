"""Limit: no more than so many rows in the tree of one seed."""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled


@compiled
def shorten(left, steps, seed, offsets):  # type: ignore[no-untyped-def]
    """Shorten the lists of one hop where a tree would exceed its allowance.

    The longest first, all to the same length, and what is then left of the allowance goes, one each, to the first lists
    that were shortened. It depends on nothing but the seed's own tree.

    Args:
        left: [num_seeds] int64 rows that each tree may still gain; lowered.
        steps: [k, 6] int64 as in ``count_hop``.
        seed: [num] int32 of the rows of all frontiers.
        offsets: of ``count_hop``; lowered.
    """
    num_seeds = left.shape[0]
    longest = np.int64(0)
    place = 0
    for k in range(steps.shape[0]):
        for i in range(place, place + steps[k, 2]):
            longest = max(longest, offsets[i + 1] - offsets[i])
        place += steps[k, 2] + 1
    # The greatest length at which a tree fits: bisected for all seeds together.
    low, high = np.zeros(num_seeds, np.int64), np.full(num_seeds, longest, np.int64)
    sizes, middle = np.empty(num_seeds, np.int64), np.empty(num_seeds, np.int64)
    while (low < high).any():
        for i in range(num_seeds):
            middle[i] = (low[i] + high[i] + 1) // 2
        _sizes(steps, seed, offsets, middle, sizes)
        for i in range(num_seeds):
            if sizes[i] <= left[i]:
                low[i] = middle[i]
            else:
                high[i] = middle[i] - 1
    _sizes(steps, seed, offsets, low, sizes)
    left -= sizes
    place = 0
    for k in range(steps.shape[0]):
        before = offsets[place]
        for i in range(steps[k, 2]):
            own = seed[steps[k, 1] + i]
            count = offsets[place + i + 1] - before
            before = offsets[place + i + 1]
            if count > low[own]:
                count = low[own]
                if left[own] > 0:
                    left[own] -= 1
                    count += 1
            offsets[place + i + 1] = offsets[place + i] + count
        place += steps[k, 2] + 1


@compiled
def _sizes(steps, seed, offsets, length, sizes):  # type: ignore[no-untyped-def]
    """Rows that each tree would gain with lists of at most that length: sizes [num_seeds] int64, written."""
    sizes[:] = 0
    place = 0
    for k in range(steps.shape[0]):
        for i in range(steps[k, 2]):
            own = seed[steps[k, 1] + i]
            sizes[own] += min(offsets[place + i + 1] - offsets[place + i], length[own])
        place += steps[k, 2] + 1
