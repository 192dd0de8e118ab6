"""Walk: which items an entity reaches over the facts it shares with others, and how strongly, as of an instant.

From the entity to its newest items, from each of these to the newest of those who had it too, and from the nearest of
these to their newest items. How often an item is reached, over the degrees on the way, is what neighbourhood methods
count: of items (Sarwar et al. 2001), of users (Herlocker et al. 1999), and of three steps of a random walk (Cooper et
al. 2014, "Random walks in recommender systems"). A network on a sampled tree sees little of it: the tree of an entity
holds a few of the thousands of ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled

MOST_OWN, MOST_PEERS, MOST_NEAR, MOST_THEIRS = 64, 1024, 1024, 1024
"""Newest items of the entity; newest facts of each of these; nearest other entities; newest facts of each of these."""
MOST_NEXT, MOST_FOLLOWED, AHEAD = 16, 128, 8
"""What came next: after facts shared over how many newest items, newest facts of each, and so many facts on."""
MOST_REACHED = 256
"""Items of an entity that are kept, those reached most strongly."""
NAMES = ("own", "own lately", "random walk", "nearest entities", "nearest items", "next", "shared", "shared lately")
NUM_COUNTS = len(NAMES)
VALUE_NAMES = (*NAMES[:2], *(name for own in NAMES[2:] for name in (f"share of {own}", own)))
WALK_WIDTH = len(VALUE_NAMES)
"""Numbers of a reached item; but of its own facts, each as a share of the largest of the entity, and its logarithm."""
_SHARP = 1000.0  # a share this many times smaller than the largest is about nothing

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]
_NO_TIMES = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class FactLists:
    """Facts in the order of time, and which of them each entity and each item has.

    Attributes:
        entity, item: [n] int64 rows of the entity table and of the item table; -1 for none.
        time_us, end_us: [n] int64; empty without.
        of_entity, of_item: offsets [rows + 1] and facts, ascending, those alone that have both.
    """

    entity: Int64s
    item: Int64s
    time_us: Int64s
    end_us: Int64s
    of_entity: tuple[Int64s, Int64s]
    of_item: tuple[Int64s, Int64s]

    @staticmethod
    def of(
        entity: Int64s, item: Int64s, time_us: Int64s | None, end_us: Int64s | None, num: tuple[int, int]
    ) -> FactLists:
        """The lists of facts in the order of time; ``num`` entities and items."""
        named = np.flatnonzero((entity >= 0) & (item >= 0))

        def listed(rows: Int64s, size: int) -> tuple[Int64s, Int64s]:
            ends = np.cumsum(np.bincount(rows[named], minlength=size))
            return np.concatenate([[0], ends]), named[np.argsort(rows[named], kind="stable")]

        times = [_NO_TIMES if us is None else np.ascontiguousarray(us) for us in (time_us, end_us)]
        return FactLists(entity, item, times[0], times[1], listed(entity, num[0]), listed(item, num[1]))


@dataclass(frozen=True, slots=True)
class Reached:
    """Items that entities reach.

    Attributes:
        seed, item: [p] int64, each pair once.
        values: [p, WALK_WIDTH] float32.
    """

    seed: Int64s
    item: Int64s
    values: NDArray[np.float32]


def walks(
    lists: FactLists, rows: Int64s, cuts: Int64s, visible_us: Int64s, length_us: int, repeats: bool = True
) -> Reached:
    """What each entity reaches over the facts that it may know.

    Args:
        lists: of all facts.
        rows: [n] of the entity table.
        cuts: [n] how many facts, the first so many, each may know.
        visible_us: [n] the instant up to which.
        length_us: in which "lately" fades to a third; 0 without times.
        repeats: the items that an entity had are among them.
    """
    num = len(rows)
    items, counts = np.empty((num, MOST_REACHED), np.int64), np.zeros(num, np.int64)
    values = np.empty((num, MOST_REACHED, WALK_WIDTH), np.float32)
    facts = (lists.entity, lists.item, lists.time_us, lists.end_us)
    _walks((rows, cuts, visible_us), length_us, repeats, facts, lists.of_entity, lists.of_item, (items, counts, values))
    kept = np.arange(MOST_REACHED) < counts[:, None]
    return Reached(np.repeat(np.arange(num), counts), items[kept], values[kept])


@compiled
def _walks(seeds, length_us, repeats, facts, of_entity, of_item, found_of):  # type: ignore[no-untyped-def]
    rows, cuts, visible_us = seeds
    items, counts, values = found_of
    entity, item, time_us, end_us = facts
    num_entities, num_items = len(of_entity[0]) - 1, len(of_item[0]) - 1
    shared, walked = np.zeros((num_entities, 4)), np.zeros((num_items, NUM_COUNTS))
    peers, reached, met = np.empty(num_entities, np.int64), np.empty(num_items, np.int64), np.zeros(num_items, np.bool_)
    notes = (walked, met, reached)
    for place in range(len(rows)):
        row, cut, now = rows[place], cuts[place], visible_us[place]
        num_peers, num_reached, rank = 0, 0, 0
        start, stop = of_entity[0][row], _seen(of_entity, row, cut)
        for own in range(stop - 1, start - 1, -1):  # newest first
            fact = of_entity[1][own]
            if len(end_us) and end_us[fact] <= now:
                continue
            had = item[fact]
            num_reached = _meet(had, notes, num_reached)
            again = walked[had, 0] > 0.0
            walked[had, 0] += 1.0
            if walked[had, 1] == 0.0 and length_us > 0:
                walked[had, 1] = np.exp(-(now - time_us[fact]) / length_us)
            if rank >= MOST_OWN or again:
                continue
            last = _seen(of_item, had, cut)
            degree = last - of_item[0][had]
            for other in range(last - 1, max(of_item[0][had], last - MOST_PEERS) - 1, -1):
                theirs = of_item[1][other]
                peer = entity[theirs]
                if peer == row or (len(end_us) and end_us[theirs] <= now):
                    continue
                if shared[peer, 0] == 0.0:
                    peers[num_peers] = peer
                    num_peers += 1
                shared[peer, 0] += 1.0
                shared[peer, 1] += 1.0 / degree
                shared[peer, 2] += 1.0 / np.sqrt(degree)
                fresh = 1.0 if length_us == 0 else 1.0 / (1.0 + (now - time_us[theirs]) / (12.0 * length_us))
                shared[peer, 3] += fresh / np.sqrt(degree)
                if rank < MOST_NEXT and other >= last - MOST_FOLLOWED:
                    num_reached = _next(of_entity, (peer, theirs, cut), item, rank, notes, num_reached)
            rank += 1
        chosen = _nearest(of_entity, peers[:num_peers], shared, cut)
        num_reached = _back(of_entity, chosen, (cut, now), item, end_us, shared, notes, num_reached)
        for number in range(num_reached):
            found = reached[number]
            walked[found, 4] /= np.sqrt(max(1, _seen(of_item, found, cut) - of_item[0][found]))
        counts[place] = _keep(walked, reached[:num_reached], repeats, items[place], values[place])
        for number in range(num_peers):
            shared[peers[number]] = 0.0
        for number in range(num_reached):
            walked[reached[number]] = 0.0
            met[reached[number]] = False


@compiled
def _back(of_entity, chosen, until, item, end_us, shared, notes, num_reached):  # type: ignore[no-untyped-def]
    """Walk from other entities to their items."""
    (cut, now), walked = until, notes[0]
    for peer in chosen:
        last = _seen(of_entity, peer, cut)
        degree = last - of_entity[0][peer]
        for other in range(last - 1, max(of_entity[0][peer], last - MOST_THEIRS) - 1, -1):
            fact = of_entity[1][other]
            if len(end_us) and end_us[fact] <= now:
                continue
            found = item[fact]
            num_reached = _meet(found, notes, num_reached)
            walked[found, 2] += shared[peer, 1] / degree
            walked[found, 3] += shared[peer, 0] ** 2 / degree
            walked[found, 4] += shared[peer, 2]
            walked[found, 6] += shared[peer, 0]
            walked[found, 7] += shared[peer, 3] / np.sqrt(degree)
    return num_reached


@compiled
def _meet(found, notes, num_reached):  # type: ignore[no-untyped-def]
    """Note an item that is reached for the first time; how many are."""
    _, met, reached = notes
    if not met[found]:
        met[found] = True
        reached[num_reached] = found
        num_reached += 1
    return num_reached


@compiled
def _seen(lists, row, cut):  # type: ignore[no-untyped-def]
    """Where the facts of a row that come before a cut end."""
    low, high = lists[0][row], lists[0][row + 1]
    while low < high:
        middle = (low + high) // 2
        if lists[1][middle] < cut:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _next(of_entity, shared, item, rank, notes, num_reached):  # type: ignore[no-untyped-def]
    """Count what another entity had next after a fact; those right after, and after one's newest, count most."""
    (peer, fact, cut), walked = shared, notes[0]
    after = _seen(of_entity, peer, fact) + 1
    for place in range(after, min(after + AHEAD, of_entity[0][peer + 1])):
        if of_entity[1][place] >= cut:
            break
        found = item[of_entity[1][place]]
        num_reached = _meet(found, notes, num_reached)
        walked[found, 5] += 1.0 / ((1.0 + rank) * (place - after + 1.0))
    return num_reached


