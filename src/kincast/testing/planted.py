"""Planted: a database whose signal is known: what can be learnt, how well at best, and what must stay unseen."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from kincast.clock import DAY_US, parse_instant

NUM_DAYS = 360
START = parse_instant("2024-01-01")
QUERY = "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id"


def planted_database(
    folder: Path,
    *,
    num_customers: int = 400,
    seed: int = 0,
    shuffled: bool = False,
    future_giveaway: bool = False,
    late_end: bool = False,
) -> Path:
    """Write a DuckDB file ``planted.duckdb`` with customers, products, orders and notes.

    Every customer has a secret rate of buying, high or low; the products that a customer with a high rate buys are
    mostly of one category, so that the label can be read from linked rows two hops away, and not from own columns.

    Args:
        folder: where to write.
        num_customers: half of them buy often, half rarely.
        seed: of all draws.
        shuffled: every customer buys at the same rate, so that nothing can be learnt: AUROC is chance.
        future_giveaway: adds a note to each customer on the last day of every 30-day window; it says whether the
            customer buys within that window, so it is known only when the window is over. A model that sees it early
            is perfect.
        late_end: adds a membership for each customer and 30-day window, from its start; it ends a day after the window
            when the customer buys within it, else 30 days after: an end that nobody knows before it has come.

    Returns:
        path of the file.
    """
    random = np.random.default_rng(seed)
    frequent = random.random(num_customers) < 0.5
    rate = np.full(num_customers, 0.03) if shuffled else np.where(frequent, 0.06, 0.008)  # orders a day
    counts = random.poisson(rate * NUM_DAYS)
    buyer = np.repeat(np.arange(num_customers), counts)
    ordered_us = START + (random.random(len(buyer)) * NUM_DAYS * DAY_US).astype(np.int64)
    prefers_even = random.random(len(buyer)) < np.where(frequent[buyer], 0.9, 0.1)
    product = random.integers(0, 50, len(buyer)) * 2 + ~prefers_even
    tables = _tables(random, num_customers, buyer, product, ordered_us)
    if future_giveaway:
        tables["notes"] = _notes(num_customers, buyer, ordered_us)
    if late_end:
        tables["memberships"] = _memberships(num_customers, buyer, ordered_us)
    path = folder / "planted.duckdb"
    with duckdb.connect(str(path)) as con:
        for name, table in tables.items():
            con.register("rows", table)
            con.execute(f"CREATE TABLE {name} AS SELECT * FROM rows")
            con.unregister("rows")
    return path


def _tables(
    random: np.random.Generator, num_customers: int, buyer: np.ndarray, product: np.ndarray, ordered_us: np.ndarray
) -> dict[str, pa.Table]:
    return {
        "customers": pa.table(
            {
                "customer_id": np.arange(num_customers),
                "age": random.integers(18, 80, num_customers),
                "joined_at": _instants(np.full(num_customers, START - DAY_US)),
            }
        ),
        "products": pa.table(
            {"product_id": np.arange(100), "category": [("even", "odd")[number % 2] for number in range(100)]}
        ),
        "orders": pa.table(
            {
                "order_id": np.arange(len(buyer)),
                "customer_id": buyer,
                "product_id": product,
                "ordered_at": _instants(ordered_us),
                "amount": np.round(random.lognormal(3, 0.5, len(buyer)), 2),
            }
        ),
    }


def _notes(num_customers: int, buyer: np.ndarray, ordered_us: np.ndarray) -> pa.Table:
    """One note per customer and 30-day window, written in its last minute."""
    customer, number, bought = _windows(num_customers, buyer, ordered_us)
    return pa.table(
        {
            "note_id": np.arange(len(customer)),
            "customer_id": customer,
            "written_at": _instants(START + (number + 1) * 30 * DAY_US - 60_000_000),
            "says": np.where(bought, "buys", "rests"),
        }
    )


def _memberships(num_customers: int, buyer: np.ndarray, ordered_us: np.ndarray) -> pa.Table:
    """One membership per customer and 30-day window, which ends soon after it, and when says what happened in it."""
    customer, number, bought = _windows(num_customers, buyer, ordered_us)
    return pa.table(
        {
            "membership_id": np.arange(len(customer)),
            "customer_id": customer,
            "began_at": _instants(START + number * 30 * DAY_US),
            "ended_at": _instants(START + (number + 1) * 30 * DAY_US + np.where(bought, 1, 30) * DAY_US),
        }
    )


def _windows(
    num_customers: int, buyer: np.ndarray, ordered_us: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of a customer and a 30-day window, and whether the customer bought in it."""
    num_windows = NUM_DAYS // 30
    window = (ordered_us - START) // (30 * DAY_US)
    bought = np.zeros((num_customers, num_windows), dtype=bool)
    bought[buyer, np.minimum(window, num_windows - 1)] = True
    customer, number = np.divmod(np.arange(num_customers * num_windows), num_windows)
    return customer, number, bought[customer, number]


def _instants(us: np.ndarray) -> pa.Array:
    return pa.array(us, pa.int64()).cast(pa.timestamp("us"))
