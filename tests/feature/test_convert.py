"""Arrow columns become numbers: missing, unseen and odd values included."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kincast.feature import convert
from kincast.feature.spec import CLIP, Categorical, Numeric


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
    assert inputs.tolist() == [[1.0, 0.0], [0.0, 1.0], [CLIP, 0.0]]


def test_codes_tell_missing_unseen_and_known_apart() -> None:
    codes = convert.codes_of(
        convert.as_texts(column(["b", None, "new", "a"], pa.string())), Categorical("c", ("a", "b"))
    )
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


def test_instants_from_dates_and_timestamps() -> None:
    dates = convert.as_instants(column([1, None], pa.int32()).cast(pa.date32()))
    assert dates.tolist() == [86_400_000_000, int(convert.NO_INSTANT)]
    assert convert.as_instants(column([5], pa.int64()).cast(pa.timestamp("us"))).tolist() == [5]


def test_calendar_repeats_each_week() -> None:
    day = 86_400_000_000
    inputs = convert.calendar(np.array([0, 7 * day]))
    assert inputs[0, 1] == pytest.approx(inputs[1, 1], abs=1e-6)


def test_a_category_is_the_same_whatever_stands_beside_it() -> None:
    alone = convert.as_texts(column([4.0], pa.float64())).to_pylist()
    assert convert.as_texts(column([4.0, 3.5, 1e20, float("nan")], pa.float64())).to_pylist()[:1] == alone == ["4"]
    assert convert.as_texts(column([1e6, 0.5], pa.float64())).to_pylist()[0] == "1000000"


def test_rare_categories_share_buckets_where_there_are_too_many() -> None:
    spec = Categorical("c", ("a", "b"), buckets=8)
    texts = [f"rare {number}" for number in range(200)]
    codes = convert.codes_of(pa.array(["a", None, *texts], pa.string()), spec)
    assert codes[:2].tolist() == [2, 0]
    assert set(codes[2:].tolist()) == set(range(4, 12))
    assert spec.num_codes == 12
    again = convert.codes_of(pa.array([texts[17]], pa.string()), spec)
    assert again[0] == codes[2 + 17]


def test_lists_of_numbers_are_summarised() -> None:
    lists = column([[1.0, 3.0], [], None, [5.0, None], [None]], pa.list_(pa.float64()))
    found = convert.summaries(lists)
    assert found[0].tolist() == [2, 2, 1, 1, 3, 3]
    assert found[1, 0] == 0
    assert np.isnan(found[1, 1:]).all()
    assert np.isnan(found[2]).all()
    assert found[3].tolist() == [2, 5, 0, 5, 5, 5]
    assert found[4, 0] == 1
    assert np.isnan(found[4, 1:]).all()


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), max_size=6)), max_size=12))
def test_summaries_are_what_numpy_says(values: list[list[float | None] | None]) -> None:
    found = convert.summaries(column(list(values), pa.list_(pa.float64())))
    for row, value in zip(found, values, strict=True):
        known = np.array([item for item in value or () if item is not None])
        expected = [np.nan if value is None else len(value), *[np.nan] * 5]
        if len(known):
            expected[1:] = [known.mean(), known.std(), known.min(), known.max(), known[-1]]
        np.testing.assert_allclose(row, expected, atol=1e-6)
