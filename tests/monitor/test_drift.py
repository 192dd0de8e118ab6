"""Drift: whole snapshots, from databases with known changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.monitor.drift import drift
from kincast.report import Check, Report, Verdict
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.open import open_source

NUM_CUSTOMERS = 500
NUM_DAYS, PER_DAY = 250, 40
DAY = np.timedelta64(1, "D")
START = np.datetime64("2024-01-01T00:00:00", "us")

ORDERS = (
    Column("order_id", SemanticType.ID, "BIGINT"),
    Column("customer_id", SemanticType.ID, "BIGINT"),
    Column("placed_at", SemanticType.TIMESTAMP, "TIMESTAMP"),
    Column("due_at", SemanticType.TIMESTAMP, "TIMESTAMP"),
    Column("amount", SemanticType.NUMERICAL, "DOUBLE"),
    Column("channel", SemanticType.CATEGORICAL, "VARCHAR"),
    Column("paid", SemanticType.BOOLEAN, "BOOLEAN"),
    Column("tags", SemanticType.MULTICATEGORICAL, "VARCHAR", separator=","),
    Column("note", SemanticType.TEXT, "VARCHAR"),
    Column("secret", SemanticType.IGNORED, "BIGINT"),
)
CUSTOMERS = (
    Column("customer_id", SemanticType.ID, "BIGINT"),
    Column("age", SemanticType.NUMERICAL, "BIGINT"),
)


def schema(orders: tuple[Column, ...] = ORDERS) -> Schema:
    return Schema(
        tables=(
            Table("customers", CUSTOMERS, key=("customer_id",)),
            Table("orders", orders, key=("order_id",), time=RowTime("placed_at")),
        ),
        links=(Link("orders", ("customer_id",), "customers", ("customer_id",)),),
    )


def orders(days: int) -> dict[str, Any]:
    """Columns of evenly spaced orders over ``days``; the first of a longer history are those of a shorter one."""
    num = days * PER_DAY
    random = [np.random.default_rng([0, stream]) for stream in range(8)]
    placed = START + (np.arange(1, num + 1) * (DAY.astype("m8[us]") // PER_DAY))
    return {
        "order_id": np.arange(num),
        "customer_id": random[0].integers(0, NUM_CUSTOMERS, num),
        "placed_at": placed,
        "due_at": placed + random[1].integers(1, 15, num) * DAY.astype("m8[us]"),
        "amount": random[2].standard_normal(num) * 10 + 50,
        "channel": np.array(["web", "shop", "phone"])[random[3].integers(0, 3, num)],
        "paid": random[4].random(num) < 0.8,
        "tags": np.array(["red,big", "blue", "red", "small, blue"])[random[5].integers(0, 4, num)],
        "note": np.array(["a" * size for size in range(1, 40)])[random[6].integers(0, 39, num)],
        "secret": np.arange(num),
    }


def snapshot(folder: Path, columns: dict[str, Any], ages: np.ndarray | None = None, **options: Any) -> Snapshot:
    folder.mkdir(parents=True)
    path = folder / "shop.duckdb"
    ages = np.arange(NUM_CUSTOMERS) % 60 + 18 if ages is None else ages
    customers = {"customer_id": np.arange(len(ages)), "age": ages}
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE customers AS SELECT * FROM customers")
        connection.execute("CREATE TABLE orders AS SELECT * FROM columns")
    del customers
    return build_snapshot(open_source(str(path)), schema(**options), folder / "snapshots")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """All orders of the first period."""
    return snapshot(tmp_path_factory.mktemp("old") / "x", orders(NUM_DAYS))


def later(days: int = 30) -> tuple[dict[str, Any], np.ndarray]:
    """The same orders and ``days`` more, and which are the new ones."""
    found = orders(NUM_DAYS + days)
    return found, np.arange(len(found["order_id"])) >= NUM_DAYS * PER_DAY


def alarms(report: Report) -> dict[tuple[str, str], Verdict]:
    return {(c.name, c.where): c.verdict for c in report.checks if c.verdict in (Verdict.WARN, Verdict.FAIL)}


def check(report: Report, name: str, where: str) -> Check:
    (found,) = [c for c in report.checks if (c.name, c.where) == (name, where)]
    return found


def test_more_of_the_same_raises_no_alarm(before: Snapshot, tmp_path: Path) -> None:
    after = snapshot(tmp_path / "x", later()[0])
    random = np.random.default_rng(0)
    report = drift(before, after, {"": random.random(500)}, {"": random.random(500)})
    assert alarms(report) == {}
    assert report.subject == f"drift from snapshot {before.id} to {after.id}"
    looked_at = {c.where for c in report.checks}
    assert {"orders.amount", "orders.due_at", "orders.tags", "customers.age", "predictions"} <= looked_at
    assert not {"orders.secret", "orders.order_id", "orders.customer_id"} & looked_at
    assert ("drift.column", "orders.placed_at") not in {(c.name, c.where) for c in report.checks}
    assert check(report, "drift.rows", "orders").value == pytest.approx(1, abs=0.01)
    assert check(report, "drift.history", "orders").verdict is Verdict.OK
    assert check(report, "drift.degree", "orders.customer_id -> customers.customer_id").verdict is Verdict.OK


def test_same_snapshot_is_all_alike(before: Snapshot) -> None:
    assert {c.verdict for c in drift(before, before, {"": np.ones(5)}, {"": np.ones(5)}).checks} == {Verdict.OK}


def amount(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["amount"] = columns["amount"] + np.where(new, 5, 0)


def null_share(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["amount"] = np.ma.masked_array(columns["amount"], new & (columns["order_id"] % 3 == 0))


def channel(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["channel"] = np.where(new & (columns["order_id"] % 2 == 0), "app", columns["channel"])


def paid(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["paid"] = columns["paid"] & ~(new & (columns["order_id"] % 3 == 0))


def tags(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["tags"] = np.where(new, "red", columns["tags"])


def note(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["note"] = np.where(new, "a" * 39, columns["note"])


def due(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["due_at"] = columns["due_at"] + np.where(new, 5, 0) * DAY.astype("m8[us]")


def degree(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["customer_id"] = np.where(new, columns["customer_id"] % 50, columns["customer_id"])


def orphans(columns: dict[str, Any], new: np.ndarray) -> None:
    columns["customer_id"] = np.where(new & (columns["order_id"] % 2 == 0), -1, columns["customer_id"])


LINK = "orders.customer_id -> customers.customer_id"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (amount, {("drift.column", "orders.amount")}),
        (null_share, {("drift.null_share", "orders.amount")}),
        (channel, {("drift.column", "orders.channel"), ("drift.new_categories", "orders.channel")}),
        (paid, {("drift.column", "orders.paid")}),
        (tags, {("drift.column", "orders.tags")}),
        (note, {("drift.column", "orders.note")}),
        (due, {("drift.column", "orders.due_at")}),
        (degree, {("drift.degree", LINK)}),
        (orphans, {("drift.missing_links", LINK), ("drift.degree", LINK)}),
    ],
)
def test_each_change_is_found_where_it_is(
    before: Snapshot, tmp_path: Path, change: Any, expected: set[tuple[str, str]]
) -> None:
    columns, new = later()
    change(columns, new)
    found = alarms(drift(before, snapshot(tmp_path / "x", columns)))
    assert set(found) == expected


def test_fewer_rows_than_before(before: Snapshot, tmp_path: Path) -> None:
    columns, new = later()
    keep = ~new | (columns["order_id"] % 10 == 9)
    few = {name: values[keep] for name, values in columns.items()}
    assert ("drift.rows", "orders") in alarms(drift(before, snapshot(tmp_path / "x", few)))


def test_rewritten_history(before: Snapshot, tmp_path: Path) -> None:
    columns, new = later()
    keep = new | (columns["order_id"] % 10 != 0)
    found = drift(before, snapshot(tmp_path / "x", {name: values[keep] for name, values in columns.items()}))
    assert check(found, "drift.history", "orders").verdict is Verdict.WARN


def test_changed_timeless_table(before: Snapshot, tmp_path: Path) -> None:
    report = drift(before, snapshot(tmp_path / "x", later()[0], np.arange(NUM_CUSTOMERS) % 60 + 48))
    assert check(report, "drift.column", "customers.age").verdict is Verdict.FAIL


def test_timeless_table_that_lost_most_of_its_rows(before: Snapshot, tmp_path: Path) -> None:
    report = drift(before, snapshot(tmp_path / "y", later()[0], np.arange(50) % 60 + 18))
    assert check(report, "drift.rows", "customers").verdict is Verdict.FAIL


def test_columns_that_came_and_went(before: Snapshot, tmp_path: Path) -> None:
    columns = (*(c for c in ORDERS if c.name != "note"), Column("extra", SemanticType.NUMERICAL, "BIGINT"))
    rows = {**later()[0], "extra": later()[0]["order_id"]}
    report = drift(before, snapshot(tmp_path / "x", rows, orders=columns))
    assert check(report, "drift.schema", "orders.note").verdict is Verdict.FAIL
    assert check(report, "drift.schema", "orders.extra").verdict is Verdict.NOTE


def test_changed_predictions(before: Snapshot) -> None:
    random = np.random.default_rng(1)
    old, new = random.random((5000, 2)), random.random((4000, 2)) * [1, 0.5]
    named = [{f".class_{code}": side[:, code] for code in range(side.shape[1])} for side in (old, new)]
    report = drift(before, before, *named)
    assert set(alarms(report)) == {("drift.predictions", "predictions.class_1")}
    assert drift(before, before, {"": old[:, 0]}, {"": new[:, 1]}).verdict is Verdict.FAIL
    assert drift(before, before, {"": old[:0, 0]}, {"": new[:, 1]}).verdict is Verdict.OK


def test_few_new_rows_raise_no_alarm(before: Snapshot, tmp_path: Path) -> None:
    assert alarms(drift(before, snapshot(tmp_path / "x", later(1)[0]))) == {}
