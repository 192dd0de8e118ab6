"""Limit: no more than so many rows in the tree of one seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kincast.compile import compiled
from kincast.sample.batch import Int32s, Int64s


class Limit:
    """What every seed of a batch may still take.

    A hop that would exceed it has its lists shortened: the longest first, all to the same length, and what is then
    left of the allowance goes, one each, to the first lists that were shortened. It depends on nothing but the seed's
    own tree.

    Args:
        num_seeds: of the batch; each is a row itself.
        max_rows: of a tree.
    """

    def __init__(self, num_seeds: int, max_rows: int) -> None:
        self._left = np.full(num_seeds, max_rows - 1, np.int64)

    def shorten(self, lists: Sequence[tuple[Int32s, Int64s]]) -> list[Int64s]:
        """Offsets of one hop's lists as they may be.

        Args:
            lists: per edge type, in order: the seed [n] of each list, and offsets [n + 1].

        Returns:
            per edge type [n + 1] int64.
        """
        longest = max((int(np.diff(offsets).max()) for _, offsets in lists), default=0)
        # The greatest length at which a tree fits: bisected for all seeds together.
        low, high = np.zeros_like(self._left), np.full_like(self._left, longest)
        while (low < high).any():
            middle = (low + high + 1) // 2
            fits = self._sizes(lists, middle) <= self._left
            low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        self._left -= self._sizes(lists, low)
        cut = []
        for seed, offsets in lists:
            new = np.empty_like(offsets)
            _cut(seed, offsets, low, self._left, new)
            cut.append(new)
        return cut

    def _sizes(self, lists: Sequence[tuple[Int32s, Int64s]], length: Int64s) -> Int64s:
        """[num_seeds] rows that each tree would gain with lists of at most that length."""
        sizes = np.zeros_like(self._left)
        for seed, offsets in lists:
            _add(seed, offsets, length, sizes)
        return sizes


@compiled
def _add(seed, offsets, length, sizes):  # type: ignore[no-untyped-def]
    for i in range(seed.shape[0]):
        sizes[seed[i]] += min(offsets[i + 1] - offsets[i], length[seed[i]])


@compiled
def _cut(seed, offsets, length, left, new):  # type: ignore[no-untyped-def]
    new[0] = 0
    for i in range(seed.shape[0]):
        count = offsets[i + 1] - offsets[i]
        if count > length[seed[i]]:
            count = length[seed[i]]
            if left[seed[i]] > 0:
                left[seed[i]] -= 1
                count += 1
        new[i + 1] = new[i] + count
