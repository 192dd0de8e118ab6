"""Convert: Arrow columns to plain NumPy arrays, one function for each meaning a column can have."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.clock import DAY_US
from kincast.feature.spec import (
    CALENDAR_WIDTH,
    CLIP,
    FIRST_CODE,
    MISSING_CODE,
    SUMMARY,
    UNSEEN_CODE,
    Categorical,
    Numeric,
    Vector,
)

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
    """Any column as one contiguous array of strings; a value gives the same text whatever others are beside it."""
    texts = pc.cast(column, pa.string())
    if pa.types.is_floating(column.type):
        # 3.0 and 3 are one category; beyond 2^53 fractions have no whole numbers to be confused with.
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
        numbers = pc.cast(pc.if_else(whole, column, 0.0), pa.int64(), safe=False)
        texts = pc.if_else(whole, pc.cast(numbers, pa.string()), texts)
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def codes_of(texts: pa.Array, spec: Categorical) -> NDArray[np.int32]:
    """Category codes int32 [n]: 0 missing, 1 unseen, then the position among the categories, then the buckets."""
    encoded = texts.dictionary_encode()
    distinct = encoded.dictionary
    found = pc.fill_null(pc.index_in(distinct, value_set=pa.array(spec.categories, pa.string())), -1)
    places = found.to_numpy(zero_copy_only=False).astype(np.int32)
    codes = np.where(places < 0, UNSEEN_CODE, places + FIRST_CODE).astype(np.int32)
    if spec.buckets:
        start = FIRST_CODE + len(spec.categories)
        for place in np.flatnonzero(places < 0).tolist():
            codes[place] = start + zlib.crc32(distinct[place].as_py().encode()) % spec.buckets
    index = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    by_row: NDArray[np.int32] = np.append(codes, np.int32(MISSING_CODE))[index]
    return by_row


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


def as_vectors(column: pa.ChunkedArray, width: int) -> NDArray[np.float64]:
    """Lists of numbers as float64 [n, width]; rows of NaN where one is missing or of another length."""
    lists = _lists_of_numbers(column)
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    fitting = lengths == width
    vectors = np.full((len(lists), width), np.nan)
    if width and fitting.any():
        vectors[fitting] = as_floats(pc.list_flatten(lists.filter(pa.array(fitting)))).reshape(-1, width)
    return vectors


def vector_inputs(vectors: NDArray[np.float64], spec: Vector) -> NDArray[np.float32]:
    """float32 [n, width + 1]: the vectors as their spec says, then 1 where the whole vector is missing."""
    missing = np.isnan(vectors)
    if spec.unit:
        vectors = as_units(vectors)
    inputs = np.clip((vectors - np.array(spec.center)) / np.array(spec.scale), -CLIP, CLIP)
    flag = missing.all(axis=1, keepdims=True)
    return np.concatenate([np.where(missing, 0.0, inputs), flag], axis=1).astype(np.float32)


def as_units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors [n, width] of length 1; those of length 0 stay."""
    lengths = np.sqrt(np.nansum(vectors**2, axis=1, keepdims=True))
    return vectors / np.where(lengths > 0, lengths, 1.0)


def vector_lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """[k] int64 lengths of the lists that are not missing."""
    lengths = pc.list_value_length(_lists_of_numbers(column)).drop_null()
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def summaries(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Lists of numbers as float64 [n, 6], the figures of ``SUMMARY``; NaN where there is no list or no number in it.

    The length of an empty list is 0. Missing numbers within a list count for its length and nothing else.
    """
    lists = _lists_of_numbers(column)
    figures = np.full((len(lists), len(SUMMARY)), np.nan)
    lengths = pc.list_value_length(lists)
    figures[:, 0] = as_floats(lengths)
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    values = as_floats(pc.list_flatten(lists))
    parents, values = parents[~np.isnan(values)], values[~np.isnan(values)]
    if not len(values):
        return figures
    starts = np.flatnonzero(np.r_[True, parents[1:] != parents[:-1]])
    rows, counts = parents[starts], np.diff(np.r_[starts, len(parents)])
    mean = np.add.reduceat(values, starts) / counts
    deviations = values - np.repeat(mean, counts)
    figures[rows, 1] = mean
    figures[rows, 2] = np.sqrt(np.add.reduceat(deviations**2, starts) / counts)
    figures[rows, 3] = np.minimum.reduceat(values, starts)
    figures[rows, 4] = np.maximum.reduceat(values, starts)
    figures[rows, 5] = values[starts + counts - 1]
    return figures


def _lists_of_numbers(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.cast(array, pa.list_(pa.float64()))


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