@compiled
def _nearest(of_entity, peers, shared, cut):  # type: ignore[no-untyped-def]
    """Those that share most, over the square root of how much they have."""
    if len(peers) <= MOST_NEAR:
        return peers
    near = np.empty(len(peers))
    for number in range(len(peers)):
        peer = peers[number]
        near[number] = -shared[peer, 2] / np.sqrt(_seen(of_entity, peer, cut) - of_entity[0][peer])
    return peers[np.argsort(near, kind="mergesort")[:MOST_NEAR]]


@compiled
def _keep(walked, reached, repeats, items, values):  # type: ignore[no-untyped-def]
    """Write the items reached most strongly and their numbers; how many."""
    most, kept = np.zeros(NUM_COUNTS), np.empty(len(reached), np.int64)
    num_kept = 0
    for found in reached:
        if not repeats and walked[found, 0] > 0.0:
            continue
        kept[num_kept] = found
        num_kept += 1
        for name in range(NUM_COUNTS):
            most[name] = max(most[name], walked[found, name])
    strength = np.empty(num_kept)
    for number in range(num_kept):
        found = kept[number]
        strength[number] = -3.0 * (walked[found, 0] > 0.0)
        for name in range(2, NUM_COUNTS):
            if most[name] > 0.0:
                strength[number] -= walked[found, name] / most[name]
    order = np.argsort(strength, kind="mergesort")[:MOST_REACHED]
    for number in range(len(order)):
        found = kept[order[number]]
        items[number] = found
        values[number, 0] = np.log1p(walked[found, 0])
        values[number, 1] = walked[found, 1]
        for name in range(2, NUM_COUNTS):
            share = walked[found, name] / most[name] if most[name] > 0.0 else 0.0
            values[number, 2 * name - 2] = share
            values[number, 2 * name - 1] = np.log1p(_SHARP * share) / 3.0
    return len(order)
