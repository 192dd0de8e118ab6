"""Ranked: the best items of each row, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]
NOBODY = -1
"""Fills up lists that have fewer items than asked for."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Items of rows.

    Attributes:
        items: [n, k] int64 class codes or rows of the item table, the best first, then ``NOBODY``.
        scores: [n, k] float64, minus infinity where there is no item.
        num_items: how many there are to choose from.
    """

    items: Int64s
    scores: Floats
    num_items: int

    def __len__(self) -> int:
        return len(self.items)

    def take(self, chosen: NDArray[np.bool_] | Int64s | slice) -> Ranked:
        """The lists of some rows, in their order."""
        return Ranked(self.items[chosen], self.scores[chosen], self.num_items)

    def first(self, top: int) -> Ranked:
        """The best ``top`` of each row."""
        return Ranked(self.items[:, :top], self.scores[:, :top], self.num_items)


def rank(scores: Floats, top: int, items: Int64s | None = None) -> Ranked:
    """The best ``top`` columns of scores; equal ones in the order of the columns, those of minus infinity nowhere.

    Args:
        scores: [n, m].
        top: how many.
        items: [m] what the columns are; their numbers when None.
    """
    width = scores.shape[1]
    top = min(top, width)
    if top < width:  # all that are as good as the last one kept, since the order decides between equals
        least = np.partition(scores, width - top, axis=1)[:, width - top, None] if top else scores[:, :0]
        scores = np.where(scores >= least, scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    best = np.take_along_axis(scores, order, axis=1).astype(np.float64)
    names = order if items is None else items[order]
    return Ranked(np.where(np.isneginf(best), NOBODY, names).astype(np.int64), best, width)


def stacked(parts: Sequence[Ranked], num_items: int, top: int) -> Ranked:
    """The lists of some parts, one behind the other, all ``top`` wide."""
    if not parts:
        return Ranked(np.zeros((0, top), np.int64), np.zeros((0, top)), num_items)
    items = np.full((sum(map(len, parts)), top), NOBODY, np.int64)
    scores, start = np.full(items.shape, -np.inf), 0
    for part in parts:
        width = min(top, part.items.shape[1])
        items[start : start + len(part), :width] = part.items[:, :width]
        scores[start : start + len(part), :width] = part.scores[:, :width]
        start += len(part)
    return Ranked(items, scores, num_items)
