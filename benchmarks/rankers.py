"""Rankers: what ranked lists are held against: popularity, what one had before, item-kNN, matrix factorisation.

Each is a function from what had happened by an instant to a score for every item; none sees a later fact. Matrix
factorisation is fitted anew a few times a year, and the vectors of those asked about are solved for at each instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kincast.clock import DAY_US
from kincast.model.item import Facts, Items, instants
from kincast.model.ranked import Ranked, rank, stacked
from kincast.sample.batch import Seeds

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
SHRINKAGE = (20.0, 100.0, 500.0)
NEIGHBOURS = (100, 10_000)
NEWEST = (20, 10_000)
"""Of item-kNN: added to the norms, items that each counts for, and how many of one's own newest facts are read."""
FACTORS, ALPHAS, PENALTIES, SWEEPS, REFIT_DAYS = (8, 32), (1.0, 10.0), (10.0, 100.0, 1_000.0), 8, 180.0
"""Of alternating least squares; the factors of items are fitted anew after so many days."""


@dataclass(frozen=True, slots=True)
class Known:
    """What had happened by an instant.

    Attributes:
        facts: those, in the order of time.
        at_us: the instant.
        counts: [entities, items] how often.
    """

    facts: Facts
    at_us: int
    counts: sparse.csr_matrix

    def since(self, days: float) -> Floats:
        """[items] how many facts of each are no older than that."""
        assert self.facts.time_us is not None
        start = np.searchsorted(self.facts.time_us, self.at_us - days * DAY_US, side="right")
        return np.bincount(self.facts.item[start:], minlength=self.counts.shape[1]).astype(np.float64)

    def own(self, row: int, newest: int) -> Int64s:
        """Different items of the newest facts of an entity."""
        return np.unique(self.facts.item[np.flatnonzero(self.facts.entity == row)[-newest:]])


Rule = Callable[[Known, Int64s], Floats]
"""(what is known, [n] rows of the entity table) → [n, items] scores."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Makes ranked lists out of scores, the same for every rule.

    Attributes:
        items: of the task.
        facts: that the rules may read, in the order of time.
        num_entities: rows of the entity table.
        fresh: items that one has already are no candidates.
    """

    items: Items
    facts: Facts
    num_entities: int
    fresh: bool

    def of(self, rule: Rule, seeds: Seeds) -> Ranked:
        """The best items of every seed."""
        top = min(self.items.top, self.items.num_items)
        found = stacked([], self.items.num_items, top)
        items, scores = np.empty((len(seeds), top), np.int64), np.empty((len(seeds), top))
        for known, there, here in self._instants(seeds):
            rows = seeds.rows[here]
            values = np.where(there, rule(known, rows), -np.inf)
            if self.fresh:
                values[known.counts[rows].toarray() > 0] = -np.inf
            best = rank(values, top)
            items[here], scores[here] = best.items, best.scores
        return Ranked(items, scores, found.num_items)

    def _instants(self, seeds: Seeds) -> Iterator[tuple[Known, NDArray[np.bool_], Int64s]]:
        shape = (self.num_entities, self.items.num_items)
        for as_of, visible, here in instants(seeds):
            until = self.facts.seen(visible, self.items.strict)
            assert self.facts.time_us is not None
            parts = (self.facts.entity[:until], self.facts.item[:until], self.facts.time_us[:until])
            of = parts[0] >= 0
            ones = np.ones(int(of.sum()))
            counts = sparse.csr_matrix((ones, (parts[0][of], parts[1][of])), shape=shape)
            yield Known(Facts(*parts, None), visible, counts), self.items.exist(as_of), here


def named(facts: Facts, kept: NDArray[np.bool_]) -> Facts:
    """The facts that lead to an item and are among those kept."""
    assert facts.time_us is not None
    kept = kept & (facts.item >= 0)
    return Facts(facts.entity[kept], facts.item[kept], facts.time_us[kept], None)


def popularity() -> dict[str, Rule]:
    """What everybody had within so many days; what nobody had then in the order of all times."""

    def rule(days: float) -> Rule:
        def scores(known: Known, rows: Int64s) -> Floats:
            ever = known.since(1e5)
            return np.tile(known.since(days) + ever / (ever.max() + 1), (len(rows), 1))

        return scores

    return {f"{days:g} days": rule(days) for days in (7, 30, 90, 365, 1e5)}


