"""Whether rows are in order and keys come once, against sorting and counting."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kincast.schema import Column, RowTime, Schema, SemanticType, Table
from kincast.source import order
from kincast.source.open import open_source
from kincast.source.order import observe
from kincast.source.tables import stage

BIG = st.sampled_from([-(2**63), 2**63 - 1, 0])
ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(-3, 9) | BIG), max_size=30)
KINDS = st.sampled_from(["whole", "hash", "none"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, presorted=st.booleans(), batch=st.integers(1, 7), timed=st.booleans(), kind=KINDS)
def test_is_what_sorting_and_counting_say(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, int]], presorted: bool, batch: int, timed: bool, kind: str
) -> None:
    monkeypatch.setattr(order, "_BATCH_ROWS", batch)
    rows = sorted(rows) if presorted else rows
    with duckdb.connect() as connection:
        columns = {"t": [row[0] for row in rows], "k": [row[1] for row in rows]}
        values = pa.table({name: pa.array(column, pa.int64()) for name, column in columns.items()})
        connection.register("rows", values)
        number = {"whole": "k", "hash": "hash(k)", "none": "NULL"}[kind]
        found = observe(connection, f"SELECT {'t' if timed else 'NULL'}, {number} FROM rows", len(rows), kind)
    keys = [k for _, k in rows]
    assert found.may_repeat == (kind != "none" and len(set(keys)) < len(keys))
    seen = [(t if timed else 0, k if kind == "whole" else 0) for t, k in rows]
    if found.in_order:
        assert all(a < b for a, b in pairwise(seen))
    elif rows and (timed or kind == "whole"):
        assert any(a >= b for a, b in pairwise(seen))


def test_too_many_keys_to_hold_may_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MAX_HELD", 2)
    with duckdb.connect() as connection:
        found = observe(connection, "SELECT range, range FROM range(3)", 3, "whole")
    assert (found.in_order, found.may_repeat) == (True, True)


@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_in_order_are_staged_to_the_same_bytes(tmp_path: Path, shuffled: bool) -> None:
    count = 300_000
    number = pa.array(range(count), pa.int64())
    rows = pa.table({"id": number, "at": pa.array([i // 3 for i in range(count)], pa.timestamp("us"))})
    for name, mixed in (("a", False), ("b", shuffled)):
        (tmp_path / name).mkdir()
        some = rows.take(pa.array([(i * 7919) % count for i in range(count)])) if mixed else rows
        pq.write_table(some, tmp_path / name / "t.parquet", row_group_size=10_000)
    columns = (Column("id", SemanticType.ID, "BIGINT"), Column("at", SemanticType.TIMESTAMP, "TIMESTAMP"))
    schema = Schema((Table("t", columns, ("id",), RowTime("at")),))
    found = []
    for name in ("a", "b"):
        with stage(open_source(str(tmp_path / name)), schema, tmp_path / f"staged-{name}") as tables:
            found.append(tables.path("t").read_bytes())
    assert found[0] == found[1]
