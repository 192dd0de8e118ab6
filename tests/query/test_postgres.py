"""Two engines, one table: label SQL in the user's PostgreSQL gives what DuckDB gives over the snapshot.

The shop in PostgreSQL is deliberately awkward: times with a zone, as text, as seconds since 1970 and through a link.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.query.cases import TARGETS, read_cases

from kincast.clock import parse_instant
from kincast.errors import QueryError
from kincast.query.compile import compile_task
from kincast.query.labels import label_sql, static_as_of
from kincast.query.task import Task
from kincast.schema import Column, RowTime, Schema, SemanticType
from kincast.source.base import literal
from kincast.source.open import open_source
from kincast.source.tables import Tables, stage
from kincast.testing.tiny import tiny_rows, tiny_schema

ANCHORS = tuple(parse_instant(text) for text in ("2024-02-29 12:00", "2024-04-01", "2024-07-31", "2024-10-01"))
DDL = """
CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, age INTEGER, segment TEXT, is_premium BOOLEAN,
    interests TEXT[], signup_at TEXT, country VARCHAR(2), referrer_id INTEGER REFERENCES customers, bio TEXT);
CREATE TABLE products (product_id INTEGER PRIMARY KEY, category TEXT, price DOUBLE PRECISION, brand TEXT);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers,
    product_id INTEGER REFERENCES products, ordered_at TIMESTAMP, amount DOUBLE PRECISION, quantity INTEGER,
    status TEXT, channel TEXT, is_fraud BOOLEAN);
CREATE TABLE views (customer_id INTEGER REFERENCES customers, product_id INTEGER REFERENCES products, ts TIMESTAMPTZ);
CREATE TABLE coupons (customer_id INTEGER REFERENCES customers, sent_at BIGINT, pct INTEGER);
CREATE TABLE tickets (ticket_id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders, opened_at TIMESTAMP,
    sev INTEGER);
SET TIME ZONE 'UTC';
"""
MORE = (
    "PREDICT COUNT(tickets.*, 0, 60, days) FOR EACH products.product_id",
    "PREDICT LAST(orders.amount, 0, 30, days) IS NULL FOR EACH customers",
    "PREDICT MAX(orders.is_fraud, 0, 60, days) FOR EACH customers",
    "PREDICT MIN(orders.status, 0, 60, days) FOR EACH customers WHERE customers.country LIKE 'D%'",
    "PREDICT COUNT(orders.* WHERE orders.status CONTAINS 'ai' OR orders.channel ENDS WITH 'p', 0, 60) "
    "FOR EACH customers",
    "PREDICT COUNT(orders.*, 0, 30, days) FOR EACH customers WHERE customers.interests CONTAINS 'sport'",
    "PREDICT COUNT(orders.*, 0, 30, days) FOR EACH customers WHERE "
    "LIST_DISTINCT(orders.channel, -INF, 0) CONTAINS 'web'",
    "PREDICT AVG(orders.amount, 0, 1, months) FORECAST 3 TIMEFRAMES FOR EACH products",
    "PREDICT customers.bio CLASSIFY FOR EACH customers WHERE customers.bio CONTAINS 'likes'",
    "PREDICT MEDIAN(orders.amount, 0, 60, days) FOR EACH customers",
    "PREDICT STDDEV(orders.amount, 0, 90, days) FOR EACH customers",
    "PREDICT TIME_TO(orders.*, 0, 30, days) FOR EACH customers WHERE EXISTS(orders.*, -60, 0, days)",
    "PREDICT SUM(orders.amount, 0, 60) / COUNT(orders.*, 0, 60) > SUM(orders.amount, -60, 0) / 2 FOR EACH customers",
    "PREDICT COUNT(views.*, 0, 6, hours) > 0 FOR EACH customers ASSUMING COUNT(coupons.*, 0, 30, days) > 0",
    "PREDICT SUM(orders.amount, 0, 30, days) FOR EACH customers WHERE customers.segment != 'it''s \\ \"so\"; --'",
)


@dataclass(frozen=True)
class Shop:
    """The same rows twice."""

    url: str
    tables: Tables

    def postgres(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query in PostgreSQL."""
        import adbc_driver_postgresql.dbapi as driver

        with driver.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(_cell, value))}]::TEXT[]"
    return str(value) if isinstance(value, bool | int | float) else literal(str(value))