def repeat() -> dict[str, Rule]:
    """One's own items, the most frequent or the newest first; behind them the most popular ones."""

    def rule(half_life: float) -> Rule:
        def scores(known: Known, rows: Int64s) -> Floats:
            assert known.facts.time_us is not None
            popular = known.since(1e5)
            found = np.tile(popular / (popular.max() + 1), (len(rows), 1)) * 1e-6
            for place, row in enumerate(rows.tolist()):
                own = np.flatnonzero(known.facts.entity == row)
                age = (known.at_us - known.facts.time_us[own]) / DAY_US
                np.add.at(found[place], known.facts.item[own], 0.5 ** (age / half_life))
            return found

        return scores

    return {f"half-life {days:g} days": rule(days) for days in (3, 30, 90, 1e5)}


def item_neighbours() -> dict[str, Rule]:
    """Item-kNN: the sum of cosines of an item to one's own, of each of these over its nearest neighbours only."""

    def rule(newest: int, shrinkage: float, neighbours: int) -> Rule:
        def scores(known: Known, rows: Int64s) -> Floats:
            had = (known.counts > 0).astype(np.float64).tocsc()
            degree = np.asarray(had.sum(axis=0))[0]
            found = np.zeros((len(rows), had.shape[1]))
            for place, row in enumerate(rows.tolist()):
                own = known.own(row, newest)
                both = (had[:, own].T @ had).toarray()
                both[np.arange(len(own)), own] = 0.0
                near = both / (np.sqrt(degree[own][:, None] * degree[None]) + shrinkage + 1e-12)
                if neighbours < near.shape[1] and len(own):
                    least = np.partition(near, near.shape[1] - neighbours, axis=1)[:, near.shape[1] - neighbours]
                    near[near < least[:, None]] = 0.0
                found[place] = near.sum(axis=0)
            return found + degree * 1e-9

        return scores

    grid = product(NEWEST, SHRINKAGE, NEIGHBOURS)
    return {f"newest {n}, shrinkage {s:g}, {k} neighbours": rule(n, s, k) for n, s, k in grid}


def factorisation(seed: int) -> dict[str, Rule]:
    """Matrix factorisation by alternating least squares over implicit feedback.

    Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets".

    Args:
        seed: of the first factors.
    """

    def rule(factors: int, alpha: float, penalty: float) -> Rule:
        fitted: dict[int, Floats] = {}  # instant → factors of items, the latest alone

        def scores(known: Known, rows: Int64s) -> Floats:
            if not any(0 <= known.at_us - at_us < REFIT_DAYS * DAY_US for at_us in fitted):
                fitted.clear()
                random = np.random.default_rng(seed)
                fitted[known.at_us] = item_factors(known.counts, factors, alpha, penalty, random)
            (items,) = fitted.values()
            return solved(known.counts[rows], items, alpha, penalty) @ items.T

        return scores

    grid = product(FACTORS, ALPHAS, PENALTIES)
    return {f"{f} factors, alpha {a:g}, penalty {p:g}": rule(f, a, p) for f, a, p in grid}


def item_factors(
    counts: sparse.csr_matrix, factors: int, alpha: float, penalty: float, random: np.random.Generator
) -> Floats:
    """[items, factors] after some sweeps."""
    items = random.normal(0, 0.1, (counts.shape[1], factors))
    turned = counts.T.tocsr()
    for _ in range(SWEEPS):
        items = solved(turned, solved(counts, items, alpha, penalty), alpha, penalty)
    return items


def solved(counts: sparse.csr_matrix, other: Floats, alpha: float, penalty: float) -> Floats:
    """[n, factors] of least squares: confidence ``1 + alpha * count`` in 1 where something happened, 1 in 0 else."""
    whole = other.T @ other + penalty * np.eye(other.shape[1])
    found = np.zeros((counts.shape[0], other.shape[1]))
    for row in np.flatnonzero(np.diff(counts.indptr)).tolist():
        span = slice(counts.indptr[row], counts.indptr[row + 1])
        own, weight = other[counts.indices[span]], alpha * counts.data[span]
        found[row] = np.linalg.solve(whole + (own.T * weight) @ own, own.T @ (weight + 1))
    return found
