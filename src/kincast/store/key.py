"""Key: users' keys of any type as exact 64-bit codes or bytes, and the index that finds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kincast.compile import compiled

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

_MASK = (1 << 64) - 1
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}")


def mix(code: int) -> int:
    """SplitMix64's finaliser: one-to-one on 64 bits, so equal results mean equal codes.

    Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    code &= _MASK
    code = ((code ^ (code >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    code = ((code ^ (code >> 27)) * 0x94D049BB133111EB) & _MASK
    return code ^ (code >> 31)


def is_integer_key(types: Sequence[pa.DataType]) -> bool:
    """True when the key is one integer column, which needs no bytes: ``mix`` is already exact."""
    return len(types) == 1 and bool(pa.types.is_integer(types[0]))


def integer_code(key: Any, type: pa.DataType) -> int | None:
    """A key of the user's as an integer of the column's range; None when it can be no such integer.

    Text in the shortest decimal form counts (``"17"``), floats and truth values do not.
    """
    if isinstance(key, str):
        if not _INTEGER.fullmatch(key):
            return None
        key = int(key)
    elif isinstance(key, bool | np.bool_) or not isinstance(key, int | np.integer):
        return None
    bits = type.bit_width
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if pa.types.is_signed_integer(type) else (0, 1 << bits)
    return int(key) if low <= key < high else None


def integer_hashes(column: pa.Array) -> UInt64s:
    """``mix`` of every key of an integer column without nulls: ``[n] uint64``."""
    values = column.to_numpy(zero_copy_only=False)
    codes = values.astype(np.int64 if values.dtype.kind == "i" else np.uint64).view(np.uint64)
    return np.asarray(_mix_all(codes), np.uint64)


def column_bytes(keys: pa.Table) -> tuple[Bytes, Int64s]:
    """Every key of a table as bytes.

    Args:
        keys: key columns without nulls, ``n`` rows.

    Returns:
        data ``[total] uint8`` and offsets ``[n + 1] int64``: key ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
    """
    texts = [pc.cast(pc.cast(column, pa.string()), pa.large_binary()) for column in keys.columns]
    if len(texts) > 1:  # netstrings: no two different tuples give the same bytes
        colon, nothing = (pa.scalar(text, pa.large_binary()) for text in (b":", b""))
        lengths = [pc.cast(pc.cast(pc.binary_length(text), pa.string()), pa.large_binary()) for text in texts]
        pairs = [pc.binary_join_element_wise(n, text, colon) for n, text in zip(lengths, texts, strict=True)]
        texts = [pc.binary_join_element_wise(*pairs, nothing)]
    joined = texts[0].combine_chunks()
    _, offset_buffer, data_buffer = joined.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[joined.offset : joined.offset + len(joined) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    return data, offsets - offsets[0]


def key_bytes(key: Any, types: Sequence[pa.DataType]) -> bytes | None:
    """One key of the user's as the bytes ``column_bytes`` gives it; None when it can be no such key."""
    if len(types) == 1:
        return _part_bytes(key, types[0])
    if not isinstance(key, list | tuple) or len(key) != len(types):
        return None
    parts = [_part_bytes(part, type) for part, type in zip(key, types, strict=True)]
    if any(part is None for part in parts):
        return None
    return b"".join(b"%d:%b" % (len(part), part) for part in parts if part is not None)


def _part_bytes(part: Any, type: pa.DataType) -> bytes | None:
    if part is None or isinstance(part, list | tuple | dict | bytes):
        return None
    if pa.types.is_integer(type):
        code = integer_code(part, type)
        return None if code is None else str(code).encode()
    try:
        if isinstance(part, str) and pa.types.is_string(type):
            return part.encode()
        scalar = pa.scalar(part) if isinstance(part, str) else pa.scalar(part, type)
        return str(scalar.cast(type).cast(pa.string()).as_py()).encode()
    except (pa.ArrowException, ValueError, TypeError, OverflowError):  # lone surrogates are a ValueError
        return None


@compiled
def _mix_one(code: Any) -> Any:
    code = (code ^ (code >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    code = (code ^ (code >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return code ^ (code >> np.uint64(31))


@compiled
def _mix_all(codes: UInt64s) -> UInt64s:
    mixed = np.empty(len(codes), np.uint64)
    for i in range(len(codes)):
        mixed[i] = _mix_one(codes[i])
    return mixed


@compiled
def hash_bytes(data: Bytes, offsets: Int64s) -> UInt64s:
    """64-bit hash of each key's bytes, eight at a time; the length is hashed too, so padding is no key's twin."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(hashes)):
        start, end = offsets[i], offsets[i + 1]
        state = np.uint64(end - start) * np.uint64(0x9E3779B97F4A7C15)
        at = start
        while at < end:
            word = np.uint64(0)
            for k in range(min(8, end - at)):
                word |= np.uint64(data[at + k]) << np.uint64(8 * k)
            state = _mix_one(state ^ word)
            at += 8
        hashes[i] = state
    return hashes


def hash_one(key: bytes) -> int:
    """What ``hash_bytes`` gives for one key, without the cost of calling a kernel."""
    state = (len(key) * 0x9E3779B97F4A7C15) & _MASK
    for at in range(0, len(key), 8):
        state = mix(state ^ int.from_bytes(key[at : at + 8], "little"))
    return state


def join_keys(keys: Sequence[Any], types: Sequence[pa.DataType]) -> tuple[Bytes, Int64s, list[int]]:
    """Keys of the user's as ``column_bytes`` gives them, and the places of those that can be no such key."""
    if len(types) == 1 and pa.types.is_string(types[0]) and {type(key) for key in keys} == {str}:
        joined = "".join(keys)
        if joined.isascii():
            offsets = np.zeros(len(keys) + 1, np.int64)
            np.cumsum([len(key) for key in keys], out=offsets[1:])
            return np.frombuffer(joined.encode(), np.uint8), offsets, []
    encoded = [key_bytes(key, types) for key in keys]
    offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(part or b"") for part in encoded], out=offsets[1:])
    data = np.frombuffer(b"".join(part or b"" for part in encoded), np.uint8)
    return data, offsets, [i for i, part in enumerate(encoded) if part is None]


def bucket_starts(hashes: UInt64s) -> tuple[Int64s, int]:
    """Index of sorted hashes by their leading bits.

    Returns:
        starts ``[2^bits + 1] int64`` and the shift ``64 - bits``: the hashes of bucket ``h >> shift`` are
        ``starts[b] .. starts[b + 1]``, two on average at most.
    """
    bits = max(1, len(hashes).bit_length() - 1)
    shift = 64 - bits
    counts = np.bincount((hashes >> np.uint64(shift)).astype(np.int64), minlength=1 << bits)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), shift


@compiled
def find_integers(wanted: UInt64s, starts: Int64s, hashes: UInt64s, shift: int) -> Int64s:
    """Row of each integer key (as its unmixed code), -1 where no row has it: ``[n] int64``."""
    rows = np.full(len(wanted), -1, np.int64)
    for i in range(len(wanted)):
        code = _mix_one(wanted[i])
        bucket = np.int64(code >> np.uint64(shift))
        for row in range(starts[bucket], starts[bucket + 1]):
            if hashes[row] == code:
                rows[i] = row
                break
    return rows


@compiled
def find_bytes(
    data: Bytes, offsets: Int64s, starts: Int64s, hashes: UInt64s, shift: int, key_data: Bytes, key_offsets: Int64s
) -> Int64s:
    """Row of each key given as bytes, compared byte for byte; -1 where no row has it: ``[n] int64``."""
    wanted = hash_bytes(data, offsets)
    rows = np.full(len(wanted), -1, np.int64)
    for i in range(len(wanted)):
        size = offsets[i + 1] - offsets[i]
        bucket = np.int64(wanted[i] >> np.uint64(shift))
        for row in range(starts[bucket], starts[bucket + 1]):
            if hashes[row] != wanted[i] or key_offsets[row + 1] - key_offsets[row] != size:
                continue
            same = True
            for k in range(size):
                if key_data[key_offsets[row] + k] != data[offsets[i] + k]:
                    same = False
                    break
            if same:
                rows[i] = row
                break
    return rows
