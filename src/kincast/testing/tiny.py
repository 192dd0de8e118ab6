"""Tiny: a shop small enough to reason about: 40 customers, 12 products, a year of orders, views, coupons, tickets."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

NUM_CUSTOMERS = 40
NUM_PRODUCTS = 12
NUM_ORDERS = 300
START = datetime(2024, 1, 1)

_DDL = """
CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, age INTEGER, segment VARCHAR, is_premium BOOLEAN,
    interests VARCHAR[], signup_at TIMESTAMP, country VARCHAR, referrer_id INTEGER REFERENCES customers, bio VARCHAR);
CREATE TABLE products (product_id INTEGER PRIMARY KEY, category VARCHAR, price DOUBLE, brand VARCHAR);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers,
    product_id INTEGER REFERENCES products, ordered_at TIMESTAMP, amount DOUBLE, quantity INTEGER, status VARCHAR,
    channel VARCHAR, is_fraud BOOLEAN);
CREATE TABLE views (customer_id INTEGER REFERENCES customers, product_id INTEGER REFERENCES products, ts TIMESTAMP);
CREATE TABLE coupons (customer_id INTEGER REFERENCES customers, sent_at TIMESTAMP, pct INTEGER);
CREATE TABLE tickets (ticket_id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders, opened_at TIMESTAMP,
    sev INTEGER);
"""
_TYPES = {
    "customers": "age=numerical segment=categorical is_premium=boolean interests=multicategorical "
    "signup_at=timestamp country=categorical bio=text",
    "products": "category=categorical price=numerical brand=categorical",
    "orders": "ordered_at=timestamp amount=numerical quantity=numerical status=categorical channel=categorical "
    "is_fraud=boolean",
    "views": "ts=timestamp",
    "coupons": "sent_at=timestamp pct=numerical",
    "tickets": "opened_at=timestamp sev=numerical",
}
_TIMES = {
    "customers": "signup_at",
    "orders": "ordered_at",
    "views": "ts",
    "coupons": "sent_at",
    "tickets": "opened_at",
}
_KEYS = {
    "customers": ("customer_id",),
    "products": ("product_id",),
    "orders": ("order_id",),
    "tickets": ("ticket_id",),
}
_LINKS = (
    ("customers", "referrer_id", "customers"),
    ("orders", "customer_id", "customers"),
    ("orders", "product_id", "products"),
    ("views", "customer_id", "customers"),
    ("views", "product_id", "products"),
    ("coupons", "customer_id", "customers"),
    ("tickets", "order_id", "orders"),
)


def tiny_database(folder: Path) -> Path:
    """Write the shop as ``tiny.duckdb`` with declared keys; the same bytes of data every time.

    Args:
        folder: where to write it; must exist.

    Returns:
        Path of the database.
    """
    path = folder / "tiny.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(_DDL)
        for table, rows in tiny_rows().items():
            if table == "customers":  # a row may refer to an earlier one, so they go in one by one
                connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            else:
                columns = [pa.array(column) for column in zip(*rows, strict=True)]
                connection.register("incoming", pa.table(columns, [str(i) for i in range(len(columns))]))
                connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")
    return path


def tiny_schema() -> Schema:
    """The schema of the shop as a user would leave it after editing the card."""
    tables = []
    with duckdb.connect() as connection:
        connection.execute(_DDL)
        for name in _TYPES:
            types = dict(pair.split("=") for pair in _TYPES[name].split())
            described = connection.execute(f"DESCRIBE {name}").fetchall()
            columns = tuple(Column(c[0], SemanticType(types.get(c[0], "id")), c[1]) for c in described)
            time = RowTime(column=_TIMES[name]) if name in _TIMES else None
            tables.append(Table(name, columns, _KEYS.get(name, ()), time))
    links = tuple(Link(table, (column,), target, _KEYS[target]) for table, column, target in _LINKS)
    return Schema(tuple(tables), links)


def tiny_rows() -> dict[str, list[tuple[Any, ...]]]:
    """The rows of the shop, table → tuples in column order; parents before children."""
    draw = random.Random(7)
    customers = [_customer(draw, key) for key in range(1, NUM_CUSTOMERS + 1)]
    categories, brands = ("shoes", "books", "toys"), ("Acme", "Bolt", "Coda")
    products = [
        (key, categories[key % 3], float(5 * key), brands[key % 2] if key % 5 else "Coda")
        for key in range(1, NUM_PRODUCTS + 1)
    ]
    orders = [_order(draw, customers) for _ in range(NUM_ORDERS)]
    orders = [(key, *order) for key, order in enumerate(sorted(orders, key=lambda order: order[2]), start=1)]
    views = [(_pick(draw, customers), draw.randint(1, NUM_PRODUCTS), _moment(draw)) for _ in range(500)]
    coupons = [(_pick(draw, customers), _moment(draw), draw.choice((5, 10, 20))) for _ in range(120)]
    ticketed = draw.sample(orders, 60)
    tickets = [
        (key, order[0], order[3] + timedelta(hours=draw.randint(1, 240)), draw.choice((1, 2, 3, None)))
        for key, order in enumerate(ticketed, start=1)
    ]
    return {
        "customers": customers,
        "products": products,
        "orders": orders,
        "views": views,
        "coupons": coupons,
        "tickets": tickets,
    }


def _customer(draw: random.Random, key: int) -> tuple[Any, ...]:
    age = None if key % 13 == 0 else draw.randint(18, 80)
    interests = draw.sample(("sport", "music", "cooking", "travel"), draw.randint(0, 3))
    referrer = draw.randint(1, key - 1) if key > 1 and key % 3 == 0 else None
    segment = draw.choice(("new", "loyal", "big", None))
    country = draw.choice(("DE", "FR", "NL"))
    return (
        key,
        age,
        segment,
        draw.random() < 0.3,
        interests,
        START - timedelta(days=40 - key * 3),
        country,
        referrer,
        f"customer {key} likes {' and '.join(interests) or 'nothing'} and lives in {country}",
    )


def _order(draw: random.Random, customers: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    quantity = draw.randint(1, 4)
    product = draw.randint(1, NUM_PRODUCTS)
    return (
        _pick(draw, customers),
        product,
        _moment(draw),
        None if draw.random() < 0.03 else quantity * 5.0 * product,
        quantity,
        draw.choice(("paid", "paid", "paid", "returned", None)),
        draw.choice(("web", "shop", "app")),
        draw.random() < 0.15,
    )


def _pick(draw: random.Random, customers: list[tuple[Any, ...]]) -> int:
    # The square makes some customers frequent and others rare.
    return int(customers[int(len(customers) * draw.random() ** 2)][0])


def _moment(draw: random.Random) -> datetime:
    return START + timedelta(minutes=draw.randint(0, 365 * 24 * 60))
