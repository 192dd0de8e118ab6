"""Keys in, rows out, and back."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.errors import DataError, SchemaError
from kincast.graph.key import KeyIndex
from kincast.graph.snapshot import Snapshot

ONE = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("column", "keys", "rows"),
    [
        (pa.array([30, 10, 20]), [10, "20", " 30 ", 30.0, np.int8(10)], [1, 2, 0, 0, 1]),
        (pa.array([30, 10], pa.int16()), [None, "x", 10.5, True, 2**70, -(2**63), ""], [-1] * 7),
        (pa.array([0, 1]), [None, "x", 10.5, True], [-1] * 4),
        (pa.array([0, 1]), ["9" * 5000, "0" * 5000 + "1"], [-1] * 2),
        (pa.array([2**64 - 1, 1], pa.uint64()), [2**64 - 1, "1", 5], [0, 1, -1]),
        (pa.array(["b", "7", "a b"]), ["a b", 7, "7", None, "B"], [2, 1, 1, -1, -1]),
        (
            pa.array([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 5, 30)]),
            ["2024-01-01", "2024-01-01T05:30", dt.date(2024, 1, 1), np.datetime64("2024-01-01"), "soon", None],
            [0, 1, 0, 0, -1, -1],
        ),
        (pa.array([dt.date(2024, 1, 2)]), ["2024-01-02", dt.date(2024, 1, 2), "2024-01-02 01:00"], [0, 0, -1]),
        (pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")]), ["1.5", 2, "x"], [0, 1, -1]),
        (pa.array([True, False]), ["false", True, "maybe"], [1, 0, -1]),
        (pa.array([ONE.bytes], pa.uuid()), [ONE, str(ONE).upper(), "x"], [0, 0, -1]),
    ],
)
def test_keys_in_any_spelling_of_their_type(column: pa.Array, keys: list[Any], rows: list[int]) -> None:
    assert KeyIndex("things", pa.table({"id": column})).rows_of(keys).tolist() == rows


@settings(max_examples=50, deadline=None)
@given(keys=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=30), asked=st.integers(-5, 5))
def test_every_key_finds_its_row(keys: list[int], asked: int) -> None:
    index = KeyIndex("things", pa.table({"id": pa.array(keys, pa.int64())}))
    for spelled in (keys, list(map(str, keys)), np.array(keys, np.int64)):
        assert index.rows_of(spelled).tolist() == list(range(len(keys)))
    assert index.rows_of([asked]).tolist() == [keys.index(asked) if asked in keys else -1]


def test_composite_keys_are_tuples(shop: Snapshot) -> None:
    keys = [("2024-01-03", "a"), (dt.date(2024, 1, 2), "b"), ["2024-01-02", "a"], {"shop": "b", "day": "2024-01-02"}]
    assert shop.rows_of("visits", keys).tolist() == [2, 1, 0, 1]
    assert shop.rows_of("visits", [("2024-01-03", "b"), ("never", "a")]).tolist() == [-1, -1]
    assert shop.rows_of("visits", []).tolist() == []


@pytest.mark.parametrize("key", ["2024-01-03", ("2024-01-03",), 7, {"day": "2024-01-02"}])
def test_a_composite_key_of_another_shape_is_refused(shop: Snapshot, key: Any) -> None:
    with pytest.raises(DataError, match=r"tuples of \(day, shop\)"):
        shop.rows_of("visits", [key])


@pytest.mark.parametrize("table", ["customers", "visits"])
def test_round_trip(shop: Snapshot, table: str) -> None:
    rows = np.arange(shop.tables[table].num_rows)[::-1]
    keys = shop.keys_of(table, rows)
    assert keys.column_names == list(shop.schema.table(table).key)
    values = [tuple(row.values()) if len(row) > 1 else next(iter(row.values())) for row in keys.to_pylist()]
    assert shop.rows_of(table, values).tolist() == rows.tolist()


def test_a_table_without_key_says_so(shop: Snapshot) -> None:
    for ask in (lambda: shop.rows_of("orders", [1]), lambda: shop.keys_of("orders", np.array([1]))):
        with pytest.raises(DataError, match="the table has no key"):
            ask()


@pytest.mark.parametrize("row", [-1, 4])
def test_keys_of_a_row_that_is_not_there(shop: Snapshot, row: int) -> None:
    with pytest.raises(DataError, match=f"row {row} of 4"):
        shop.keys_of("customers", np.array([0, row]))


def test_columns_that_are_not_there(shop: Snapshot) -> None:
    with pytest.raises(SchemaError):
        shop.columns("customers", ["name"])
    with pytest.raises(SchemaError):
        shop.rows_of("people", [1])


def test_the_rows_by_sql(shop: Snapshot) -> None:
    with shop.open_tables() as tables, tables.connect() as connection:
        found = connection.sql("SELECT _row, id FROM customers ORDER BY _row").fetchall()
    assert found == [(0, 7), (1, 8), (2, 10), (3, 9)]
