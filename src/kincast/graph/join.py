"""Join: which row each foreign key names, for whole-number keys, in memory and one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled
from kincast.graph.csr import row_type

MAX_KEYS = 1 << 25
"""Keys that a finder may hold, at 8 bytes and at most 48 more each."""

# A table of rows may have so many times more places than there are keys; sparser keys are hashed.
_PLACES_PER_KEY = 4
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class RowFinder:
    """Key → row of one table.

    Keys that lie close together are places of an array; others are hashed into slots, half of them empty.

    Args:
        keys: [n] int64 keys in row order, each once.
    """

    def __init__(self, keys: NDArray[np.int64]) -> None:
        kind = row_type(len(keys))
        low, high = (int(keys.min()), int(keys.max())) if len(keys) else (0, -1)
        self._low, self._high = low, high
        self._slots = np.empty(0, np.int64)
        if high - low < _PLACES_PER_KEY * len(keys) + 1024:
            self._rows = np.full(high - low + 1, -1, kind)
            self._rows[keys - low] = np.arange(len(keys), dtype=kind)
        else:
            num_slots = 1 << (2 * len(keys) - 1).bit_length()
            self._slots = np.empty(num_slots, np.int64)
            self._rows = np.full(num_slots, -1, kind)
            _insert(keys, self._slots, self._rows, np.uint64(64 - num_slots.bit_length() + 1))

    def find(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """[n] int32 or int64 row of each key; -1 where no row has it."""
        found = np.empty(len(wanted), self._rows.dtype)
        if len(self._slots):
            shift = np.uint64(64 - len(self._slots).bit_length() + 1)
            _find(wanted, self._slots, self._rows, shift, found)
        else:
            _look(wanted, self._low, self._high, self._rows, found)
        return found


@compiled
def _look(wanted, low, high, rows, found):  # type: ignore[no-untyped-def]
    for i in range(wanted.shape[0]):
        found[i] = rows[wanted[i] - low] if low <= wanted[i] <= high else -1


@compiled
def _insert(keys, slots, rows, shift):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(keys.shape[0]):
        slot = (np.uint64(keys[i]) * _GOLDEN) >> shift
        while rows[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = keys[i]
        rows[slot] = i


@compiled
def _find(wanted, slots, rows, shift, found):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(wanted.shape[0]):
        slot = (np.uint64(wanted[i]) * _GOLDEN) >> shift
        while rows[slot] >= 0 and slots[slot] != wanted[i]:
            slot = (slot + np.uint64(1)) & mask
        found[i] = rows[slot]
