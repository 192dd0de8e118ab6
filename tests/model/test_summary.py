"""The compiled statistics are those of plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.model.summary import AMOUNT_NAMES, COUNTED_DAYS, NEWEST, ROW_NAMES, WINDOWS_DAYS, summarise


def slowly(ages: Any, values: Any, behind: float) -> tuple[list[float], list[float]]:
    """Of one segment with one column, newest first."""
    known = ages[~np.isnan(ages)]
    rows = [float((known <= days).sum()) for days in COUNTED_DAYS]
    rows += [np.nanmin(ages) + behind, np.nanmax(ages) + behind] if len(known) else [np.nan, np.nan]
    if np.isnan(values).all():
        return rows, [np.nan] * len(AMOUNT_NAMES)
    found = [mean(values[:count]) for count in NEWEST] + [mean(values)]
    found += [mean(values[ages <= days]) for days in WINDOWS_DAYS]
    found += [float(np.nansum(values[ages <= days])) for days in WINDOWS_DAYS[:3]]
    return rows, [*found, float(np.nanmin(values)), float(np.nanmax(values)), float(np.nanstd(values))]


def mean(values: Any) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


numbers = st.one_of(st.just(float("nan")), st.floats(-100, 100, width=32))
segment = st.lists(st.tuples(st.one_of(st.just(float("nan")), st.floats(0, 1500, width=32)), numbers), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(segment, min_size=1, max_size=4), st.floats(0, 500, width=32))
def test_as_plain_numpy(segments: list[list[tuple[float, float]]], behind: float) -> None:
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in segments])])
    flat = [pair for part in segments for pair in part]
    ages = np.array([age for age, _ in flat], np.float32)
    values = np.array([value for _, value in flat], np.float32)
    rows = np.empty((len(segments), len(ROW_NAMES) - 1), np.float32)
    out = np.empty((len(segments), 1, len(AMOUNT_NAMES)), np.float32)
    summarise(offsets, ages, np.full(len(segments), behind, np.float32), values[:, None], rows, out)
    for place in range(len(segments)):
        part = slice(offsets[place], offsets[place + 1])
        of_rows, of_values = slowly(ages[part], values[part].astype(np.float64), behind)
        np.testing.assert_allclose(rows[place], of_rows, rtol=1e-5)
        np.testing.assert_allclose(out[place, 0], of_values, rtol=1e-3, atol=5e-3)
