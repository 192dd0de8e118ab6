"""Kernels: the compiled loops of neighbour sampling, on plain arrays, without the interpreter lock.

Each edge type of a hop takes two passes: *count* finds the visible neighbours of every frontier row and how many are
taken; *fill* writes exactly those. Both work in stages over ``STAGE`` frontier rows (all offsets, then all time cuts,
then all draws, then all neighbours), because a processor overlaps many independent loads but waits for each load that
depends on the one before; prefetching hides most of what is left (measured: staging × 2, prefetch × 1.1 to 1.6).

Rows of a timed table are numbered in time order, so "not later than the seed" is ``row < cut``, the cut found once per
table and seed.
"""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled, prefetch
from kincast.sample.random import draw, fold

STAGE = 256
AHEAD = 16
SMALL_DRAW = 64
ALL = np.iinfo(np.int64).max


@compiled
def cut_rows(time_us, visible_us, strict, cuts):  # type: ignore[no-untyped-def]
    """Rows of a table that each seed may see: ``time <= visible``, or ``<`` when strict; all seeds in lockstep.

    Args:
        time_us: [num_rows] int64 ascending.
        visible_us: [n] int64.
        strict: whether a row at that very instant is hidden.
        cuts: [n] int64, written: rows below the cut are visible.
    """
    num_seeds = visible_us.shape[0]
    left = time_us.shape[0]
    cuts[:] = 0
    if left == 0:
        return
    while left > 1:
        half = left // 2
        for i in range(num_seeds):
            time = time_us[cuts[i] + half - 1]
            if time < visible_us[i] or (time == visible_us[i] and not strict):
                cuts[i] += half
        left -= half
    for i in range(num_seeds):
        time = time_us[cuts[i]]
        if time < visible_us[i] or (time == visible_us[i] and not strict):
            cuts[i] += 1


@compiled
def count_forward(front, forward, cuts, ends, found, offsets):  # type: ignore[no-untyped-def]
    """Follow a foreign key: the one row it names, if it is there and visible.

    Args:
        front: rows [n] int64 and seed [n] int32.
        forward: [num_src] int32 or int64 row of the target, -1 for none.
        cuts: [num_seeds] int64 of the target table.
        ends: end_us [num_dst] int64, empty when rows do not end, and visible_us [num_seeds] int64.
        found: [n] int64, written: the target row or -1.
        offsets: [n + 1] int64, written.
    """
    frontier, seed = front
    end_us, visible_us = ends
    num = frontier.shape[0]
    total = 0
    offsets[0] = 0
    for i in range(num):
        if i + AHEAD < num:
            prefetch(forward, frontier[i + AHEAD])
        row = np.int64(forward[frontier[i]])
        if row >= cuts[seed[i]]:
            row = np.int64(-1)
        if row >= 0 and end_us.shape[0] > 0 and end_us[row] <= visible_us[seed[i]]:
            row = np.int64(-1)
        found[i] = row
        if row >= 0:
            total += 1
        offsets[i + 1] = total


@compiled
def count_versions(front, forward, versions, cuts, ends, found, offsets):  # type: ignore[no-untyped-def]
    """Follow a foreign key to a table of versions: the newest that has begun, if it has not ended.

    Args:
        front: rows [n] int64 and seed [n] int32.
        forward: [num_src] int32 or int64 first version of the target, -1 for none.
        versions: offsets [num_dst + 1] int64 and rows int32 or int64, ascending: the versions by their first one.
        cuts: [num_seeds] int64 of the target table.
        ends: end_us [num_dst] int64 and visible_us [num_seeds] int64.
        found: [n] int64, written: the version or -1.
        offsets: [n + 1] int64, written.
    """
    frontier, seed = front
    version_offsets, version_rows = versions
    end_us, visible_us = ends
    total = 0
    offsets[0] = 0
    for i in range(frontier.shape[0]):
        found[i] = -1
        first = np.int64(forward[frontier[i]])
        if first >= 0:
            begin = low = version_offsets[first]
            high = version_offsets[first + 1]
            while low < high:
                middle = (low + high) >> 1
                if version_rows[middle] < cuts[seed[i]]:
                    low = middle + 1
                else:
                    high = middle
            if low > begin and end_us[version_rows[low - 1]] > visible_us[seed[i]]:
                found[i] = version_rows[low - 1]
                total += 1
        offsets[i + 1] = total


