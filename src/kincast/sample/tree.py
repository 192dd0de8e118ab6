"""Tree: all hops of a batch of trees in one compiled call."""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled
from kincast.sample.hop import count_hop, fill_hop, find_limit
from kincast.sample.limit import shorten
from kincast.sample.random import fold


@compiled
def grow_trees(reading, hops, seeds, keys, options):  # type: ignore[no-untyped-def]
    """Sample the tree of every seed.

    Args:
        reading: the edge types as ``edge_table`` has them; the table and the other table of each [num_edges, 2];
            the limits as ``find_limit`` reads them; and of each edge type its cut and floor [num_edges, 2]: int64.
        hops: fanout and whole [num_hops, num_edges] int64.
        seeds: the number of their table; rows, as_of_us and visible_us [n] int64.
        keys: of the run, uint64; whether draws are keyed by row; and those of edge types [num_hops, num_edges] uint64.
        options: number of tables; strict; rows of a tree at most, 0 for any number; whether to keep places.

    Returns:
        rows [num] int64 and seeds [num] int32 of all tables, one table behind another, each hop behind hop; starts
        [num_tables, num_hops + 2] int64 as in ``Batch.hop_offsets``; blocks [num_blocks, 7] int64: hop, edge type,
        first frontier row, how many, first neighbour (both in their tables), and where in offsets and in the visible
        the block begins; offsets and numbers of visible neighbours of all blocks; and places [num] or empty.
    """
    edge_table, ends_of, limit_table, bounds = reading
    fanout, wholes = hops
    seed_table, seed_rows, as_of_us, visible_us = seeds
    run_key, by_row, edge_keys = keys
    num_tables, strict, most, keep_places = options
    num_hops, num_edges = fanout.shape
    num_seeds = seed_rows.shape[0]
    limits = np.empty((max(limit_table.shape[0], 1), num_seeds), np.int64)
    known = np.zeros(limit_table.shape[0], np.bool_)
    seed_keys = _seed_keys(run_key, by_row, seed_rows, as_of_us)
    left = np.full(num_seeds if most > 0 else 0, most - 1, np.int64)

    starts = np.zeros((num_tables, num_hops + 2), np.int64)
    starts[seed_table, 1:] = num_seeds
    own = np.arange(num_seeds).astype(np.int32)
    rows, seed, places = seed_rows, own, seed_rows[:0]
    kept_rows, kept_seed, kept_places = [rows], [seed], [places]  # of each hop, one table behind another
    segments = np.zeros((num_hops + 1, num_tables), np.int64)  # where each table begins there
    steps = np.zeros((num_edges, 6), np.int64)
    blocks = np.empty((num_hops * num_edges, 7), np.int64)
    offsets, num_visible = np.empty(0, np.int64), np.empty(0, np.int64)
    num_blocks = num_offsets = num_lists = 0
    for hop in range(num_hops):
        num_steps = total = 0
        for edge in range(num_edges):
            table = ends_of[edge, 0]
            num = starts[table, hop + 1] - starts[table, hop]
            if fanout[hop, edge] == 0 or num == 0:
                continue
            steps[num_steps, 0], steps[num_steps, 1], steps[num_steps, 2] = edge, segments[hop, table], num
            for side in range(2):
                limit = bounds[edge, side]
                steps[num_steps, 3 + side] = limit
                if limit >= 0 and not known[limit]:
                    find_limit(limit_table[limit], visible_us, as_of_us, strict, limits[limit])
                    known[limit] = True
            num_steps += 1
            total += num
        taken = steps[:num_steps]
        offsets = _with_room(offsets, num_offsets, total + num_steps)
        num_visible = _with_room(num_visible, num_lists, total)
        scratch = np.empty((3, total), np.int64)
        begin, stop, alive = scratch[0], scratch[1], scratch[2]
        own_offsets, own_visible = offsets[num_offsets:], num_visible[num_lists:]
        front = (rows, seed)
        count = (begin, stop, alive, own_visible)
        count_hop(edge_table, fanout[hop], taken, front, limits, visible_us, count, own_offsets)
        if most > 0:
            shorten(left, taken, seed, own_offsets)

        found = np.zeros(num_tables, np.int64)
        place = 0
        for k in range(num_steps):
            place += steps[k, 2] + 1
            found[ends_of[steps[k, 0], 1]] += own_offsets[place - 1]
        is_last = hop == num_hops - 1
        begins = np.zeros(num_tables, np.int64)  # where the rows found now are written
        size = 0
        for table in range(num_tables):
            starts[table, hop + 2 :] = starts[table, hop + 1] + found[table]
            size += starts[table, hop + 1] if is_last else 0  # the last hop is written where it stays
            begins[table] = size
            size += found[table]
        segments[hop + 1] = begins
        out_rows, out_seed = np.empty(size, np.int64), np.empty(size, np.int32)
        out_places = np.empty(size if keep_places else 0, np.int64)
        place = 0
        for k in range(num_steps):
            edge, num = steps[k, 0], steps[k, 2]
            table, other = ends_of[edge, 0], ends_of[edge, 1]
            num_found = own_offsets[place + k + num]
            steps[k, 5] = begins[other]
            if num_found > 0:
                block = blocks[num_blocks]
                block[0], block[1], block[2], block[3] = hop + 1, edge, starts[table, hop], num
                block[4] = starts[other, hop + 1] + begins[other] - segments[hop + 1, other]
                block[5], block[6] = num_offsets + place + k, num_lists + place
                num_blocks += 1
            begins[other] += num_found
            place += num
        drawn_by, out = (seed_keys, edge_keys[hop]), (out_rows, out_seed, out_places)
        fill_hop(edge_table, wholes[hop], taken, front, visible_us, drawn_by, (begin, stop, alive), own_offsets, out)
        num_offsets += total + num_steps
        num_lists += total
        rows, seed, places = out_rows, out_seed, out_places
        kept_rows.append(rows)
        kept_seed.append(seed)
        kept_places.append(places)
    base = 0
    for table in range(num_tables):
        for hop in range(num_hops):  # the earlier ones, before the last
            first, num = segments[hop, table], starts[table, hop + 1] - starts[table, hop]
            to = base + starts[table, hop]
            rows[to : to + num] = kept_rows[hop][first : first + num]
            seed[to : to + num] = kept_seed[hop][first : first + num]
            if keep_places and hop > 0:
                places[to : to + num] = kept_places[hop][first : first + num]
        base += starts[table, num_hops + 1]
    return rows, seed, starts, blocks[:num_blocks], offsets, num_visible, places


@compiled
def _seed_keys(run_key, by_row, rows, as_of_us):  # type: ignore[no-untyped-def]
    """[n] uint64 what the draws of each seed's tree start from."""
    keys = np.empty(rows.shape[0], np.uint64)
    for i in range(rows.shape[0]):
        keys[i] = run_key if by_row else fold(fold(run_key, np.uint64(rows[i])), np.uint64(as_of_us[i]))
    return keys


@compiled
def _with_room(array, used, more):  # type: ignore[no-untyped-def]
    """A longer array with what was used of one; the last hop is nearly all of it, so copying is cheap."""
    longer = np.empty(used + more, np.int64)
    longer[:used] = array[:used]
    return longer
