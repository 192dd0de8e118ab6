"""What is folded batch by batch is what the whole column says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kincast.feature.spec import CLIP
from kincast.feature.statistic import Counts, Moments, Numbers

VALUES = st.lists(st.one_of(st.just(float("nan")), st.floats(-1e4, 1e4)), max_size=40)


@given(st.lists(VALUES, max_size=6))
def test_moments_of_batches_are_those_of_the_whole(batches: list[list[float]]) -> None:
    folded = Moments(1)
    for batch in batches:
        folded.fold(np.array(batch, float).reshape(-1, 1))
    known = np.array([value for batch in batches for value in batch if value == value])
    assert folded.count[0] == len(known)
    if not len(known):
        return
    assert (folded.least[0], folded.greatest[0]) == (known.min(), known.max())
    assert folded.mean[0] == pytest.approx(known.mean(), abs=1e-6)
    spread = known.std()
    assert folded.spread[0] == pytest.approx(spread, abs=1e-6)
    if spread > 1e-2:
        skewness = np.mean(((known - known.mean()) / spread) ** 3)
        assert folded.skewness[0] == pytest.approx(skewness, abs=1e-4, rel=1e-6)


def test_columns_are_folded_side_by_side() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3)) * [1, 10, 100]
    together = Moments(3)
    together.fold(values)
    for place in range(3):
        alone = Moments(1)
        alone.fold(values[:, place : place + 1])
        assert together.spread[place] == pytest.approx(alone.spread[0])


def test_a_long_tail_is_read_on_a_logarithmic_scale_and_the_extent_follows() -> None:
    numbers = Numbers()
    values = np.exp(np.random.default_rng(0).normal(size=(2_000, 1)) * 2)
    numbers.fold(values[:700])
    numbers.fold(values[700:])
    found = numbers.numeric("x")
    assert found is not None
    assert found.transform == "log"
    inputs = (np.log1p(values) - found.center) / found.scale
    assert inputs.mean() == pytest.approx(0, abs=1e-9)
    assert inputs.std() == pytest.approx(1)
    assert found.extent == pytest.approx(min(np.abs(inputs).max(), CLIP))
    assert not found.flag_missing


@pytest.mark.parametrize(
    ("values", "says"),
    [([], False), ([np.nan, np.nan], False), ([3.0, 3.0], False), ([3.0, np.nan], True), ([3.0, 4.0], True)],
)
def test_a_column_of_one_value_says_nothing_unless_some_are_missing(values: list[float], says: bool) -> None:
    numbers = Numbers()
    numbers.fold(np.array(values).reshape(-1, 1))
    found = numbers.numeric("x")
    assert (found is not None) is says
    if found is not None:
        assert found.flag_missing is bool(np.isnan(values).any())
        assert found.scale > 0


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "é", "", None]), max_size=20), max_size=5))
def test_counts_of_batches_are_those_of_the_whole(batches: list[list[str | None]]) -> None:
    counts = Counts()
    for batch in batches:
        counts.fold(pa.array(batch, pa.string()))
    whole = Counter(text for batch in batches for text in batch if text)
    ranked = [text for text, count in sorted(whole.items(), key=lambda item: (-item[1], item[0])) if count >= 2]
    assert counts.frequent(3, 2) == (tuple(ranked[:3]), len(ranked))
