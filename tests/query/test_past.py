"""Past values equal those counted by hand, and none looks beyond what its seed may see."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from kincast.clock import add, parse_instant, parse_span, to_us
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.query.compile import compile_task
from kincast.query.past import PastValues, step_edges
from kincast.source.open import open_source
from kincast.testing.tiny import tiny_database, tiny_rows, tiny_schema

WEEKLY = "PREDICT SUM(orders.quantity, 0, 7, days) FORECAST 3 TIMEFRAMES FOR EACH products.product_id"
ORDERED, PRODUCT, QUANTITY = 3, 2, 5
ORDERS = [(to_us(row[ORDERED]), row[PRODUCT], row[QUANTITY]) for row in tiny_rows()["orders"]]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder: Path = tmp_path_factory.mktemp("past")
    return build_snapshot(open_source(str(tiny_database(folder))), tiny_schema(), folder / "snapshots")


def read(snapshot: Snapshot, query: str, as_of: int, visible: int, **options: bool) -> np.ndarray:
    """The past of every row of the entity table, 5 lags."""
    task = compile_task(query, snapshot.schema)
    past = PastValues(task, snapshot.open_tables, 5, **options)
    rows = np.arange(snapshot.tables[task.entity].num_rows)
    return past.read(rows, np.full(len(rows), as_of), np.full(len(rows), visible))


def total(product: int, start: int, end: int) -> int:
    """Ordered after the start and up to the end."""
    return sum(quantity for at, key, quantity in ORDERS if key == product and start < at <= end)


def products(snapshot: Snapshot) -> list[int]:
    return list(snapshot.keys_of("products", np.arange(12))[0].to_pylist())


@pytest.mark.parametrize("strict", [False, True])
def test_lags_are_the_target_over_the_steps_before(strict: bool, snapshot: Snapshot) -> None:
    as_of = ORDERS[200][0]  # the very instant of an order
    found = read(snapshot, WEEKLY, as_of, as_of, strict=strict)
    week = parse_span("7 days")
    for row, product in enumerate(products(snapshot)):
        end = as_of - strict  # a strict task does not see what happens at its very instant
        for lag in range(5):
            start = add(end, -week)
            assert found[row, lag] == total(product, start, end)
            end = start


def test_a_value_that_is_not_known_yet_is_missing(snapshot: Snapshot) -> None:
    as_of = parse_instant("2024-09-15")
    frozen = as_of - 10 * 86_400_000_000
    found = read(snapshot, WEEKLY, as_of, frozen)
    assert np.isnan(found[:, :2]).all()  # they end 0 and 7 days before the instant, later than the freeze
    whole = read(snapshot, WEEKLY, as_of, as_of)
    np.testing.assert_array_equal(found[:, 2:], whole[:, 2:])


def test_what_the_target_looks_at_beyond_its_step_must_be_over(snapshot: Snapshot) -> None:
    """Orders with a ticket within 20 days: the tickets are known 20 days later, not when the week ends."""
    inner = "COUNT(orders.* WHERE COUNT(tickets.*, 0, 20, days) > 0, 0, 7, days)"
    query = f"PREDICT {inner} FORECAST 3 TIMEFRAMES FOR EACH customers.customer_id"
    as_of = parse_instant("2024-09-15")
    found = read(snapshot, query, as_of, as_of)
    single = compile_task(f"PREDICT {inner} FOR EACH customers.customer_id", snapshot.schema)
    assert single.window is not None
    assert str(single.window[1]) == "20 days"
    seen_later = read(snapshot, query, as_of, as_of - 1)
    assert np.isnan(seen_later[:, 0]).all()  # what ends at the instant itself is not known a moment before
    assert not np.isnan(found[:, 0]).any()


def test_filters_of_the_forecast_do_not_filter_its_past(snapshot: Snapshot) -> None:
    as_of = parse_instant("2024-09-15")
    filtered = WEEKLY + " WHERE products.price > 1000"
    np.testing.assert_array_equal(read(snapshot, filtered, as_of, as_of), read(snapshot, WEEKLY, as_of, as_of))


def test_the_same_steps_a_year_before(snapshot: Snapshot) -> None:
    as_of = to_us(datetime(2025, 1, 10))
    found = read(snapshot, WEEKLY, as_of, as_of, year_over_year=True)
    start = datetime(2024, 1, 10)
    for row, product in enumerate(products(snapshot)):
        for step in range(3):
            week = to_us(start + timedelta(days=7 * step)), to_us(start + timedelta(days=7 * step + 7))
            assert found[row, 5 + step] == total(product, *week)


def test_steps_begin_and_end_as_the_windows_of_labels(snapshot: Snapshot) -> None:
    query = "PREDICT SUM(orders.amount, 1, 3, months) FORECAST 2 TIMEFRAMES FOR EACH customers.customer_id"
    edges = step_edges(compile_task(query, snapshot.schema), np.array([parse_instant("2024-01-31")]))
    expected = [parse_instant(day) for day in ("2024-02-29", "2024-04-30", "2024-06-30")]
    assert edges is not None
    assert edges.tolist() == [expected]
