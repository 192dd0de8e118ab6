"""Order: whether rows come in row order already, and whether a key comes twice, told without sorting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAX_HELD = 1 << 27
"""Keys held in memory at 8 bytes each; of a larger table SQL finds what comes twice, on disk if need be."""

_BATCH_ROWS = 1 << 18
# A table of marks may have so many times more places than there are keys; beyond it sorting takes less memory.
_MARKS_PER_KEY = 8


@dataclass(frozen=True, slots=True)
class Arrival:
    """How rows arrive.

    Attributes:
        in_order: True when they are known to come by time, and by key where times are the same.
        may_repeat: False when every key is known to come once.
    """

    in_order: bool
    may_repeat: bool


@dataclass
class _Order:
    """Follows (time, key) from batch to batch."""

    holds: bool = True
    last: tuple[int, int] | None = None

    def feed(self, times: NDArray[np.int64] | None, keys: NDArray[np.int64] | None) -> None:
        first = times if times is not None else keys
        if not self.holds or first is None or not len(first):
            self.holds = self.holds and first is not None
            return
        rising = first[1:] > first[:-1]
        if times is not None and keys is not None:
            rising |= (times[1:] == times[:-1]) & (keys[1:] > keys[:-1])
        start = (int(times[0]) if times is not None else 0, int(keys[0]) if keys is not None else 0)
        self.holds = bool(rising.all()) and (self.last is None or start > self.last)
        self.last = (int(times[-1]) if times is not None else 0, int(keys[-1]) if keys is not None else 0)


def observe(connection: duckdb.DuckDBPyConnection, sql: str, num_rows: int, kind: str) -> Arrival:
    """Look at times and keys in the order in which the rows come.

    Args:
        connection: where the rows are.
        sql: SELECT of the time in microseconds (or NULL for all) and the key as a number (or NULL for all).
        num_rows: it gives, about.
        kind: ``whole`` when the number is the key, ``hash`` when it stands for it, ``none`` without a key.
    """
    order = _Order()
    held: list[NDArray[Any]] = []
    hold = kind != "none" and num_rows <= MAX_HELD
    for batch in connection.sql(sql).to_arrow_reader(_BATCH_ROWS):
        times, keys = _numbers(batch.column(0)), _numbers(batch.column(1))
        order.feed(times, keys if kind == "whole" else None)
        if hold and keys is not None:
            held.append(keys)
    may_repeat = kind != "none" and (not hold or _repeats(held))
    return Arrival(order.holds, may_repeat)


def _numbers(column: pa.Array) -> NDArray[Any] | None:
    if column.null_count == len(column):
        return None
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _repeats(held: list[NDArray[Any]]) -> bool:
    """True when a number comes twice."""
    if not held:
        return False
    low, high = min(int(keys.min()) for keys in held), max(int(keys.max()) for keys in held)
    count = sum(map(len, held))
    if high - low < _MARKS_PER_KEY * count + 1024:
        marks = np.zeros(high - low + 1, np.bool_)
        for keys in held:
            marks[keys - low] = True
        return int(np.count_nonzero(marks)) < count
    numbers = np.concatenate(held)
    held.clear()
    numbers.sort()
    return bool((numbers[1:] == numbers[:-1]).any())
