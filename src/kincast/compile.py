"""Compile: Numba loops without the interpreter lock, their machine code kept for the next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


def compiled(function: Callable[..., Any]) -> Any:
    """Decorate a loop over plain arrays.

    Machine code is kept beside the module, or, where that cannot be written, in the user's cache folder (or the one
    that ``NUMBA_CACHE_DIR`` names). Where nothing can be written it is compiled anew in each process.
    """
    return _compiled(function, False)


def compiled_with_sums(function: Callable[..., Any]) -> Any:
    """The same for loops that add floats up: in the order that suits vectors, which is fixed when it is compiled."""
    return _compiled(function, {"reassoc", "contract", "nsz"})


def _compiled(function: Callable[..., Any], fastmath: bool | set[str]) -> Any:
    try:
        return njit(cache=True, nogil=True, fastmath=fastmath)(function)
    except RuntimeError:  # Numba found no folder for its cache
        return njit(nogil=True, fastmath=fastmath)(function)


@intrinsic
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of ``array[index]``; nothing happens where that is outside the array's memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        layout = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(layout.data, [arguments[1]])
        pointer = builder.bitcast(pointer, cgutils.voidptr_t)
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, i32(0), i32(3), i32(1)])  # read, keep in all levels, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def pointer(typing_context, address):  # type: ignore[no-untyped-def]
    """What ``numba.carray`` takes, from the address of an array that somebody else keeps alive."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


def address(array: Any) -> int:
    """Where an array begins in memory."""
    return int(np.asarray(array).__array_interface__["data"][0])
