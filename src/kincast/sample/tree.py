"""Tree: all hops of a batch of trees in one compiled call."""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled
from kincast.sample.hop import count_hop, fill_hop, find_limit
from kincast.sample.limit import shorten


@compiled
def grow_trees(reading, hops, seeds, keys, options, every):  # type: ignore[no-untyped-def]
    """Sample the tree of every seed.

    Args:
        reading: the edge types as ``edge_table`` has them; the table and the other table of each [num_edges, 2];
            the limits as ``find_limit`` reads them; and of each edge type its cut and floor [num_edges, 2]: int64.
        hops: fanout and whole [num_hops, num_edges] int64.
        seeds: the number of their table; rows, as_of_us and visible_us [n] int64.
        keys: of the seeds [n] and of the edge types [num_hops, num_edges], uint64.
        options: number of tables; strict; rows of a tree at most, 0 for any number; whether to keep places.
        every: None where the table ``is_plain`` and trees have no limit, else True; as ``count_hop``.

    Returns:
        rows [num] int64 and seeds [num] int32 of all tables, one table behind another, each hop behind hop; starts
        [num_tables, num_hops + 2] int64 as in ``Batch.hop_offsets``; blocks [num_blocks, 7] int64: hop, edge type,
        first frontier row, how many, first neighbour (both in their tables), and where in offsets and in the visible
        the block begins; offsets and numbers of visible neighbours of all blocks; and places [num] or empty.
    """
    edge_table, ends_of, limit_table, bounds = reading
    fanout, wholes = hops
    seed_table, seed_rows, as_of_us, visible_us = seeds
    seed_keys, edge_keys = keys
    num_tables, strict, most, keep_places = options
    num_hops, num_edges, num_seeds = fanout.shape[0], fanout.shape[1], seed_rows.shape[0]
    limits = np.empty((max(limit_table.shape[0], 1), num_seeds), np.int64)
    known = np.zeros(limit_table.shape[0], np.bool_)
    left = np.full(num_seeds if most > 0 else 0, most - 1, np.int64)
    starts = np.zeros((num_tables, num_hops + 2), np.int64)
    starts[seed_table, 1:] = num_seeds
    segments = np.zeros((num_hops + 1, num_tables), np.int64)  # where each table begins among the rows of a hop
    kept = [(seed_rows, np.arange(num_seeds).astype(np.int32), seed_rows[:0])]
    steps = np.zeros((num_edges, 6), np.int64)
    blocks = np.empty((num_hops * num_edges, 7), np.int64)
    offsets, num_visible = np.empty(0, np.int64), np.empty(0, np.int64)
    num_blocks = num_offsets = num_lists = 0
    for hop in range(num_hops):
        num_steps = _follow_edges(fanout[hop], ends_of, bounds, starts[:, hop : hop + 2], segments[hop], steps)
        taken = steps[:num_steps]
        total = taken[:, 2].sum()
        _find_limits(taken, limit_table, (visible_us, as_of_us, strict), known, limits)
        offsets = _with_room(offsets, num_offsets, total + num_steps)
        num_visible = _with_room(num_visible, num_lists, total)
        found = (np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total, np.int64))
        own_offsets, front, count = offsets[num_offsets:], kept[hop][:2], (*found, num_visible[num_lists:])
        count_hop(edge_table, fanout[hop], taken, front, (limits, visible_us), count, own_offsets, every)
        if every is not None and most > 0:
            shorten(left, taken, front[1], own_offsets)
        size = _lay_out(taken, own_offsets, ends_of, hop == num_hops - 1, starts[:, hop + 1 :], segments[hop + 1])
        rooms = (starts[:, hop : hop + 2], segments[hop + 1], num_offsets, num_lists)
        num_blocks = _place(hop, taken, own_offsets, ends_of, rooms, blocks, num_blocks)
        out = (np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size if keep_places else 0, np.int64))
        told_by = (visible_us, seed_keys, edge_keys[hop])
        fill_hop((edge_table, fanout[hop], wholes[hop]), taken, front, told_by, found, own_offsets, out, every)
        kept.append(out)
        num_offsets += total + num_steps
        num_lists += total
    _gather(kept, starts, segments)
    rows, seed, places = kept[num_hops]
    return rows, seed, starts, blocks[:num_blocks], offsets, num_visible, places


