"""Slots: a number for each key that was heard of; keys are digests of 128 bits, found in one open-addressing table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.compile import compiled, prefetch
from kincast.source.change import Int64s

Digests = NDArray[np.uint64]
"""[n, 2] uint64: the 32 hexadecimal digits of a digest as two numbers, in their order."""

LAST = np.iinfo(np.uint64).max
"""Both numbers of the text ``z``, which comes behind every digest."""

_DIGITS = 32
_AHEAD = 8
_TAG = np.uint64(0xFFFFFFFF00000000)
_SLOT = np.uint64(0x00000000FFFFFFFF)


class Slots:
    """Digest → slot: 0 for the first digest that was interned, and so on.

    Args:
        places: of the table at first; a power of two. No more than half of them are taken.
    """

    def __init__(self, places: int = 1024) -> None:
        # A place holds the slot, counted from 1, and half of the digest's second number; 0 is free.
        self._places = np.zeros(places, np.uint64)
        self._digests: Digests = np.empty((places // 2, 2), np.uint64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def digests(self) -> Digests:
        """[slots, 2] uint64 the digest of each slot."""
        return self._digests[: self._size]

    def intern(self, digests: Digests) -> Int64s:
        """[n] int64 slot of each digest, made where it is new."""
        slots = np.empty(len(digests), np.int64)
        done = 0
        while done < len(digests):
            if self._size == len(self._digests):
                self._grow()
            done, self._size = _intern(digests, done, self._digests, self._size, self._places, slots)
        return slots

    def find(self, digests: Digests) -> Int64s:
        """[n] int64 slot of each digest; -1 where it was never interned."""
        slots = np.empty(len(digests), np.int64)
        _find(digests, self._digests, self._places, slots)
        return slots

    def _grow(self) -> None:
        held = self.digests
        self._places = np.zeros(2 * len(self._places), np.uint64)
        self._digests = np.empty((len(self._places) // 2, 2), np.uint64)
        self._digests[: self._size] = held
        _refill(self._digests, self._size, self._places)


def read_digests(texts: pa.Array) -> Digests:
    """[n, 2] uint64 of texts of 32 hexadecimal digits; every other text, and null, is read as ``LAST``."""
    texts = texts.cast(pa.string())
    digests = np.empty((len(texts), 2), np.uint64)
    _, places, letters = texts.buffers()
    if len(texts):
        ends = np.frombuffer(places, np.int32, len(texts) + 1, texts.offset * 4)
        _read(np.frombuffer(letters or b"", np.uint8), ends, digests)
    return digests


def write_digests(digests: Digests) -> pa.Array:
    """[n] string: the hexadecimal digits of each digest, or ``z``; what ``read_digests`` read."""
    octets = np.ascontiguousarray(digests).astype(">u8").view(np.uint8).reshape(len(digests), 16)
    digits = np.empty((len(digests), 16, 2), np.uint8)
    digits[:, :, 0], digits[:, :, 1] = octets >> 4, octets & 15
    letters = np.frombuffer(b"0123456789abcdef", np.uint8)[digits].reshape(len(digests), _DIGITS)
    is_last = (digests == LAST).all(axis=1)
    letters[is_last, 0] = ord("z")
    keep = np.ones(letters.shape, np.bool_)
    keep[is_last, 1:] = False
    ends = np.zeros(len(digests) + 1, np.int64)
    np.cumsum(np.where(is_last, 1, _DIGITS), out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(letters[keep])]
    return pa.Array.from_buffers(pa.large_string(), len(digests), buffers).cast(pa.string())


@compiled
def _read(letters, ends, digests):  # type: ignore[no-untyped-def]
    for i in range(digests.shape[0]):
        begin = ends[i]
        if ends[i + 1] - begin != _DIGITS:
            digests[i, 0] = digests[i, 1] = LAST
            continue
        for half in range(2):
            number = np.uint64(0)
            for j in range(_DIGITS // 2):
                letter = letters[begin + half * (_DIGITS // 2) + j]
                digit = letter - 48 if letter < 58 else letter - 87
                number = (number << np.uint64(4)) | np.uint64(digit)
            digests[i, half] = number


@compiled
def _intern(digests, begin, held, size, places, slots):  # type: ignore[no-untyped-def]
    """Intern from a position on, until all are or ``held`` is full: returns how far that was, and the new size."""
    mask = np.uint64(places.shape[0] - 1)
    for i in range(begin, digests.shape[0]):
        if size == held.shape[0]:
            return i, size
        if i + _AHEAD < digests.shape[0]:
            prefetch(places, np.int64(digests[i + _AHEAD, 0] & mask))
        slot, place = _look(digests[i, 0], digests[i, 1], held, places, mask)
        if slot < 0:
            slot = size
            places[place] = (digests[i, 1] & _TAG) | np.uint64(slot + 1)
            held[slot, 0], held[slot, 1] = digests[i, 0], digests[i, 1]
            size += 1
        slots[i] = slot
    return digests.shape[0], size


@compiled
def _find(digests, held, places, slots):  # type: ignore[no-untyped-def]
    mask = np.uint64(places.shape[0] - 1)
    for i in range(digests.shape[0]):
        slots[i] = _look(digests[i, 0], digests[i, 1], held, places, mask)[0]


@compiled
def _refill(held, size, places):  # type: ignore[no-untyped-def]
    mask = np.uint64(places.shape[0] - 1)
    for slot in range(size):
        place = held[slot, 0] & mask
        while places[place] != 0:
            place = (place + np.uint64(1)) & mask
        places[place] = (held[slot, 1] & _TAG) | np.uint64(slot + 1)


@compiled
def _look(first, second, held, places, mask):  # type: ignore[no-untyped-def]
    """Slot of a digest, and its place; -1 and the free place where it would go when it has none."""
    place = first & mask
    while places[place] != 0:
        entry = places[place]
        if entry & _TAG == second & _TAG:
            slot = np.int64(entry & _SLOT) - 1
            if held[slot, 0] == first and held[slot, 1] == second:
                return slot, np.int64(place)
        place = (place + np.uint64(1)) & mask
    return np.int64(-1), np.int64(place)