def _statements() -> str:
    parts = [DDL]
    for table, rows in tiny_rows().items():
        if table == "coupons":
            rows = [(a, parse_instant(at.isoformat()) // 1_000_000, pct) for a, at, pct in rows]
        tuples = ", ".join(f"({', '.join(map(_cell, row))})" for row in rows)
        parts.append(f"INSERT INTO {table} VALUES {tuples};")
    return "\n".join(parts)


def _schema(found: Schema) -> Schema:
    """As stored there, meant as in the tiny shop."""
    known = tiny_schema()

    def column(table: str, stored: Column) -> Column:
        meant = dataclasses.replace(stored, type=known.table(table).column(stored.name).type)
        if (table, stored.name) == ("customers", "bio"):
            return dataclasses.replace(meant, type=SemanticType.MULTICATEGORICAL, separator=" ")
        is_epoch = (table, stored.name) == ("coupons", "sent_at")
        return dataclasses.replace(meant, format="epoch_s") if is_epoch else meant

    tables = []
    for table in known:
        columns = tuple(column(table.name, c) for c in found.table(table.name).columns)
        time = RowTime(via="order_id") if table.name == "tickets" else table.time
        tables.append(dataclasses.replace(table, columns=columns, time=time))
    return Schema(tuple(tables), known.links)


@pytest.fixture
def shop(postgres_database: Callable[[str], str], tmp_path: Path) -> Iterator[Shop]:
    url = postgres_database(_statements())
    source = open_source(url)
    with stage(source, _schema(source.inspect()), tmp_path / "tables") as tables:
        yield Shop(url, tables)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value


def _sorted(task: Task, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """In order; what a list holds has none, unless it is of steps."""
    ordered = task.step_length is None
    found = [(*row[:2], *(_plain(cell) for cell in row[2:])) for row in rows]
    found = [(*row[:2], *(sorted(c) if ordered and isinstance(c, list) else c for c in row[2:])) for row in found]
    return sorted(found, key=lambda row: row[:2])


def _tasks(schema: Schema) -> list[Task]:
    """Every example, every form that goes beyond the dialect, and some more; of several targets each."""
    cases = [case for name in ("examples.txt", "beyond.txt") for case in read_cases(name)]
    queries = [case.query for case in cases if "static_link" not in case.arrow] + list(MORE)
    tasks = [compile_task(query, schema, TARGETS) for query in queries]
    return [each for task in tasks for each in task.targets or (task,)]


def test_every_example_gives_the_same_labels(shop: Shop) -> None:
    connection = shop.tables.connect()
    full = 0
    tasks = _tasks(shop.tables.schema)
    for task in tasks:
        as_of = static_as_of(task, shop.tables)
        ours = connection.execute(label_sql(task, ANCHORS, as_of)).fetchall()
        theirs = shop.postgres(label_sql(task, ANCHORS, as_of, dialect="postgres"))
        assert _sorted(task, theirs) == _sorted(task, ours), task.text
        full += bool(ours)
    assert full >= len(tasks) - 3  # the comparison is of something


def test_rows_are_numbered_as_in_the_snapshot(shop: Shop) -> None:
    task = compile_task("PREDICT COUNT(coupons.*, 0, 9, days) FOR EACH customers", shop.tables.schema)
    found = shop.postgres(label_sql(task, ANCHORS[-1:], dialect="postgres"))
    assert sorted(row for row, _, _ in found) == list(range(40))


def test_static_links_agree_too(postgres_database: Callable[[str], str], tmp_path: Path) -> None:
    source = open_source(url := postgres_database(_statements()))
    meant = _schema(source.inspect())
    timeless = Schema(tuple(dataclasses.replace(table, time=None) for table in meant), meant.links)
    query = "PREDICT LIST_DISTINCT(orders.product_id) RANK TOP 10 FOR EACH customers.customer_id"
    with stage(source, timeless, tmp_path / "timeless") as tables:
        task = compile_task(query, timeless)
        ours = tables.connect().execute(label_sql(task, (), 0)).fetchall()
        theirs = Shop(url, tables).postgres(label_sql(task, (), 0, dialect="postgres"))
        assert _sorted(task, theirs) == _sorted(task, ours) != []


def test_other_dialects_are_refused() -> None:
    task = compile_task("PREDICT COUNT(orders.*, 0, 9, days) FOR EACH customers", tiny_schema())
    with pytest.raises(QueryError, match="cannot be written for oracle"):
        label_sql(task, ANCHORS, dialect="oracle")