@compiled
def _follow_edges(fanout, ends_of, bounds, starts, segments, steps):  # type: ignore[no-untyped-def]
    """Write the steps of a hop, all but where their neighbours go; returns how many there are."""
    num = 0
    for edge in range(fanout.shape[0]):
        table = ends_of[edge, 0]
        length = starts[table, 1] - starts[table, 0]
        if fanout[edge] != 0 and length > 0:
            steps[num, 0], steps[num, 1], steps[num, 2] = edge, segments[table], length
            steps[num, 3], steps[num, 4] = bounds[edge, 0], bounds[edge, 1]
            num += 1
    return num


@compiled
def _find_limits(steps, limit_table, seeds, known, limits):  # type: ignore[no-untyped-def]
    """Find the limits of the steps that are not known from hops before."""
    visible_us, as_of_us, strict = seeds
    for k in range(steps.shape[0]):
        for side in range(3, 5):
            limit = steps[k, side]
            if limit >= 0 and not known[limit]:
                find_limit(limit_table[limit], visible_us, as_of_us, strict, limits[limit])
                known[limit] = True


@compiled
def _lay_out(steps, offsets, ends_of, is_last, starts, segments):  # type: ignore[no-untyped-def]
    """Say where the rows found now are written and how many rows each table has then; returns the room they need.

    The rows of the last hop are written where they stay, with room for those of the hops before.
    """
    num_tables = segments.shape[0]
    found = np.zeros(num_tables, np.int64)
    place = 0
    for k in range(steps.shape[0]):
        place += steps[k, 2] + 1
        found[ends_of[steps[k, 0], 1]] += offsets[place - 1]
    size = 0
    for table in range(num_tables):
        starts[table, 1:] = starts[table, 0] + found[table]
        size += starts[table, 0] if is_last else 0
        segments[table] = size
        size += found[table]
    return size


@compiled
def _place(hop, steps, offsets, ends_of, room, blocks, num_blocks):  # type: ignore[no-untyped-def]
    """Say where the neighbours of each step are written, and add a block for each that has some; how many there are."""
    starts, segments, num_offsets, num_lists = room
    begins = segments.copy()
    place = 0
    for k in range(steps.shape[0]):
        edge, num = steps[k, 0], steps[k, 2]
        table, other = ends_of[edge, 0], ends_of[edge, 1]
        num_found = offsets[place + k + num]
        steps[k, 5] = begins[other]
        if num_found > 0:
            block = blocks[num_blocks]
            block[0], block[1], block[2], block[3] = hop + 1, edge, starts[table, 0], num
            block[4] = starts[other, 1] + begins[other] - segments[other]
            block[5], block[6] = num_offsets + place + k, num_lists + place
            num_blocks += 1
        begins[other] += num_found
        place += num
    return num_blocks


@compiled
def _gather(kept, starts, segments):  # type: ignore[no-untyped-def]
    """Copy the rows of earlier hops before those of the last."""
    num_hops = len(kept) - 1
    rows, seed, places = kept[num_hops]
    base = 0
    for table in range(starts.shape[0]):
        for hop in range(num_hops):
            first, num = segments[hop, table], starts[table, hop + 1] - starts[table, hop]
            to = base + starts[table, hop]
            own_rows, own_seed, own_places = kept[hop]
            for i in range(num):
                rows[to + i] = own_rows[first + i]
                seed[to + i] = own_seed[first + i]
            for i in range(num if hop > 0 and places.shape[0] > 0 else 0):
                places[to + i] = own_places[first + i]
        base += starts[table, num_hops + 1]


@compiled
def _with_room(array, used, more):  # type: ignore[no-untyped-def]
    """A longer array with what was used of one; the last hop is nearly all of it, so copying is cheap."""
    longer = np.empty(used + more, np.int64)
    for i in range(used):
        longer[i] = array[i]
    return longer
