"""Ranking: how good ranked lists are, at the first k of each list.

Average precision is divided by the smaller of k and the number of true items, so that a perfect list has 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kincast.model.ranked import Ranked
from kincast.query.encode import Lists

Floats = NDArray[np.float64]
Weighted = Callable[[Floats], float]
PerRow = Callable[[NDArray[np.bool_], NDArray[np.int64]], Floats]
"""(hit [n, k], number of true items [n]) → value of each row [n]."""
CUTS = (1, 10, 100)


def hits(target: Lists, ranked: Ranked) -> NDArray[np.bool_]:
    """[n, k] whether the true list of the row names the ranked item."""
    width = max(ranked.num_items, int(target.items.max(initial=-1)) + 1, int(ranked.items.max(initial=-1)) + 1)
    true = np.repeat(np.arange(len(target)), target.lengths) * width + target.items.astype(np.int64)
    pairs = np.arange(len(ranked))[:, None] * width + ranked.items
    return np.isin(pairs, true) & (ranked.items >= 0)


def average_precision(hit: NDArray[np.bool_], num_true: NDArray[np.int64]) -> Floats:
    """Mean precision at the places of the hits, over as many true items as the list could hold."""
    places = np.arange(1, hit.shape[1] + 1)
    found = (np.cumsum(hit, axis=1) / places * hit).sum(axis=1)
    return np.asarray(found / np.maximum(np.minimum(num_true, hit.shape[1]), 1))


def precision(hit: NDArray[np.bool_], num_true: NDArray[np.int64]) -> Floats:
    """Share of the list that is true."""
    return np.asarray(hit.mean(axis=1))


def recall(hit: NDArray[np.bool_], num_true: NDArray[np.int64]) -> Floats:
    """Share of the true items that are in the list."""
    return np.asarray(hit.sum(axis=1) / np.maximum(num_true, 1))


def f1(hit: NDArray[np.bool_], num_true: NDArray[np.int64]) -> Floats:
    """Harmonic mean of precision and recall."""
    return np.asarray(2 * hit.sum(axis=1) / np.maximum(hit.shape[1] + num_true, 1))


def ndcg(hit: NDArray[np.bool_], num_true: NDArray[np.int64]) -> Floats:
    """Gain of the hits, discounted by the logarithm of their place, over that of a perfect list.

    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".
    """
    discount = 1 / np.log2(np.arange(2, hit.shape[1] + 2))
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(num_true, hit.shape[1])]
    return np.asarray((hit * discount).sum(axis=1) / np.where(best > 0, best, 1.0))


def reciprocal_rank(hit: NDArray[np.bool_], num_true: NDArray[np.int64]) -> Floats:
    """One over the place of the first hit; 0 without one."""
    return np.where(hit.any(axis=1), 1 / (hit.argmax(axis=1) + 1), 0.0)


def hit_rate(hit: NDArray[np.bool_], num_true: NDArray[np.int64]) -> Floats:
    """Whether there is a hit."""
    return np.asarray(hit.any(axis=1), np.float64)


PER_ROW: dict[str, PerRow] = {
    "map": average_precision,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}


def mean_over_rows(function: PerRow, top: int) -> Callable[[Lists, Ranked], Weighted]:
    """A metric of the first ``top`` that is the mean of a value of each row."""

    def metric(target: Lists, ranked: Ranked) -> Weighted:
        hit = np.zeros((len(ranked), top), np.bool_)
        found = hits(target, ranked.first(top))
        hit[:, : found.shape[1]] = found
        values = function(hit, target.lengths)
        return lambda weights: float((weights * values).sum() / weights.sum())

    return metric


def coverage(top: int) -> Callable[[Lists, Ranked], Weighted]:
    """Share of all items that are among the first ``top`` of some row.

    A bootstrap sample has fewer different rows, so its coverage is smaller: the interval lies below the value.
    """

    def metric(target: Lists, ranked: Ranked) -> Weighted:
        items = ranked.first(top).items
        owner, place = np.nonzero(items >= 0)
        codes = items[owner, place]

        def weighted(weights: Floats) -> float:
            shown = np.zeros(ranked.num_items, np.bool_)
            shown[codes[weights[owner] > 0]] = True
            return float(shown.sum() / max(ranked.num_items, 1))

        return weighted

    return metric


def diversity(top: int) -> Callable[[Lists, Ranked], Weighted]:
    """One minus the mean share of items that the lists of two rows have in common; NaN for a single row.

    Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems".
    """

    def metric(target: Lists, ranked: Ranked) -> Weighted:
        items = ranked.first(top).items
        owner, place = np.nonzero(items >= 0)
        codes, lengths = items[owner, place], (items >= 0).sum(axis=1)

        def weighted(weights: Floats) -> float:
            total, same = weights.sum(), (weights**2).sum()
            if total**2 <= same:
                return float("nan")
            count = np.bincount(codes, weights[owner], 1)
            own = lengths @ (weights**2)
            return float(1 - ((count**2).sum() - own) / (max(items.shape[1], 1) * (total**2 - same)))

        return weighted

    return metric


def ranking_metrics(top: int) -> dict[str, Callable[[Lists, Ranked], Weighted]]:
    """All metrics at 1, 10, 100 and ``top``, those at ``top`` first."""
    cuts = (top, *(cut for cut in CUTS if cut != top))
    found: dict[str, Callable[[Lists, Ranked], Weighted]] = {}
    for cut in cuts:
        found |= {f"{name}@{cut}": mean_over_rows(function, cut) for name, function in PER_ROW.items()}
        found |= {f"coverage@{cut}": coverage(cut), f"diversity@{cut}": diversity(cut)}
    return found
