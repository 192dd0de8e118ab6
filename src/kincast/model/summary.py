"""Summary: what is said of the rows that refer to one row: how many, how old, and statistics of their numbers."""

from __future__ import annotations

import numpy as np

from kincast.compile import compiled

NEWEST = (1, 3, 10, 30)
"""Means are taken over so many of the newest rows, and over all that are read."""
WINDOWS_DAYS = (30, 90, 365, 1095)
COUNTED_DAYS = (7, *WINDOWS_DAYS)

ROW_NAMES = (
    "rows",
    *(f"rows {days} days" for days in COUNTED_DAYS),
    "days since last",
    "days since first",
)
AMOUNT_NAMES = (
    *(f"mean of newest {count}" if count > 1 else "last" for count in NEWEST),
    "mean",
    *(f"mean {days} days" for days in WINDOWS_DAYS),
    *(f"sum {days} days" for days in WINDOWS_DAYS[:3]),
    "min",
    "max",
    "spread",
)
FAR_PLACES = (2, 3, 4, 5, 6)
"""Those of amounts of rows that are not the seed's own: newest 10 and 30, all, 30 and 90 days."""
FLAG_NAMES = ("last", "share of newest 10", "share", "share 365 days")
FLAG_PLACES = (0, 2, 4, 7)
"""Where those are among the statistics of amounts."""

_NEWEST = np.array(NEWEST)
_WINDOWS = np.array(WINDOWS_DAYS, np.float32)
_COUNTED = np.array(COUNTED_DAYS, np.float32)
_MEANS = len(NEWEST) + 1  # where the means over windows begin
_SUMS = _MEANS + len(WINDOWS_DAYS)
_NUM_SUMS = 3
_MIN, _MAX, _SPREAD = _SUMS + _NUM_SUMS, _SUMS + _NUM_SUMS + 1, _SUMS + _NUM_SUMS + 2


@compiled
def summarise(offsets, ages, behind, values, rows_out, out):  # type: ignore[no-untyped-def]
    """Statistics of segments of rows, newest first.

    Args:
        offsets: [n + 1] int64.
        ages: [m] float32 days before what the seed can see ends; NaN without a time.
        behind: [n] float32 days from there to the seed's instant.
        values: [m, columns] float32; NaN where missing.
        rows_out: [n, len(ROW_NAMES) - 1] float32, written: without the number of rows.
        out: [n, columns, len(AMOUNT_NAMES)] float32, written; NaN where there is nothing.
    """
    num_newest, num_windows, num_columns = len(_NEWEST), len(_WINDOWS), values.shape[1]
    sums = np.empty((num_columns, num_windows))
    counts = np.empty((num_columns, num_windows))
    total = np.empty(num_columns)
    squares = np.empty(num_columns)
    known = np.empty(num_columns)
    for i in range(len(offsets) - 1):
        start, stop = offsets[i], offsets[i + 1]
        _count_ages(ages[start:stop], behind[i], rows_out[i])
        sums[:], counts[:], total[:], squares[:], known[:] = 0.0, 0.0, 0.0, 0.0, 0.0
        out[i] = np.nan
        for j in range(start, stop):
            for c in range(num_columns):
                value = np.float64(values[j, c])
                if np.isnan(value):
                    continue
                known[c] += 1
                total[c] += value
                squares[c] += value * value
                for w in range(num_windows):
                    if ages[j] <= _WINDOWS[w]:
                        sums[c, w] += value
                        counts[c, w] += 1
                if not out[i, c, _MIN] <= value:  # also when there is none yet
                    out[i, c, _MIN] = value
                if not out[i, c, _MAX] >= value:
                    out[i, c, _MAX] = value
            for k in range(num_newest):
                if j - start + 1 == _NEWEST[k] or (j + 1 == stop and j - start + 1 < _NEWEST[k]):
                    for c in range(num_columns):
                        if known[c]:
                            out[i, c, k] = total[c] / known[c]
        for c in range(num_columns):
            if not known[c]:
                continue
            mean = total[c] / known[c]
            out[i, c, num_newest] = mean
            for w in range(num_windows):
                if counts[c, w]:
                    out[i, c, _MEANS + w] = sums[c, w] / counts[c, w]
            for w in range(_NUM_SUMS):
                out[i, c, _SUMS + w] = sums[c, w]
            variance = squares[c] / known[c] - mean * mean
            out[i, c, _SPREAD] = np.sqrt(max(variance, 0.0))


@compiled
def _count_ages(ages, behind, out):  # type: ignore[no-untyped-def]
    """How many rows are so young, and the days since the youngest and the oldest."""
    num = len(_COUNTED)
    out[:] = 0.0
    out[num], out[num + 1] = np.nan, np.nan
    for age in ages:
        if np.isnan(age):
            continue
        for w in range(num):
            if age <= _COUNTED[w]:
                out[w] += 1
        if not out[num] <= age + behind:
            out[num] = age + behind
        if not out[num + 1] >= age + behind:
            out[num + 1] = age + behind
