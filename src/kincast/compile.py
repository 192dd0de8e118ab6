"""Compile: Numba loops without the interpreter lock, their machine code kept for the next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Decorate a loop over plain arrays.

    Machine code is kept beside the module, or, where that cannot be written, in the user's cache folder (or the one
    that ``NUMBA_CACHE_DIR`` names). Where nothing can be written it is compiled anew in each process.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # Numba found no folder for its cache
        return njit(nogil=True)(function)
