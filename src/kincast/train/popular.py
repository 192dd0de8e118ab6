"""Popular: the baselines of links: what everybody has, what everybody has lately, what the entity itself had before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kincast.model.item import Items, instants
from kincast.model.ranked import NOBODY, Ranked, rank, stacked
from kincast.sample.batch import Seeds

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


def link_heuristics(items: Items, window_us: int) -> dict[str, Callable[[Seeds], Ranked]]:
    """Name → rule that ranks items for seeds, none of which sees a fact later than its seed.

    Args:
        items: of the task.
        window_us: length of the label window; 0 for links without a time.
    """
    rules: dict[str, Callable[[Seeds], Ranked]] = {
        "popularity": lambda seeds: _by_demand(items, seeds, 0),
    }
    if items.repeats:
        rules["repeat"] = lambda seeds: _repeat(items, seeds)
    if window_us:
        rules["recent popularity"] = lambda seeds: _by_demand(items, seeds, window_us)
    return rules


def _by_demand(items: Items, seeds: Seeds, stretch_us: int) -> Ranked:
    """The most demanded items of each instant, the same for all who ask at it."""
    found = np.full((len(seeds), min(items.top, items.num_items)), NOBODY, np.int64)
    scores = np.full(found.shape, -np.inf)
    had = None if items.repeats else items.had(seeds)
    for as_of, visible, here in instants(seeds):
        demand = items.demand(visible - stretch_us, visible).astype(np.float64)
        if stretch_us:  # what nobody wanted lately comes in the order of all times
            demand += items.demand(visible, visible) / (items.facts.seen(visible, items.strict) + 1)
        depth = items.top if had is None else items.top + int(had.lengths[here].max())
        best = rank(np.where(items.exist(as_of), demand, -np.inf)[None], depth)
        if had is None:
            found[here], scores[here] = best.items, best.scores
            continue
        for row in here.tolist():
            own = had.items[had.offsets[row] : had.offsets[row + 1]]
            new = np.flatnonzero(~np.isin(best.items[0], own))[: found.shape[1]]
            found[row, : len(new)], scores[row, : len(new)] = best.items[0, new], best.scores[0, new]
    return stacked([Ranked(found, scores, items.num_items)], items.num_items, items.top)


def _repeat(items: Items, seeds: Seeds) -> Ranked:
    """The entity's own items, most often first, then latest first; behind them the most popular ones."""
    facts, (offsets, order) = items.facts, items.lists.of_entity
    found = _by_demand(items, seeds, 0)
    for as_of, visible, here in instants(seeds):
        until, there = facts.seen(visible, items.strict), items.exist(as_of)
        for row in here.tolist():
            entity = seeds.rows[row]
            own = order[offsets[entity] : offsets[entity + 1]]
            own = own[own < until]
            if facts.end_us is not None:
                own = own[facts.end_us[own] > visible]
            mine = _own_items(facts.item[own])
            mine = mine[there[mine]][: items.top]
            rest = found.items[row]
            whole = np.concatenate([mine, rest[~np.isin(rest, mine)]])[: found.items.shape[1]]
            found.items[row] = whole
            found.scores[row] = np.where(whole >= 0, -np.arange(len(whole), dtype=np.float64), -np.inf)
    return found


def _own_items(met: Int64s) -> Int64s:
    """Different items of a list in the order of time: most often first, then latest first."""
    unique, place, counts = np.unique(met, return_inverse=True, return_counts=True)
    last = np.zeros(len(unique), np.int64)
    last[place.reshape(-1)] = np.arange(len(met))
    return unique[np.lexsort((-last, -counts))]
