"""Key: exact codes and bytes of users' keys."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.store import key as module
from kincast.store.key import column_bytes, hash_bytes, hash_one, integer_code, join_keys, key_bytes, mix

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1))
def test_bytes_and_hash_of_one_key_are_those_of_the_column(texts: list[str]) -> None:
    data, offsets = column_bytes(pa.table({"k": pa.array(texts, pa.string())}))
    parts = [data[offsets[i] : offsets[i + 1]].tobytes() for i in range(len(texts))]
    assert parts == [key_bytes(text, [pa.string()]) for text in texts]
    assert hash_bytes(data, offsets).tolist() == [hash_one(part) for part in parts]
    joined, joined_offsets, impossible = join_keys(texts, [pa.string()])
    assert (joined.tobytes(), joined_offsets.tolist(), impossible) == (data.tobytes(), offsets.tolist(), [])


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=2, unique=True))
def test_different_tuples_never_have_the_same_bytes(pairs: list[tuple[str, str]]) -> None:
    table = pa.table({"a": [a for a, _ in pairs], "b": [b for _, b in pairs]})
    data, offsets = column_bytes(table)
    parts = [data[offsets[i] : offsets[i + 1]].tobytes() for i in range(len(pairs))]
    assert len(set(parts)) == len(pairs)
    assert parts == [key_bytes(pair, [pa.string(), pa.string()]) for pair in pairs]


@given(st.integers(-(2**63), 2**64 - 1), st.integers(-(2**63), 2**64 - 1))
def test_mix_is_one_to_one_and_the_kernel_agrees(one: int, other: int) -> None:
    assert (mix(one) == mix(other)) == (one % 2**64 == other % 2**64)
    assert module._mix_all(np.array([one % 2**64], np.uint64)).tolist() == [mix(one)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(17, 17), ("17", 17), (np.int32(17), 17), ("-3", -3), ("0", 0), ("2147483647", 2147483647)],
)
def test_what_counts_as_an_integer(given: Any, expected: int) -> None:
    assert integer_code(given, pa.int32()) == expected


@pytest.mark.parametrize(
    "given",
    [
        True,
        17.0,
        "17.0",
        " 17",
        "+17",
        "017",
        "-0",
        "1_7",
        "१७",
        "",
        "x",
        None,
        [],
        {},
        b"17",
        2**31,
        "2147483648",
        "9" * 99,
    ],
)
def test_what_does_not(given: Any) -> None:
    assert integer_code(given, pa.int32()) is None


def test_unsigned_range() -> None:
    assert integer_code(2**64 - 1, pa.uint64()) == 2**64 - 1
    assert integer_code(-1, pa.uint64()) is None


@pytest.mark.parametrize(
    ("value", "text", "type"),
    [
        (date(2024, 1, 31), "2024-01-31", pa.date32()),
        (datetime(2024, 1, 31, 13), "2024-01-31 13:00:00", pa.timestamp("us")),
        (Decimal("1.50"), "1.5", pa.decimal128(10, 2)),
        (True, "true", pa.bool_()),
        (1.5, "1.5", pa.float64()),
        (7, "7", pa.int16()),
    ],
)
def test_value_and_its_text_are_the_same_key(value: Any, text: str, type: pa.DataType) -> None:
    data, _ = column_bytes(pa.table({"k": pa.array([value], type)}))
    assert key_bytes(value, [type]) == key_bytes(text, [type]) == data.tobytes()


@pytest.mark.parametrize("value", [None, [], {}, ("a",), b"a", "\ud800"])
def test_what_is_no_key_at_all(value: Any) -> None:
    assert key_bytes(value, [pa.string()]) is None


@pytest.mark.parametrize("value", ["a", ("a",), ("a", "b", "c"), ("a", None), {"a": 1}, None])
def test_what_is_no_composite_key(value: Any) -> None:
    assert key_bytes(value, [pa.string(), pa.string()]) is None
