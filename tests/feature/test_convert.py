"""Arrow columns become numbers: missing, unseen and odd values included."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from kincast.feature import convert
from kincast.feature.spec import Numeric


def column(values: list[object], type: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type)])


def test_floats_take_missing_and_infinite_as_nan() -> None:
    values = convert.as_floats(column([1.0, None, float("inf"), float("nan")], pa.float64()))
    assert values[0] == 1.0
    assert np.isnan(values[1:]).all()


def test_booleans_and_decimals_are_numbers() -> None:
    assert convert.as_floats(column([True, False], pa.bool_())).tolist() == [1.0, 0.0]
    assert convert.as_floats(column(["1.50"], pa.string()).cast(pa.decimal128(5, 2))).tolist() == [1.5]


def test_scaled_values_are_clipped_and_missing_flagged() -> None:
    spec = Numeric("x", "none", center=10.0, scale=2.0, flag_missing=True)
    inputs = convert.scaled(np.array([12.0, np.nan, 1e9]), spec)
    assert inputs.tolist() == [[1.0, 0.0], [0.0, 1.0], [convert.CLIP, 0.0]]


def test_codes_tell_missing_unseen_and_known_apart() -> None:
    codes = convert.codes_of(convert.as_texts(column(["b", None, "new", "a"], pa.string())), ("a", "b"))
    assert codes.tolist() == [3, 0, 1, 2]


def test_whole_floats_and_integers_are_one_category() -> None:
    assert convert.as_texts(column([3.0, None], pa.float64())).to_pylist() == ["3", None]
    assert convert.as_texts(column([3.5, 4.0], pa.float64())).to_pylist() == ["3.5", "4"]


@pytest.mark.parametrize(
    ("values", "type", "separator"),
    [(["a|b", None, "b| c", ""], pa.string(), "|"), ([["a", "b"], None, ["b", "c"], []], pa.list_(pa.string()), None)],
)
def test_items_are_flagged(values: list[object], type: pa.DataType, separator: str | None) -> None:
    flags = convert.item_flags(convert.as_lists(column(values, type), separator), ("a", "b"))
    assert flags.tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]


def test_hashed_words_ignore_case_and_have_unit_length() -> None:
    texts = convert.as_texts(column(["Red shoes", "red SHOES", None, "blue hat"], pa.string()))
    vectors = convert.hashed_words(texts, 16)
    assert (vectors[0] == vectors[1]).all()
    assert not vectors[2].any()
    assert (vectors[0] != vectors[3]).any()
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0)


def test_instants_from_dates_and_timestamps() -> None:
    dates = convert.as_instants(column([1, None], pa.int32()).cast(pa.date32()))
    assert dates.tolist() == [86_400_000_000, int(convert.NO_INSTANT)]
    assert convert.as_instants(column([5], pa.int64()).cast(pa.timestamp("us"))).tolist() == [5]


def test_calendar_repeats_each_week() -> None:
    day = 86_400_000_000
    inputs = convert.calendar(np.array([0, 7 * day]))
    assert inputs[0, 1] == pytest.approx(inputs[1, 1], abs=1e-6)
