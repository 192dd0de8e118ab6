"""Choose: the draws among the visible neighbours of one row, as positions in its list.

Drawing without replacement gives the beginning of an order that depends on the key and the list alone, not on how many
are taken: the first eight of sixteen are the eight that would have been drawn. So a layer that reads fewer neighbours
than were sampled reads a sample of the same kind.

After changing this file, touch ``kernels.py``: Numba does not notice (see ``random.py``).
"""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled
from kincast.sample.random import draw, fold, unit

FEW = 64  # up to so many positions are compared one by one, more are looked up in a hash table
PATIENCE = 32  # fruitless draws allowed in all, besides four per neighbour, before the rest is drawn by keys
REST = np.uint64(0x52455354)
_LOG_2 = np.log(2.0)


@compiled
def choose_uniform(key, num_visible, chosen):  # type: ignore[no-untyped-def]
    """Write the first ``len(chosen)`` positions of ``0 .. num_visible - 1`` in an order by chance.

    Fisher-Yates: step j swaps what is at j with what is at j + (a draw of what is left). Only the places touched are
    kept: what came to lie at a place is found by going back through the steps that touched it.
    """
    num = chosen.shape[0]
    if num > FEW:
        _choose_many(key, num_visible, chosen)
        return
    for j in range(num):
        chosen[j] = j + draw(key, j, num_visible - j)
    for j in range(num - 1, 0, -1):
        position = chosen[j]
        for i in range(j - 1, -1, -1):
            if chosen[i] == position:
                position = np.int64(i)
        chosen[j] = position


@compiled
def _choose_many(key, num_visible, chosen):  # type: ignore[no-untyped-def]
    """As ``choose_uniform``, with a hash table of the places touched."""
    num = chosen.shape[0]
    table = hash_table(num)
    moved = np.empty(table.shape[0], np.int64)
    for j in range(num):
        place = j + draw(key, j, num_visible - j)
        own_slot = _slot(table, j)
        own = moved[own_slot] if table[own_slot] == j else np.int64(j)
        slot = _slot(table, place)
        chosen[j] = moved[slot] if table[slot] == place else place
        table[slot] = place
        moved[slot] = own


@compiled
def choose_weighted(key, sums, span, chosen):  # type: ignore[no-untyped-def]
    """Write ``len(chosen)`` different positions, each drawn by weight from those that are left.

    Draw by weight from all and reject what was drawn before, which is the same; when that takes too long because few
    hold nearly all the weight, the rest is found by exponential keys (Efraimidis and Spirakis 2006, "Weighted random
    sampling with a reservoir"), which is the same again.

    Args:
        key: uint64.
        sums: [edges] float64 log2 of running sums of the weights.
        span: start of the list, first visible position and end of the visible ones.
        chosen: [num] int64, written: positions counted from the first visible one.
    """
    num = chosen.shape[0]
    table = hash_table(num if num > FEW else 0)
    done = counter = 0
    while done < num:
        if counter >= 4 * done + PATIENCE:
            _choose_rest(fold(key, REST), sums, span, chosen, done)
            return
        position = draw_weighted(key, counter, sums, span)
        counter += 1
        if table.shape[0] > 1:
            slot = _slot(table, position)
            fresh = table[slot] != position
            table[slot] = position
        else:
            fresh = True
            for other in range(done):
                fresh &= chosen[other] != position
        if fresh:
            chosen[done] = position
            done += 1


@compiled
def draw_weighted(key, counter, sums, span):  # type: ignore[no-untyped-def]
    """One position by weight: where the running sum first reaches a share of the whole; newest places are tried first.

    Arguments and position as ``choose_weighted``.
    """
    start, low, high = span
    top = sums[high - 1]
    share = 1.0 - unit(key, counter)  # above 0, up to 1
    if low > start:  # what lies before the window has no part in it
        before = 2.0 ** (sums[low - 1] - top)
        share = before + share * (1.0 - before)
    target = top + np.log2(share)
    width = np.int64(1)
    right = high - 1  # its sum reaches the target
    left = right - width
    while left >= low and sums[left] >= target:
        right = left
        width *= 2
        left = right - width
    left = max(left, low - 1)  # its sum does not
    while right - left > 1:
        middle = (left + right) >> 1
        if sums[middle] >= target:
            right = middle
        else:
            left = middle
    return right - low


@compiled
def log2_weight(sums, start, position):  # type: ignore[no-untyped-def]
    """Log2 of the weight of one neighbour of the list that begins at ``start``."""
    if position == start:
        return sums[position]
    share = -np.expm1(_LOG_2 * (sums[position - 1] - sums[position]))
    return sums[position] + np.log2(max(share, 2.0**-60))


@compiled
def _choose_rest(key, sums, span, chosen, done):  # type: ignore[no-untyped-def]
    """The positions after the first ``done``: those of the largest ``log weight - log(exponential)``, largest first."""
    start, low, high = span
    left = chosen.shape[0] - done
    taken = np.sort(chosen[:done])
    best = np.full(left, -np.inf)
    passed = 0
    for position in range(high - low):
        if passed < done and taken[passed] == position:
            passed += 1
            continue
        waiting = -np.log(1.0 - unit(key, position) * (1.0 - 2.0**-53))
        value = log2_weight(sums, start, low + position) * _LOG_2 - np.log(max(waiting, 2.0**-60))
        if value <= best[left - 1]:
            continue
        place = left - 1
        while place > 0 and best[place - 1] < value:
            best[place] = best[place - 1]
            chosen[done + place] = chosen[done + place - 1]
            place -= 1
        best[place] = value
        chosen[done + place] = position


@compiled
def hash_table(num):  # type: ignore[no-untyped-def]
    """An empty table with room for that many positions."""
    size = 1
    while size < 2 * num:
        size *= 2
    return np.full(size, -1, np.int64)


@compiled
def _slot(table, position):  # type: ignore[no-untyped-def]
    """Where a position is in the hash table, or where it belongs."""
    slot = (position * 0x9E3779B1) & (table.shape[0] - 1)
    while table[slot] != -1 and table[slot] != position:
        slot = (slot + 1) & (table.shape[0] - 1)
    return slot
