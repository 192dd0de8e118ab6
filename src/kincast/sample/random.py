"""Random: a counter-based generator: every draw is a function of a key and a number, in kernels and outside.

SplitMix64's finaliser (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators") over
``key + counter * gamma``. No state: the same draw whatever the batching, the order or the threads.

Numba notices changes of the file a cached kernel is in, not of the files it calls: after changing this file, touch
``kernels.py`` and ``choose.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_BITS_11 = np.uint64(11)
_BITS_27 = np.uint64(27)
_BITS_30 = np.uint64(30)
_BITS_31 = np.uint64(31)
_UNIT = 2.0**-53


@compiled
def mix(bits):  # type: ignore[no-untyped-def]
    """Scramble 64 bits one to one."""
    bits = (bits ^ (bits >> _BITS_30)) * _MIX_1
    bits = (bits ^ (bits >> _BITS_27)) * _MIX_2
    return bits ^ (bits >> _BITS_31)


@compiled
def fold(key, value):  # type: ignore[no-untyped-def]
    """A new key from a key and one more number (both uint64)."""
    return mix((key ^ value) + GAMMA)


@compiled
def unit(key, counter):  # type: ignore[no-untyped-def]
    """Draw number ``counter`` of a key: float64 in ``[0, 1)``, a multiple of 2^-53."""
    return np.float64(mix(key + np.uint64(counter + 1) * GAMMA) >> _BITS_11) * _UNIT


@compiled
def draw(key, counter, below):  # type: ignore[no-untyped-def]
    """Draw number ``counter`` of a key: int64 in ``0 .. below - 1``, uniform up to 2^-53 · below."""
    return np.int64(unit(key, counter) * below)


@compiled
def fold_pairs(key, ones, others):  # type: ignore[no-untyped-def]
    """``fold`` of a key with each of two numbers, one pair after another: [n] uint64."""
    keys = np.empty(ones.shape[0], np.uint64)
    for i in range(ones.shape[0]):
        keys[i] = fold(fold(key, np.uint64(ones[i])), np.uint64(others[i]))
    return keys


def fold_all(key: int | NDArray[np.uint64], values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """``fold`` of one key, or of one key per value, with each value: [n] uint64."""
    bits = (np.asarray(key, np.uint64) ^ values.view(np.uint64)) + GAMMA
    bits = (bits ^ (bits >> _BITS_30)) * _MIX_1
    bits = (bits ^ (bits >> _BITS_27)) * _MIX_2
    return bits ^ (bits >> _BITS_31)