@compiled
def fill_forward(seed, found, out):  # type: ignore[no-untyped-def]
    """Write the rows found: out is rows [edges] int64 and seeds [edges] int32."""
    rows, seeds = out
    place = 0
    for i in range(found.shape[0]):
        if found[i] >= 0:
            rows[place] = found[i]
            seeds[place] = seed[i]
            place += 1


@compiled
def count_reverse(front, link, cuts, fanout, prefix, offsets):  # type: ignore[no-untyped-def]
    """Find the rows that refer to each frontier row: the visible ones are a prefix of its neighbour list.

    Args:
        front: rows [n] int64 and seed [n] int32.
        link: offsets [num_dst + 1] int64 and rows [edges] int32 or int64, ascending per target row.
        cuts: [num_seeds] int64 of the neighbours' table.
        fanout: neighbours taken at most.
        prefix: begin [n] and stop [n] int64, written: the visible positions in the link's rows.
        offsets: [n + 1] int64, written.
    """
    frontier, seed = front
    link_offsets, link_rows = link
    begin, stop = prefix
    num = frontier.shape[0]
    total = 0
    offsets[0] = 0
    for start in range(0, num, STAGE):
        end = min(start + STAGE, num)
        for i in range(start, end):
            begin[i] = link_offsets[frontier[i]]
            stop[i] = link_offsets[frontier[i] + 1]
        for i in range(start, end):
            prefetch(link_rows, stop[i] - 1)
            prefetch(link_rows, (begin[i] + stop[i]) >> 1)
        for i in range(start, end):
            low = begin[i]
            high = stop[i]
            cut = cuts[seed[i]]
            if high > low and link_rows[high - 1] >= cut:
                high -= 1
                while low < high:
                    middle = (low + high) >> 1
                    if link_rows[middle] < cut:
                        low = middle + 1
                    else:
                        high = middle
                stop[i] = low
        for i in range(start, end):
            total += min(fanout, stop[i] - begin[i])
            offsets[i + 1] = total


@compiled
def fill_last(seed, link_rows, stop, offsets, out):  # type: ignore[no-untyped-def]
    """Take the newest visible neighbours, newest first: out is rows [edges] int64 and seeds [edges] int32."""
    rows, seeds = out
    num = seed.shape[0]
    for i in range(num):
        if i + AHEAD < num:
            prefetch(link_rows, stop[i + AHEAD] - 1)
        newest = stop[i] - 1 + offsets[i]
        for place in range(offsets[i], offsets[i + 1]):
            rows[place] = link_rows[newest - place]
            seeds[place] = seed[i]


@compiled
def fill_uniform(front, link_rows, prefix, offsets, keys, edge, out):  # type: ignore[no-untyped-def]
    """Draw among the visible neighbours without replacement; all of them, newest first, where they are few enough.

    Args:
        front: rows [n] int64 and seed [n] int32.
        link_rows: [edges] int32 or int64.
        prefix: begin [n] and stop [n] int64 from ``count_reverse``.
        offsets: [n + 1] int64 from ``count_reverse``.
        keys: [num_seeds] uint64.
        edge: uint64 that tells hop and edge type apart.
        out: rows [edges] int64 and seeds [edges] int32, written.
    """
    frontier, seed = front
    begin, stop = prefix
    rows, seeds = out
    num = frontier.shape[0]
    for start in range(0, num, STAGE):
        end = min(start + STAGE, num)
        for i in range(start, end):
            key = fold(fold(keys[seed[i]], edge), np.uint64(frontier[i]))
            choose(key, begin[i], stop[i], rows[offsets[i] : offsets[i + 1]])
            for place in range(offsets[i], offsets[i + 1]):
                seeds[place] = seed[i]
        last = offsets[end]
        for place in range(offsets[start], last):
            if place + AHEAD < last:
                prefetch(link_rows, rows[place + AHEAD])
            rows[place] = link_rows[rows[place]]


@compiled
def choose(key, begin, stop, chosen):  # type: ignore[no-untyped-def]
    """Write ``len(chosen)`` different positions of ``begin .. stop - 1``; if that is all of them, last first.

    Floyd's algorithm (Bentley and Floyd 1987, "A sample of brilliance"): draw t below a growing bound; if t was drawn
    before, take the bound's last position instead.
    """
    num = chosen.shape[0]
    spare = stop - begin - num
    if spare == 0:
        for j in range(num):
            chosen[j] = stop - 1 - j
        return
    if num > SMALL_DRAW:
        _choose_many(key, begin, spare, chosen)
        return
    for j in range(num):
        position = begin + draw(key, j, spare + j + 1)
        for other in range(j):
            if chosen[other] == position:
                position = begin + spare + j
                break
        chosen[j] = position


@compiled
def _choose_many(key, begin, spare, chosen):  # type: ignore[no-untyped-def]
    """As ``choose``, with a hash table instead of comparing with all before."""
    num = chosen.shape[0]
    size = 1
    while size < 2 * num:
        size *= 2
    table = np.full(size, -1, np.int64)
    for j in range(num):
        position = begin + draw(key, j, spare + j + 1)
        slot = _slot(table, position)
        if table[slot] == position:
            position = begin + spare + j
            slot = _slot(table, position)
        table[slot] = position
        chosen[j] = position


@compiled
def _slot(table, position):  # type: ignore[no-untyped-def]
    """Where a position is in the hash table, or where it belongs."""
    slot = (position * 0x9E3779B1) & (table.shape[0] - 1)
    while table[slot] != -1 and table[slot] != position:
        slot = (slot + 1) & (table.shape[0] - 1)
    return slot


@compiled
def count_ending(seed, link_rows, ends, fanout, prefix, alive, offsets):  # type: ignore[no-untyped-def]
    """Among visible prefixes, count the rows that have not ended: alive [n] int64 and offsets [n + 1], written."""
    end_us, visible_us = ends
    begin, stop = prefix
    total = 0
    offsets[0] = 0
    for i in range(seed.shape[0]):
        visible = visible_us[seed[i]]
        num = 0
        for position in range(begin[i], stop[i]):
            num += end_us[link_rows[position]] > visible
        alive[i] = num
        total += min(fanout, num)
        offsets[i + 1] = total


@compiled
def fill_last_ending(seed, link_rows, ends, stop, offsets, out):  # type: ignore[no-untyped-def]
    """As ``fill_last``, passing over rows that have ended."""
    end_us, visible_us = ends
    rows, seeds = out
    for i in range(seed.shape[0]):
        visible = visible_us[seed[i]]
        position = stop[i] - 1
        for place in range(offsets[i], offsets[i + 1]):
            while end_us[link_rows[position]] <= visible:
                position -= 1
            rows[place] = link_rows[position]
            seeds[place] = seed[i]
            position -= 1


@compiled
def fill_uniform_ending(front, link_rows, ends, prefix, offsets, keys, edge, out):  # type: ignore[no-untyped-def]
    """As ``fill_uniform``, drawing among the rows that have not ended; prefix is begin, stop and alive."""
    frontier, seed = front
    end_us, visible_us = ends
    begin, stop, alive = prefix
    rows, seeds = out
    living = np.empty(alive.max() if alive.shape[0] else 0, np.int64)
    for i in range(frontier.shape[0]):
        visible = visible_us[seed[i]]
        num = 0
        for position in range(begin[i], stop[i]):
            row = link_rows[position]
            if end_us[row] > visible:
                living[num] = row
                num += 1
        key = fold(fold(keys[seed[i]], edge), np.uint64(frontier[i]))
        choose(key, np.int64(0), alive[i], rows[offsets[i] : offsets[i + 1]])
        for place in range(offsets[i], offsets[i + 1]):
            rows[place] = living[rows[place]]
            seeds[place] = seed[i]
