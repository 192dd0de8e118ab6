"""A database whose customers change: one row for each version of a customer, valid from one instant to another."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.open import open_source

START = datetime(2024, 1, 1)
START_US = int((START - datetime(1970, 1, 1)).total_seconds()) * 1_000_000
DAY_US = 86_400_000_000
Version = tuple[int, int, int | None, int]  # customer, valid from day, valid to day, segment
Order = tuple[int, int | None, int]  # order, customer, day

CUSTOMERS = Table(
    "customers",
    (
        Column("customer_id", SemanticType.ID, "BIGINT"),
        Column("valid_from", SemanticType.TIMESTAMP, "TIMESTAMP"),
        Column("valid_to", SemanticType.TIMESTAMP, "TIMESTAMP"),
        Column("segment", SemanticType.CATEGORICAL, "BIGINT"),
    ),
    ("customer_id",),
    RowTime(column="valid_from"),
    "valid_to",
    versioned=True,
)
ORDERS = Table(
    "orders",
    (
        Column("order_id", SemanticType.ID, "BIGINT"),
        Column("customer_id", SemanticType.ID, "BIGINT"),
        Column("ordered_at", SemanticType.TIMESTAMP, "TIMESTAMP"),
    ),
    ("order_id",),
    RowTime(column="ordered_at"),
)
SCHEMA = Schema((CUSTOMERS, ORDERS), (Link("orders", ("customer_id",), "customers", ("customer_id",)),))


def day(number: int | None) -> datetime | None:
    """That many days after the start."""
    return None if number is None else START + timedelta(days=number)


def day_us(number: int) -> int:
    """The same in microseconds."""
    return START_US + number * DAY_US


def write_versions(path: Path, versions: list[Version], orders: list[Order]) -> None:
    """Write both tables."""
    rows: dict[str, list[tuple[Any, ...]]] = {
        "customers": [(key, day(start), day(end), segment) for key, start, end, segment in versions],
        "orders": [(key, customer, day(at)) for key, customer, at in orders],
    }
    with duckdb.connect(str(path)) as connection:
        for table in SCHEMA:
            columns = ", ".join(f"{column.name} {column.stored}" for column in table.columns)
            connection.execute(f"CREATE TABLE {table.name} ({columns})")
            if rows[table.name]:
                values = zip(*rows[table.name], strict=True)
                incoming = pa.table([pa.array(value) for value in values], [c.name for c in table.columns])
                connection.register("incoming", incoming)
                connection.execute(f"INSERT INTO {table.name} SELECT * FROM incoming")


def make_versions(folder: Path, versions: list[Version], orders: list[Order]) -> Snapshot:
    """The snapshot of such a database."""
    folder.mkdir(parents=True, exist_ok=True)
    write_versions(folder / "v.duckdb", versions, orders)
    return build_snapshot(open_source(str(folder / "v.duckdb")), SCHEMA, folder / "snapshots")


def random_versions(seed: int) -> tuple[list[Version], list[Order]]:
    """Customers with up to six versions that may leave gaps, overlap or never end, and orders of them."""
    rng = np.random.default_rng(seed)
    versions: list[Version] = []
    for customer in range(8):
        starts = np.sort(rng.choice(60, rng.integers(0, 7), replace=False)).tolist()
        for start in starts:
            end = None if rng.random() < 0.4 else int(start + rng.integers(0, 25))
            versions.append((customer, start, end, int(rng.integers(0, 3))))
    rng.shuffle(versions)
    orders: list[Order] = []
    for order in range(40):
        customer = None if rng.random() < 0.1 else int(rng.integers(0, 9))
        orders.append((order, customer, int(rng.integers(0, 60))))
    return [tuple(version) for version in versions], orders  # type: ignore[misc]


def valid_at(versions: list[Version], customer: int | None, at: int) -> Version | None:
    """The version of a customer at a day, by the definition: the newest that has begun, unless it has ended."""
    begun = [version for version in versions if version[0] == customer and version[1] <= at]
    if not begun:
        return None
    newest = max(begun, key=lambda version: version[1])
    return newest if newest[2] is None or newest[2] > at else None
