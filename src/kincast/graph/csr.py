"""CSR: reverse a link's array into neighbour lists, sorted by row and so by time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled

INT32_ROWS = 2**31 - 1


def row_type(num_rows: int) -> type[np.int32] | type[np.int64]:
    """The smaller type that holds every row number of a table of that size."""
    return np.int32 if num_rows <= INT32_ROWS else np.int64


HELD_BYTES = 1 << 30
"""Rows of a reversed link that are held in memory at once; a larger link is reversed in several passes."""


def reverse_link(forward: NDArray[Any], num_dst: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Neighbour lists from the array of a link.

    Args:
        forward: [num_src] int32 or int64 row of the target, -1 for none.
        num_dst: rows of the target.

    Returns:
        offsets [num_dst + 1] int64 and rows [edges] int32 or int64: source rows per target row, ascending.
    """
    offsets = count_lists(forward, num_dst)
    parts = list(list_parts(forward, offsets, held_bytes=None))
    return offsets, parts[0] if parts else np.empty(0, row_type(len(forward)))


def count_lists(forward: NDArray[Any], num_dst: int) -> NDArray[np.int64]:
    """[num_dst + 1] int64: where the neighbour list of each target row starts, and where the last one ends."""
    offsets = np.zeros(num_dst + 1, np.int64)
    _count(forward, offsets)
    return np.cumsum(offsets, out=offsets)


def list_parts(
    forward: NDArray[Any], offsets: NDArray[np.int64], held_bytes: int | None = HELD_BYTES
) -> Iterator[NDArray[Any]]:
    """The neighbour lists of consecutive target rows, one array after the other, each of about that size at most.

    Args:
        forward: [num_src] int32 or int64 row of the target, -1 for none.
        offsets: of ``count_lists``.
        held_bytes: size of a part, more only where a single list is longer; None for all in one.
    """
    kind = row_type(len(forward))
    num_dst = len(offsets) - 1
    most = int(offsets[-1]) if held_bytes is None else held_bytes // np.dtype(kind).itemsize
    first = 0
    while first < num_dst and offsets[first] < offsets[-1]:
        end = int(np.searchsorted(offsets, offsets[first] + most, "right")) - 1
        last = min(max(end, first + 1), num_dst)
        rows = np.empty(offsets[last] - offsets[first], kind)
        _fill(forward, first, last, offsets[first:last] - offsets[first], rows)
        yield rows
        first = last


@compiled
def _count(forward, offsets):  # type: ignore[no-untyped-def]
    for i in range(forward.shape[0]):
        if forward[i] >= 0:
            offsets[forward[i] + 1] += 1


@compiled
def _fill(forward, first, last, cursor, rows):  # type: ignore[no-untyped-def]
    for i in range(forward.shape[0]):
        dst = forward[i]
        if first <= dst < last:
            rows[cursor[dst - first]] = i
            cursor[dst - first] += 1
