"""Number: the compiled hash table that gives every row of a sub-graph its local number."""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled, prefetch
from kincast.sample.random import mix

STAGE = 64


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
    mask = np.uint64(keys.shape[0] - 1)
    slots = np.empty(STAGE, np.int64)
    following = start
    num = nodes.shape[0]
    for begin in range(0, num, STAGE):
        end = min(begin + STAGE, num)
        for i in range(begin, end):
            slot = np.int64(mix(np.uint64(np.int64(tree[i]) * num_nodes + nodes[i])) & mask)
            slots[i - begin] = slot
            prefetch(keys, slot)
            prefetch(numbers, slot)
        for i in range(begin, end):
            key = np.int64(tree[i]) * num_nodes + nodes[i]
            slot = _slot_from(keys, key, slots[i - begin])
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
    mask = np.uint64(table[0].shape[0] - 1)
    for i in range(keys.shape[0]):
        if keys[i] >= 0:
            slot = _slot_from(table[0], keys[i], np.int64(mix(np.uint64(keys[i])) & mask))
            if table[0][slot] == -1:
                table[0][slot], table[1][slot] = keys[i], numbers[i]


@compiled
def _slot_from(keys, key, slot):  # type: ignore[no-untyped-def]
    """Where a key is, or where it belongs, at or after the slot that its hash names."""
    mask = keys.shape[0] - 1
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot
