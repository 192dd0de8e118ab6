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
from kincast.sample.choose import choose_uniform, choose_weighted, draw_weighted, log2_weight
from kincast.sample.lists import add_log2
from kincast.sample.random import draw, fold, mix

STAGE = 256
AHEAD = 16
ALL = np.iinfo(np.int64).max


@compiled
def cut_rows(time_us, visible_us, strict, cuts):  # type: ignore[no-untyped-def]
    """Rows of a table that each seed may see: ``time <= visible``, or ``<`` when strict.

    Seeds often share a few instants: each is looked for once, all in lockstep.

    Args:
        time_us: [num_rows] int64 ascending.
        visible_us: [n] int64.
        strict: whether a row at that very instant is hidden.
        cuts: [n] int64, written: rows below the cut are visible.
    """
    num_rows, num_seeds = time_us.shape[0], visible_us.shape[0]
    cuts[:] = 0
    if num_rows == 0 or num_seeds == 0:
        return
    which = np.empty(num_seeds, np.int64)
    instants = np.empty(num_seeds, np.int64)
    num = _distinct(visible_us, which, instants)
    found = np.zeros(num, np.int64)
    left = num_rows
    while left > 1:
        half = left // 2
        for i in range(num):
            time = time_us[found[i] + half - 1]
            if time < instants[i] or (time == instants[i] and not strict):
                found[i] += half
        left -= half
    for i in range(num):
        time = time_us[found[i]]
        if time < instants[i] or (time == instants[i] and not strict):
            found[i] += 1
    for i in range(num_seeds):
        cuts[i] = found[which[i]]


@compiled
def _distinct(values, which, distinct):  # type: ignore[no-untyped-def]
    """Write the different values, in the order they come, and which of them each is; how many there are."""
    size = 16
    while size < 2 * values.shape[0]:
        size *= 2
    table = np.full(size, -1, np.int64)
    num = 0
    for i in range(values.shape[0]):
        slot = np.int64(mix(np.uint64(values[i])) & np.uint64(size - 1))
        while table[slot] >= 0 and distinct[table[slot]] != values[i]:
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot] = num
            distinct[num] = values[i]
            num += 1
        which[i] = table[slot]
    return num


@compiled
def num_outside(rows, num_rows):  # type: ignore[no-untyped-def]
    """How many of the rows are not in ``0 .. num_rows - 1``."""
    num = 0
    for i in range(rows.shape[0]):
        num += (rows[i] < 0) | (rows[i] >= num_rows)
    return num


@compiled
def follow(front, forward, limits, ends, found, offsets):  # type: ignore[no-untyped-def]
    """Follow a foreign key: the one row it names, if it is there and visible.

    Args:
        front: rows [n] int64 and seed [n] int32.
        forward: [num_src] int32 or int64 row of the target, -1 for none.
        limits: cuts and floors [num_seeds] int64: rows in ``floor .. cut - 1`` of the target table are visible; floors
            empty without a window.
        ends: end_us [num_dst] int64, empty when rows do not end, and visible_us [num_seeds] int64.
        found: [n] int64, written: the row, or -1.
        offsets: [n + 1] int64, written.
    """
    frontier, seed = front
    cuts, floors = limits
    end_us, visible_us = ends
    num = frontier.shape[0]
    total = 0
    offsets[0] = 0
    for i in range(num):
        if i + AHEAD < num:
            prefetch(forward, frontier[i + AHEAD])
        own = seed[i]
        row = np.int64(forward[frontier[i]])
        seen = (row >= 0) & (row < cuts[own])
        if floors.shape[0] > 0:
            seen &= row >= floors[own]
        if seen and end_us.shape[0] > 0:
            seen = end_us[row] > visible_us[own]
        found[i] = row if seen else np.int64(-1)
        total += seen
        offsets[i + 1] = total


@compiled
def follow_versions(front, forward, versions, limits, ends, found, offsets):  # type: ignore[no-untyped-def]
    """Follow a foreign key to a table of versions: the newest that has begun, if it has not ended.

    Args:
        front: rows [n] int64 and seed [n] int32.
        forward: [num_src] int32 or int64 first version of the target, -1 for none.
        versions: offsets [num_dst + 1] int64 and rows int32 or int64, ascending: the versions by their first one.
        limits: cuts and floors of the target table, as in ``follow``.
        ends: end_us [num_dst] int64 and visible_us [num_seeds] int64.
        found, offsets: as ``follow``.
    """
    frontier, seed = front
    version_offsets, version_rows = versions
    cuts, floors = limits
    end_us, visible_us = ends
    total = 0
    offsets[0] = 0
    for i in range(frontier.shape[0]):
        own = seed[i]
        first = np.int64(forward[frontier[i]])
        found[i] = -1
        if first >= 0:
            begin, end = version_offsets[first], version_offsets[first + 1]
            newest = first_from(version_rows, begin, end, cuts[own]) - 1
            if newest >= begin:
                version = np.int64(version_rows[newest])
                if end_us[version] > visible_us[own] and (floors.shape[0] == 0 or version >= floors[own]):
                    found[i] = version
                    total += 1
        offsets[i + 1] = total


@compiled
def count_reverse(front, lists, limits, take, prefix, offsets):  # type: ignore[no-untyped-def]
    """Find the neighbours of each frontier row: the visible ones are a contiguous part of its list.

    Args:
        front: rows [n] int64 and seed [n] int32.
        lists: offsets [num_dst + 1] int64 and marks [edges] int32 or int64, ascending in each list.
        limits: cuts and floors [num_seeds] int64: marks in ``floor .. cut - 1`` are visible; floors empty without a
            window.
        take: neighbours taken at most, and whether with replacement.
        prefix: begin [n] and stop [n] int64, written: the visible positions.
        offsets: [n + 1] int64, written.
    """
    frontier, seed = front
    list_offsets, marks = lists
    cuts, floors = limits
    fanout, replace = take
    begin, stop = prefix
    num = frontier.shape[0]
    total = 0
    offsets[0] = 0
    for start in range(0, num, STAGE):
        end = min(start + STAGE, num)
        for i in range(start, end):
            begin[i] = list_offsets[frontier[i]]
            stop[i] = list_offsets[frontier[i] + 1]
        for i in range(start, end):
            prefetch(marks, stop[i] - 1)
            prefetch(marks, (begin[i] + stop[i]) >> 1)
        for i in range(start, end):
            cut = cuts[seed[i]]
            if stop[i] > begin[i] and marks[stop[i] - 1] >= cut:
                stop[i] = first_from(marks, begin[i], stop[i] - 1, cut)
        if floors.shape[0] > 0:
            for i in range(start, end):
                begin[i] = first_from(marks, begin[i], stop[i], floors[seed[i]])
        for i in range(start, end):
            num_visible = stop[i] - begin[i]
            total += fanout if replace and num_visible > 0 else min(fanout, num_visible)
            offsets[i + 1] = total


@compiled
def first_from(marks, low, high, cut):  # type: ignore[no-untyped-def]
    """The first position of ``low .. high`` whose mark is not below the cut; ``high`` when there is none."""
    while low < high:
        middle = (low + high) >> 1
        if marks[middle] < cut:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def fill_last(seed, link_rows, stop, offsets, out):  # type: ignore[no-untyped-def]
    """Take the newest visible neighbours, newest first.

    ``out`` is, written: rows [edges] int64, seeds [edges] int32, and places [edges] int64, the position of each in the
    link's arrays, or empty when nobody asks.
    """
    rows, seeds, places = out
    num = seed.shape[0]
    for i in range(num):
        if i + AHEAD < num:
            prefetch(link_rows, stop[i + AHEAD] - 1)
        newest = stop[i] - 1 + offsets[i]
        for place in range(offsets[i], offsets[i + 1]):
            rows[place] = link_rows[newest - place]
            seeds[place] = seed[i]
        if places.shape[0] > 0:
            for place in range(offsets[i], offsets[i + 1]):
                places[place] = newest - place


@compiled
def fill_drawn(front, lists, prefix, offsets, keys, rule, out, every):  # type: ignore[no-untyped-def]
    """Draw among the visible neighbours; whole lists whose order is of no matter come newest first.

    Args:
        front: rows [n] int64 and seed [n] int32.
        lists: offsets [num_dst + 1] int64, rows [edges] int32 or int64, and sums [edges] float64 of weights, empty for
            equal ones.
        prefix: begin [n] and stop [n] int64 from ``count_reverse``.
        offsets: [n + 1] int64 from ``count_reverse``.
        keys: [num_seeds] uint64, and uint64 that tells hop and edge type apart.
        rule: up to how many neighbours order does not matter, and whether they are drawn with replacement.
        out: as ``fill_last``.
        every: None where nothing is weighted, which leaves the other draws out when this is compiled; else True.
    """
    frontier, seed = front
    list_offsets, list_rows, sums = lists
    begin, stop = prefix
    seed_keys, edge = keys
    rows, seeds, places = out
    num = frontier.shape[0]
    for start in range(0, num, STAGE):
        end = min(start + STAGE, num)
        if sums.shape[0] > 0:
            for i in range(start, end):
                prefetch(list_offsets, frontier[i])
                prefetch(sums, stop[i] - 1)
                prefetch(sums, stop[i] - 9)  # draws look there first
                prefetch(sums, begin[i])
        for i in range(start, end):
            if offsets[i + 1] == offsets[i]:
                continue
            key = fold(fold(seed_keys[seed[i]], edge), np.uint64(frontier[i]))
            chosen = rows[offsets[i] : offsets[i + 1]]
            first = list_offsets[frontier[i]] if sums.shape[0] > 0 else begin[i]
            if every is None:
                choose_equally(key, sums, (first, begin[i], stop[i]), rule, chosen)
            else:
                choose_any(key, sums, (first, begin[i], stop[i]), rule, chosen)
            for j in range(chosen.shape[0]):
                chosen[j] += begin[i]
            for place in range(offsets[i], offsets[i + 1]):
                seeds[place] = seed[i]
        last = offsets[end]
        if places.shape[0] > 0:
            for place in range(offsets[start], last):
                places[place] = rows[place]
        for place in range(offsets[start], last):
            if place + AHEAD < last:
                prefetch(list_rows, rows[place + AHEAD])
            rows[place] = list_rows[rows[place]]


