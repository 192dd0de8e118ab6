"""A shop that changes: its schema, random changes in any order, and what its rows then are, worked out slowly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kincast.clock import Span
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.change import Changes

_STORED = {"BIGINT": pa.int64(), "VARCHAR": pa.string(), "TIMESTAMP": pa.timestamp("us"), "DOUBLE": pa.float64()}


def _table(name: str, columns: str, key: str, time: RowTime | None, end: str | None = None) -> Table:
    made = []
    for part in columns.split():
        column, stored = part.split("=")
        kind = SemanticType.TIMESTAMP if stored == "TIMESTAMP" else SemanticType.NUMERICAL
        made.append(Column(column, SemanticType.ID if stored in ("BIGINT", "VARCHAR") else kind, stored))
    return Table(name, tuple(made), tuple(key.split()), time, end)


def shop_schema(keys: str = "BIGINT", shift: Span | None = None) -> Schema:
    """Customers (with a referrer), products without a time, invoices, their lines timed by them, visits without key.

    Keys are BIGINT or VARCHAR; or they are BIGINT and, when ``mixed``, referred to by texts and fractions.
    """
    kind = "BIGINT" if keys == "mixed" else keys
    text = "VARCHAR" if keys == "mixed" else kind
    fraction = "DOUBLE" if keys == "mixed" else kind
    return Schema(
        (
            _table(
                "lines",
                f"invoice={text} place=BIGINT product={fraction} amount=DOUBLE",
                "invoice place",
                RowTime(via="invoice", shift=shift),
            ),
            _table(
                "customers",
                f"id={kind} joined=TIMESTAMP left=TIMESTAMP referrer={fraction} age=DOUBLE",
                "id",
                RowTime(column="joined"),
                "left",
            ),
            _table("products", f"id={kind} price=DOUBLE", "id", None),
            _table("invoices", f"id={kind} customer={text} at=TIMESTAMP", "id", RowTime(column="at")),
            _table("visits", f"customer={text} product={fraction} at=TIMESTAMP", "", RowTime(column="at")),
        ),
        (
            Link("lines", ("invoice",), "invoices", ("id",)),
            Link("lines", ("product",), "products", ("id",)),
            Link("customers", ("referrer",), "customers", ("id",)),
            Link("invoices", ("customer",), "customers", ("id",)),
            Link("visits", ("customer",), "customers", ("id",)),
            Link("visits", ("product",), "products", ("id",)),
        ),
    )


class ArrowSource:
    """Rows in memory, as a source.

    Args:
        tables: name → rows.
    """

    url = "memory"

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self._tables = tables

    def inspect(self) -> Schema:
        raise NotImplementedError

    def scan(self, table: str, columns: Sequence[str] | None = None, *_: Any, **__: Any) -> pa.RecordBatchReader:
        rows = self._tables[table]
        return (rows.select(list(columns)) if columns is not None else rows).to_reader()

    def write(self, table: str, rows: pa.Table) -> None:
        raise NotImplementedError


@dataclass
class Shop:
    """What the rows of a changing shop are: for each key (or id) the change with the largest sequence."""

    schema: Schema
    rows: dict[str, dict[Any, tuple[int, dict[str, Any] | None]]] = field(default_factory=dict)

    def take(self, table: str, key: Any, sequence: int, row: dict[str, Any] | None) -> None:
        """One change; None deletes."""
        known = self.rows.setdefault(table, {})
        if key not in known or known[key][0] < sequence:
            known[key] = (sequence, row)

    def source(self) -> ArrowSource:
        """The rows as they are."""
        tables = {}
        for table in self.schema:
            rows = [row for _, row in self.rows.get(table.name, {}).values() if row is not None]
            tables[table.name] = rows_table(table, rows)
        return ArrowSource(tables)

    def build(self, root: Path) -> Snapshot:
        """A snapshot of the rows as they are."""
        return build_snapshot(self.source(), self.schema, root)  # type: ignore[arg-type]


def rows_table(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as Arrow, typed by the schema."""
    columns = []
    for column in table.columns:
        values = [row.get(column.name) for row in rows]
        if column.stored == "VARCHAR":
            values = [None if value is None else str(value) for value in values]
        columns.append(pa.array(values, _STORED[column.stored]))
    return pa.table(columns, [c.name for c in table.columns])


@dataclass(frozen=True)
class Event:
    """A change of one row; ``row`` has the key alone when it is a deletion."""

    table: str
    key: Any
    sequence: int
    row: dict[str, Any]
    deleted: bool


def random_events(schema: Schema, draw: random.Random, num: int, first: int = 0) -> list[Event]:
    """Changes of random rows; few keys, few instants and few parents, so that everything meets everything."""
    return [_event(schema, draw, first + i) for i in range(num)]


def _event(schema: Schema, draw: random.Random, sequence: int) -> Event:
    table = draw.choice(schema.tables)
    text = schema.table("products").columns[0].stored == "VARCHAR"

    def key(most: int) -> Any:
        number = draw.randrange(most)
        return "aÄbz"[number % 4] * (1 + number // 4) if text else number * 3 - 7

    def at() -> Any:
        return np.datetime64("2024-01-01", "us") + np.timedelta64(draw.randrange(6), "D")

    def maybe(value: Any, share: float = 0.2) -> Any:
        return None if draw.random() < share else value

    row: dict[str, Any] = {
        "lines": lambda: {"invoice": key(8), "place": draw.randrange(3), "product": maybe(key(6))},
        "customers": lambda: {
            "id": key(8),
            "joined": maybe(at(), 0.1),
            "left": maybe(at(), 0.7),
            "referrer": maybe(key(10)),
            "age": float(draw.randrange(80)),
        },
        "products": lambda: {"id": key(6), "price": float(draw.randrange(9))},
        "invoices": lambda: {"id": key(8), "customer": maybe(key(10)), "at": maybe(at(), 0.1)},
        "visits": lambda: {"customer": maybe(key(10)), "product": maybe(key(6)), "at": maybe(at(), 0.05)},
    }[table.name]()
    if table.name == "lines":
        row["amount"] = float(sequence)
    row = {name: value.item() if isinstance(value, np.datetime64) else value for name, value in row.items()}
    if not table.key:
        return Event(table.name, f"visit {sequence}", sequence, row, False)
    found = tuple(row[name] for name in table.key)
    return Event(table.name, found, sequence, row, draw.random() < 0.25)


def as_changes(schema: Schema, events: Sequence[Event]) -> list[Changes]:
    """Events as changes, one for each table that has any."""
    found = []
    for table in schema:
        own = [event for event in events if event.table == table.name]
        if own:
            rows = rows_table(table, [event.row for event in own])
            sequence = np.array([event.sequence for event in own], np.int64)
            deleted = np.array([event.deleted for event in own], np.bool_)
            ids = None if table.key else tuple(event.key for event in own)
            found.append(Changes(table.name, rows, sequence, deleted, ids))
    return found


def take_all(shop: Shop, events: Sequence[Event]) -> None:
    """Let the shop have those events."""
    for event in events:
        shop.take(event.table, event.key, event.sequence, None if event.deleted else event.row)
