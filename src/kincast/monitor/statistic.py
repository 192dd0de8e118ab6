"""Statistic: how far two samples are apart, with a lower bound that knows how many rows there were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_PSI_BINS = 10
_MIN_EXPECTED = 5.0


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance between two samples on a scale from 0 (alike) to 1.

    Attributes:
        value: as measured; never 0 by chance alone.
        low: what it is at least, at the confidence asked for; 0 when chance explains all of it.
    """

    value: float
    low: float


def ks_distance(old: Floats, new: Floats, alpha: float) -> Distance:
    """Largest difference of the two distribution functions (Kolmogorov and Smirnov).

    ``low = D - K(1 - alpha) sqrt(1/n + 1/m)``, with K the quantile of Kolmogorov's distribution: the difference of
    the empirical functions strays from the true one by more with probability alpha at most, asymptotically, and
    less for values with ties.

    Args:
        old: [n] values, n > 0.
        new: [m] values, m > 0.
        alpha: probability that ``low`` is too high.
    """
    old, new = np.sort(old), np.sort(new)
    points = np.concatenate([old, new])
    below_old = np.searchsorted(old, points, side="right") / len(old)
    below_new = np.searchsorted(new, points, side="right") / len(new)
    value = float(np.abs(below_old - below_new).max())
    chance = float(special.kolmogi(alpha)) * math.sqrt(1 / len(old) + 1 / len(new))
    return Distance(value, max(0.0, value - chance))


def wasserstein_in_sd(old: Floats, new: Floats) -> float:
    """Mean distance by which values moved, in standard deviations of the old ones; NaN where those are all equal."""
    spread = float(np.std(old))
    moved = float(stats.wasserstein_distance(old, new))
    if moved == 0.0:
        return 0.0
    return moved / spread if spread > 0 else math.nan


def psi(old: Floats, new: Floats) -> float:
    """Population stability index over ten quantile bins of the old values; reported, never an alarm.

    Its size depends on the number of rows: near 18/n + 18/m by chance alone.
    """
    edges = np.unique(np.quantile(old, np.linspace(0, 1, _PSI_BINS + 1)[1:-1]))
    bins = [np.searchsorted(edges, side, side="left") for side in (old, new)]
    if len(edges) < _PSI_BINS - 1:  # many equal values: those on an edge get a bin of their own
        bins = [n + np.searchsorted(edges, side, side="right") for n, side in zip(bins, (old, new), strict=True)]
    p, q = (np.bincount(side, minlength=2 * len(edges) + 1) for side in bins)
    shares = [np.maximum(counts / counts.sum(), 1e-4) for counts in (p, q)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def category_distance(old: Int64s, new: Int64s, alpha: float) -> Distance:
    """Cramér's V between sample and category, as it would be for samples of equal size.

    ``chi2 (n + m) / (n m) / 4 = V^2``; ``low`` inverts the non-central chi-square distribution. Categories too rare
    for that distribution (fewer than 5 expected in the smaller sample) are counted as one.

    Args:
        old: [c] rows per category, at least one in all.
        new: [c] rows per category, at least one in all.
        alpha: probability that ``low`` is too high.
    """
    n, m = int(old.sum()), int(new.sum())
    rare = (old + new) * (min(n, m) / (n + m)) < _MIN_EXPECTED
    table = np.array([np.append(counts[~rare], counts[rare].sum()) for counts in (old, new)], np.float64)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return Distance(0.0, 0.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / (n + m)
    chi2 = float(((table - expected) ** 2 / expected).sum())
    to_v = (n + m) / (n * m) / 4
    excess = _noncentrality(chi2, table.shape[1] - 1, alpha)
    return Distance(min(1.0, math.sqrt(chi2 * to_v)), min(1.0, math.sqrt(excess * to_v)))


def share_distance(old: tuple[int, int], new: tuple[int, int], alpha: float) -> Distance:
    """Difference of two shares, with Newcombe's hybrid score interval.

    Source: Newcombe, Interval estimation for the difference between independent proportions, 1998, method 10.

    Args:
        old: how many of how many, the latter > 0.
        new: how many of how many, the latter > 0.
        alpha: probability that ``low`` is too high.
    """
    (p, p_low, p_high), (q, q_low, q_high) = (_wilson(*counts, alpha) for counts in (old, new))
    if p > q:
        p, p_low, p_high, q, q_low, q_high = q, q_low, q_high, p, p_low, p_high
    return Distance(q - p, max(0.0, q - p - math.hypot(q - q_low, p_high - p)))


def unseen_share(old: Int64s, new: Int64s, alpha: float) -> Distance:
    """Share of new rows whose category no old row has; ``low`` is what exceeds the share to be expected.

    Where many categories are rare, some unseen ones are no news: their expected share is about that of the old
    categories seen once (Good and Turing).

    Args:
        old: [c] rows per category, at least one in all.
        new: [c] rows per category, at least one in all.
        alpha: probability that ``low`` is too high.
    """
    unseen, total = int(new[old == 0].sum()), int(new.sum())
    once, seen = int((old == 1).sum()), int(old.sum())
    share, low, _ = _wilson(unseen, total, alpha)
    _, _, expected = _wilson(once, seen, alpha) if once else (0.0, 0.0, 0.0)
    return Distance(share, max(0.0, low - expected) if unseen else 0.0)


def rate_ratio(old: int, new: int, alpha: float) -> tuple[float, float]:
    """How many times as many rows came in a stretch as in one of the same length before.

    Returns:
        the ratio, and the end of its interval that is nearer to 1 (1 when chance explains the difference).
    """
    ratio = math.log((new + 0.5) / (old + 0.5))
    chance = float(stats.norm.isf(alpha / 2)) * math.sqrt(1 / (new + 0.5) + 1 / (old + 0.5))
    return math.exp(ratio), math.exp(math.copysign(max(0.0, abs(ratio) - chance), ratio))


def count_categories(old: Sequence[Any], new: Sequence[Any]) -> tuple[list[Any], Int64s, Int64s]:
    """Categories of both samples and [c] int64 rows of each in either."""
    codes: dict[Any, int] = {}
    numbered = [np.array([codes.setdefault(value, len(codes)) for value in side], np.int64) for side in (old, new)]
    counts = [np.bincount(side, minlength=len(codes)).astype(np.int64) for side in numbered]
    return list(codes), counts[0], counts[1]


def _wilson(count: int, total: int, alpha: float) -> tuple[float, float, float]:
    z = float(stats.norm.isf(alpha / 2))
    share = count / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return share, max(0.0, centre - half), min(1.0, centre + half)


def _noncentrality(chi2: float, freedom: int, alpha: float) -> float:
    # The smallest excess over chance under which so large a chi2 still has probability alpha.
    if chi2 <= 0 or stats.chi2.sf(chi2, freedom) >= alpha:
        return 0.0
    if freedom + chi2 > 20_000:  # the exact tail loses its digits there; the normal one is as good
        spread = float(stats.norm.isf(alpha)) * math.sqrt(2 * freedom + 4 * max(chi2 - freedom, 0.0))
        return max(0.0, chi2 - freedom - spread)
    return float(optimize.brentq(lambda x: stats.ncx2.sf(chi2, freedom, x) - alpha, 1e-9, chi2, xtol=1e-6))
