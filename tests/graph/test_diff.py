"""What is different between two versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kincast.graph.build import build_snapshot
from kincast.graph.diff import Degrees, degrees, diff_snapshots
from kincast.graph.snapshot import Snapshot, SnapshotLink
from kincast.schema import Column, Schema, SemanticType


def test_rows_and_degrees(tmp_path: Path, shop: Snapshot, make_shop: Any, schema: Schema) -> None:
    extra = ((100, "2024-01-01", None, 10),)
    other = build_snapshot(make_shop(tmp_path / "b.duckdb", 0, extra), schema, tmp_path / "s")
    found = diff_snapshots(shop, other)
    assert found.schema == ()
    assert found.rows == {"customers": (4, 5), "orders": (5, 5), "visits": (3, 3)}
    assert found.degrees["customers.referrer -> customers.id"] == (Degrees(2, 0.5, 1, 1), Degrees(3, 0.6, 2, 2))
    assert diff_snapshots(shop, shop).rows["orders"] == (5, 5)


def test_changes_of_the_schema(tmp_path: Path, shop: Snapshot, make_shop: Any, schema: Schema) -> None:
    customers, orders, _ = schema.tables
    changed = Schema(
        (
            replace(customers, key=customers.key, end_time=None),
            replace(orders, columns=(*orders.columns[:-1], Column("amount", SemanticType.CATEGORICAL, "DOUBLE"))),
        ),
        schema.links[:2],
    )
    other = build_snapshot(make_shop(tmp_path / "b.duckdb"), changed, tmp_path / "s")
    found = diff_snapshots(shop, other)
    assert found.schema == (
        "key, time or order of columns of table customers changed",
        "column orders.amount was timestamp DOUBLE, is categorical DOUBLE"
        if orders.column("amount").type is SemanticType.TIMESTAMP
        else f"column orders.amount was {orders.column('amount').type} DOUBLE, is categorical DOUBLE",
        "table visits is gone",
        f"link {schema.links[2]} is gone",
        f"link {schema.links[3]} is gone",
    )
    assert found.rows["visits"] == (3, None)
    assert found.degrees[str(schema.links[2])][1] is None


def test_the_percentile_is_the_least_number_that_99_of_100_do_not_exceed() -> None:
    counts = [0] * 98 + [5, 9]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    link: Any = SnapshotLink(None, np.empty(0, np.int32), offsets, np.zeros(14, np.int32))  # type: ignore[arg-type]
    assert degrees(link) == Degrees(14, 0.14, 5, 9)
    assert degrees(replace(link, offsets=np.zeros(1, np.int64), rows=np.empty(0, np.int32))) == Degrees(0, 0.0, 0, 0)
