"""Reject: the compiled loops that draw weighted items by proposing visible facts and rejecting what may not be drawn.

A visible fact drawn uniformly names an item with probability proportional to the item's visible facts, so nothing has
to be counted beforehand. Any other power is reached by rejection: an item proposed with weight ``w = facts + prior``
is kept with probability ``(w / least) ** (power - 1)``. What may not be drawn, or was drawn before, is rejected too,
which leaves the others' proportions as they are. A seed whose proposals are rejected about as often as there are items
is finished by one exact pass over them: the distribution is the same, and the time bounded.
"""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled
from kincast.sample.random import draw

SPARE_TRIES = 64
_FINE = 1 << 53
_UNIT = 2.0**-53


@compiled
def draw_items(keys, instants, ends, facts, excluded, rule, out, eligible):  # type: ignore[no-untyped-def]
    """Draw different items for each seed.

    Args:
        keys: [n] uint64.
        instants: per seed, [n] int64 each: item rows begun, the instant, fact rows visible, their last instant.
        ends: [num_items] int64, empty when items do not end.
        facts: item per fact [num_facts], offsets [num_items + 1] and fact rows per item, end_us; all empty if uniform.
        excluded: offsets [n + 1] and items, ascending per seed.
        rule: power (float64) and prior (int64).
        out: items [n, k] int64 and log weights [n, k] float64, written.
        eligible: [n] int64, written where a seed has fewer than k: how many it has.
    """
    begun, as_of_us, seen, visible_us = instants
    offsets, unwanted = excluded
    power, prior = rule
    items, weights = out
    num = items.shape[1]
    least = max(prior, 1)
    for i in range(keys.shape[0]):
        none = unwanted[offsets[i] : offsets[i + 1]]
        own = facts[0][: seen[i]] if facts[0].shape[0] else facts[0]
        below = own.shape[0] + prior * begun[i]
        tries = SPARE_TRIES + begun[i] if below > 0 else 0
        taken = 0
        counter = 0
        while taken < num and counter < tries:
            place = draw(keys[i], 2 * counter, below)
            item = np.int64(own[place]) if place < own.shape[0] else (place - own.shape[0]) // prior
            counter += 1
            if not _may(item, begun[i], ends, as_of_us[i], none) or _holds(items[i], taken, item):
                continue
            if place < own.shape[0] and facts[3].shape[0] and facts[3][place] <= visible_us[i]:
                continue
            weight = _count(item, facts, seen[i], visible_us[i]) + prior
            if power != 1.0 and weight > least:
                chance = draw(keys[i], 2 * counter - 1, _FINE) * _UNIT
                if facts[0].shape[0] and chance >= (weight / least) ** (power - 1.0):
                    continue
            items[i, taken] = item
            weights[i, taken] = power * np.log(weight)
            taken += 1
        if taken < num:
            seed = (begun[i], as_of_us[i], seen[i], visible_us[i])
            eligible[i] = _finish(keys[i], 2 * tries, seed, ends, facts, none, rule, (items[i], weights[i], taken))


@compiled
def _finish(key, counter, seed, ends, facts, none, rule, out):  # type: ignore[no-untyped-def]
    """Draw the rest from all items with their weights; how many different items the seed has, at most those asked."""
    begun, as_of_us, seen, visible_us = seed
    power, prior = rule
    items, weights, taken = out
    rows = np.empty(begun, np.int64)
    mass = np.empty(begun, np.float64)
    facts_of = np.empty(begun, np.int64)
    left = 0
    total = 0.0
    for item in range(begun):
        if _may(item, begun, ends, as_of_us, none) and not _holds(items, taken, item):
            weight = _count(item, facts, seen, visible_us) + prior
            if weight > 0:
                rows[left], facts_of[left], mass[left] = item, weight, float(weight) ** power
                total += mass[left]
                left += 1
    while taken < items.shape[0] and left > 0:
        point = draw(key, counter, _FINE) * _UNIT * total
        counter += 1
        place = 0
        while place < left - 1 and point >= mass[place]:
            point -= mass[place]
            place += 1
        items[taken], weights[taken] = rows[place], power * np.log(facts_of[place])
        taken += 1
        left -= 1
        total -= mass[place]
        rows[place], facts_of[place], mass[place] = rows[left], facts_of[left], mass[left]
    return taken


@compiled
def weigh(seed, items, instants, facts, rule, weights):  # type: ignore[no-untyped-def]
    """Log of the weight of each item for its seed: weights [m] float64, written."""
    _, _, seen, visible_us = instants
    power, prior = rule
    for i in range(items.shape[0]):
        weight = _count(items[i], facts, seen[seed[i]], visible_us[seed[i]]) + prior
        weights[i] = power * np.log(weight) if weight > 0 else -np.inf


@compiled
def _may(item, begun, ends, as_of_us, none):  # type: ignore[no-untyped-def]
    """Whether an item exists and is not excluded."""
    if item < 0 or item >= begun or (ends.shape[0] and ends[item] <= as_of_us):
        return False
    place = np.searchsorted(none, item)
    return place == none.shape[0] or none[place] != item


@compiled
def _holds(items, taken, item):  # type: ignore[no-untyped-def]
    for place in range(taken):  # noqa: SIM110
        if items[place] == item:
            return True
    return False


@compiled
def _count(item, facts, seen, visible_us):  # type: ignore[no-untyped-def]
    """How many visible facts an item has: a prefix of its list in time order, without those that have ended."""
    forward, offsets, rows, end_us = facts
    if forward.shape[0] == 0:
        return 0
    low, high = offsets[item], offsets[item + 1]
    first = low
    while low < high:
        middle = (low + high) >> 1
        if rows[middle] < seen:
            low = middle + 1
        else:
            high = middle
    if end_us.shape[0] == 0:
        return low - first
    num = 0
    for position in range(first, low):
        num += end_us[rows[position]] > visible_us
    return num
