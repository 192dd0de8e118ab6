"""Draw: the compiled loops PyG's options need beside those of the sampler: with replacement, by weight, and numbering.

A weighted draw without replacement takes the k largest of ``log(u) / weight`` (Efraimidis and Spirakis 2006, "Weighted
random sampling with a reservoir"), which equals drawing one after the other by weight.
"""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled
from kincast.sample.random import draw, fold, mix

_FINE = 1 << 53
_UNIT = 2.0**-53


@compiled
def fill_replace(front, edges, prefix, offsets, keys, hop_edge, out):  # type: ignore[no-untyped-def]
    """Draw with replacement among the visible edges.

    Args:
        front: nodes [n] int64 and tree [n] int32.
        edges: [num_edges] int32 or int64, ascending per node.
        prefix: begin [n] and stop [n] int64 positions in ``edges`` that are visible.
        offsets: [n + 1] int64 into ``out``.
        keys: [num_trees] uint64.
        hop_edge: uint64 that tells hop and edge type apart.
        out: [taken] int64, written.
    """
    frontier, tree = front
    begin, stop = prefix
    for i in range(frontier.shape[0]):
        key = fold(fold(keys[tree[i]], hop_edge), np.uint64(frontier[i]))
        for place in range(offsets[i], offsets[i + 1]):
            out[place] = edges[begin[i] + draw(key, place - offsets[i], stop[i] - begin[i])]


@compiled
def count_weighted(edges, weight, prefix, positive):  # type: ignore[no-untyped-def]
    """Visible edges that have weight: positive [n] int64, written."""
    begin, stop = prefix
    for i in range(begin.shape[0]):
        num = 0
        for position in range(begin[i], stop[i]):
            num += weight[edges[position]] > 0
        positive[i] = num


@compiled
def fill_weighted(front, lists, prefix, offsets, keys, hop_edge, out):  # type: ignore[no-untyped-def]
    """As ``fill_replace``, without replacement and by weight: lists is edges and weight, both [num_edges]."""
    frontier, tree = front
    edges, weight = lists
    begin, stop = prefix
    longest = 0
    for i in range(frontier.shape[0]):
        longest = max(longest, offsets[i + 1] - offsets[i])
    best = np.empty(longest, np.float64)
    for i in range(frontier.shape[0]):
        key = fold(fold(keys[tree[i]], hop_edge), np.uint64(frontier[i]))
        first = offsets[i]
        num = offsets[i + 1] - first
        held = 0
        for position in range(begin[i], stop[i]):
            mass = weight[edges[position]]
            if num == 0 or mass <= 0:
                continue
            value = np.log((draw(key, position - begin[i], _FINE) + 0.5) * _UNIT) / mass
            if held == num and value <= best[num - 1]:
                continue
            place = held if held < num else num - 1
            while place > 0 and best[place - 1] < value:
                best[place] = best[place - 1]
                out[first + place] = out[first + place - 1]
                place -= 1
            best[place] = value
            out[first + place] = edges[position]
            held = min(held + 1, num)


@compiled
def fill_weighted_replace(front, lists, prefix, offsets, keys, hop_edge, out):  # type: ignore[no-untyped-def]
    """As ``fill_replace``, by weight: lists is edges and weight, both [num_edges]."""
    frontier, tree = front
    edges, weight = lists
    begin, stop = prefix
    for i in range(frontier.shape[0]):
        key = fold(fold(keys[tree[i]], hop_edge), np.uint64(frontier[i]))
        total = 0.0
        for position in range(begin[i], stop[i]):
            total += weight[edges[position]]
        for place in range(offsets[i], offsets[i + 1]):
            point = draw(key, place - offsets[i], _FINE) * _UNIT * total
            chosen = -1
            for position in range(begin[i], stop[i]):
                mass = weight[edges[position]]
                if mass > 0:
                    chosen = edges[position]
                    if point < mass:
                        break
                    point -= mass
            out[place] = chosen


@compiled
def number(table, nodes, tree, num_nodes, start, local, fresh):  # type: ignore[no-untyped-def]
    """Give each (tree, node) a local number: the one it has, or the next; how many are numbered afterwards.

    Args:
        table: keys [size] int64, -1 where free, and numbers [size] int64; size a power of two, never full.
        nodes: [n] int32 or int64.
        tree: [n] int32.
        num_nodes: of the node type.
        start: the next number; -1 gives no new ones, and -1 to what has none.
        local: [n] int64, written.
        fresh: nodes [n] int64 and tree [n] int32, written from the front: what got a new number.
    """
    keys, numbers = table
    following = start
    for i in range(nodes.shape[0]):
        key = np.int64(tree[i]) * num_nodes + nodes[i]
        slot = _slot(keys, key)
        if keys[slot] == key:
            local[i] = numbers[slot]
        elif start < 0:
            local[i] = -1
        else:
            keys[slot], numbers[slot], local[i] = key, following, following
            fresh[0][following - start], fresh[1][following - start] = nodes[i], tree[i]
            following += 1
    return following


@compiled
def put(table, keys, numbers):  # type: ignore[no-untyped-def]
    """Enter keys [n] int64, -1 passed over, with numbers [n] int64 into a table of ``number``; the first stays."""
    for i in range(keys.shape[0]):
        if keys[i] >= 0:
            slot = _slot(table[0], keys[i])
            if table[0][slot] == -1:
                table[0][slot], table[1][slot] = keys[i], numbers[i]


@compiled
def _slot(keys, key):  # type: ignore[no-untyped-def]
    """Where a key is, or where it belongs."""
    mask = keys.shape[0] - 1
    slot = np.int64(mix(np.uint64(key)) & np.uint64(mask))
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot
