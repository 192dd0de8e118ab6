"""CSR: reverse a link's array into neighbour lists, sorted by row and so by time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled

INT32_ROWS = 2**31 - 1


def row_type(num_rows: int) -> type[np.int32] | type[np.int64]:
    """The smaller type that holds every row number of a table of that size."""
    return np.int32 if num_rows <= INT32_ROWS else np.int64


def reverse_link(forward: NDArray[Any], num_dst: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Neighbour lists from the array of a link.

    Args:
        forward: [num_src] int32 or int64 row of the target, -1 for none.
        num_dst: rows of the target.

    Returns:
        offsets [num_dst + 1] int64 and rows [edges] int32 or int64: source rows per target row, ascending.
    """
    offsets = np.zeros(num_dst + 1, np.int64)
    _count(forward, offsets)
    np.cumsum(offsets, out=offsets)
    rows = np.empty(offsets[-1], row_type(len(forward)))
    _fill(forward, offsets[:-1].copy(), rows)
    return offsets, rows


@compiled
def _count(forward, offsets):  # type: ignore[no-untyped-def]
    for i in range(forward.shape[0]):
        if forward[i] >= 0:
            offsets[forward[i] + 1] += 1


@compiled
def _fill(forward, cursor, rows):  # type: ignore[no-untyped-def]
    for i in range(forward.shape[0]):
        dst = forward[i]
        if dst >= 0:
            rows[cursor[dst]] = i
            cursor[dst] += 1