@compiled
def choose_equally(key, sums, span, rule, chosen):  # type: ignore[no-untyped-def]
    """Write positions counted from the first visible one, all equally likely; arguments as ``choose_any``."""
    whole, replace = rule
    num = chosen.shape[0]
    num_visible = span[2] - span[1]
    if replace:
        for j in range(num):
            chosen[j] = draw(key, j, num_visible)
    elif num == num_visible and num <= whole:
        for j in range(num):
            chosen[j] = num - 1 - j
    else:
        choose_uniform(key, num_visible, chosen)


@compiled
def choose_any(key, sums, span, rule, chosen):  # type: ignore[no-untyped-def]
    """Write positions counted from the first visible one; arguments as ``fill_drawn`` and ``choose_weighted``."""
    whole, replace = rule
    num = chosen.shape[0]
    is_whole = num == span[2] - span[1] and num <= whole
    if sums.shape[0] == 0 or (is_whole and not replace):
        choose_equally(key, sums, span, rule, chosen)
    elif replace:
        for j in range(num):
            chosen[j] = draw_weighted(key, j, sums, span)
    else:
        choose_weighted(key, sums, span, chosen)


@compiled
def count_ending(seed, link_rows, ends, take, prefix, alive, offsets):  # type: ignore[no-untyped-def]
    """Among visible neighbours, count those that have not ended: alive [n] int64 and offsets [n + 1], written."""
    end_us, visible_us = ends
    fanout, replace = take
    begin, stop = prefix
    total = 0
    offsets[0] = 0
    for i in range(seed.shape[0]):
        visible = visible_us[seed[i]]
        num = 0
        for position in range(begin[i], stop[i]):
            num += end_us[link_rows[position]] > visible
        alive[i] = num
        total += fanout if replace and num > 0 else min(fanout, num)
        offsets[i + 1] = total


@compiled
def fill_last_ending(seed, link_rows, ends, stop, offsets, out):  # type: ignore[no-untyped-def]
    """As ``fill_last``, passing over rows that have ended."""
    end_us, visible_us = ends
    rows, seeds, places = out
    for i in range(seed.shape[0]):
        visible = visible_us[seed[i]]
        position = stop[i] - 1
        for place in range(offsets[i], offsets[i + 1]):
            while end_us[link_rows[position]] <= visible:
                position -= 1
            rows[place] = link_rows[position]
            seeds[place] = seed[i]
            if places.shape[0] > 0:
                places[place] = position
            position -= 1


@compiled
def fill_drawn_ending(front, lists, ends, prefix, offsets, keys, rule, out):  # type: ignore[no-untyped-def]
    """As ``fill_drawn``, drawing among the rows that have not ended; prefix is begin, stop and alive."""
    frontier, seed = front
    list_offsets, list_rows, sums = lists
    end_us, visible_us = ends
    begin, stop, alive = prefix
    seed_keys, edge = keys
    rows, seeds, places = out
    most = alive.max() if alive.shape[0] else 0
    living = np.empty(most, np.int64)
    living_sums = np.empty(most if sums.shape[0] > 0 else 0, np.float64)
    for i in range(frontier.shape[0]):
        if offsets[i + 1] == offsets[i]:
            continue
        num = 0
        for position in range(begin[i], stop[i]):
            if end_us[list_rows[position]] > visible_us[seed[i]]:
                living[num] = position
                if sums.shape[0] > 0:
                    own = log2_weight(sums, list_offsets[frontier[i]], position)
                    living_sums[num] = own if num == 0 else add_log2(living_sums[num - 1], own)
                num += 1
        key = fold(fold(seed_keys[seed[i]], edge), np.uint64(frontier[i]))
        choose_any(key, living_sums, (np.int64(0), np.int64(0), alive[i]), rule, rows[offsets[i] : offsets[i + 1]])
        for place in range(offsets[i], offsets[i + 1]):
            position = living[rows[place]]
            rows[place] = list_rows[position]
            seeds[place] = seed[i]
            if places.shape[0] > 0:
                places[place] = position
