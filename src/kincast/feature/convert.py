"""Convert: Arrow columns to plain NumPy arrays, one function for each meaning a column can have."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.clock import DAY_US
from kincast.feature.spec import CALENDAR_WIDTH, FIRST_CODE, MISSING_CODE, UNSEEN_CODE, Numeric

CLIP = 8.0  # standard deviations beyond which a value says no more
NO_INSTANT = np.iinfo(np.int64).min  # stands for a missing instant


def as_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers or booleans as float64 [n]; missing and infinite values become NaN."""
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    values = np.array(values, dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def transformed(values: NDArray[np.float64], transform: str) -> NDArray[np.float64]:
    """``sign(x) log(1 + |x|)`` for ``log``, the values themselves for ``none``."""
    return np.sign(values) * np.log1p(np.abs(values)) if transform == "log" else values


def scaled(values: NDArray[np.float64], spec: Numeric) -> NDArray[np.float32]:
    """The inputs of a numeric column: float32 [n, 1 or 2]."""
    inputs = np.clip((transformed(values, spec.transform) - spec.center) / spec.scale, -CLIP, CLIP)
    missing = np.isnan(values)
    columns = [np.where(missing, 0.0, inputs)]
    if spec.flag_missing:
        columns.append(missing)
    return np.stack(columns, axis=1).astype(np.float32)


def as_texts(column: pa.ChunkedArray) -> pa.Array:
    """Any column as one contiguous array of strings."""
    if pa.types.is_floating(column.type):
        # 3.0 and 3 are one category.
        whole = pc.all(pc.equal(pc.floor(column), column)).as_py()
        column = pc.cast(column, pa.int64(), safe=False) if whole else column
    texts = pc.cast(column, pa.string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def codes_of(texts: pa.Array, categories: tuple[str, ...]) -> NDArray[np.int32]:
    """Category codes int32 [n]: 0 missing, 1 unseen, then the position among the categories."""
    found = pc.index_in(texts, value_set=pa.array(categories, pa.string()))
    filled = pc.fill_null(pc.add(found, FIRST_CODE), UNSEEN_CODE)
    codes: NDArray[np.int32] = filled.to_numpy(zero_copy_only=False).astype(np.int32)
    codes[pc.is_null(texts).to_numpy(zero_copy_only=False)] = MISSING_CODE
    return codes


def as_lists(column: pa.ChunkedArray, separator: str | None) -> pa.Array:
    """A multi-categorical column as one array of lists of strings."""
    if separator is not None:
        return pc.split_pattern(as_texts(column), pattern=separator)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.cast(array, pa.list_(pa.string()))


def item_flags(lists: pa.Array, items: tuple[str, ...]) -> NDArray[np.float32]:
    """float32 [n, items]: 1 where the row's list has the item."""
    flags = np.zeros((len(lists), len(items)), dtype=np.float32)
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    trimmed = pc.utf8_trim_whitespace(pc.list_flatten(lists))
    found = pc.index_in(trimmed, value_set=pa.array(items, pa.string()))
    known = pc.is_valid(found).to_numpy(zero_copy_only=False)
    flags[parents[known], found.drop_null().to_numpy(zero_copy_only=False)] = 1.0
    return flags


def hashed_words(texts: pa.Array, width: int) -> NDArray[np.float32]:
    """float32 [n, width]: signed word counts hashed by CRC-32 and scaled to length 1; no model, no download.

    The signed hashing of words follows Weinberger et al. 2009, "Feature hashing for large scale multitask learning".
    """
    encoded = texts.dictionary_encode()
    distinct = np.zeros((len(encoded.dictionary) + 1, width), dtype=np.float32)  # the last row stands for missing
    for row, text in enumerate(encoded.dictionary.to_pylist()):
        for word in text.lower().split():
            code = zlib.crc32(word.encode())
            distinct[row, code % width] += 1.0 if code & 0x8000_0000 else -1.0
    lengths = np.linalg.norm(distinct, axis=1, keepdims=True)
    distinct /= np.maximum(lengths, 1.0)
    index = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    vectors: NDArray[np.float32] = distinct[index]
    return vectors


def as_instants(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Timestamps or dates as int64 [n] microseconds; missing ones become ``NO_INSTANT``."""
    instants = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
    return np.asarray(pc.fill_null(instants, int(NO_INSTANT)).to_numpy(zero_copy_only=False), dtype=np.int64)


def calendar(time_us: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [n, 6]: sine and cosine of the place in the day, the week and the year (of 365.2425 days)."""
    days = time_us / DAY_US
    cycles = [days, (days + 4) / 7, days / 365.2425]  # 1970-01-01 was a Thursday: weeks start on Sundays
    angles = 2 * np.pi * np.stack(cycles, axis=1)
    inputs = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    assert inputs.shape[1] == CALENDAR_WIDTH
    return inputs
