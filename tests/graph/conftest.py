"""A database of three tables with every kind of link, in any physical order."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import pytest

from kincast.errors import StorageError
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.base import Source
from kincast.source.open import open_source

T = TypeVar("T")

CUSTOMERS = [
    # id, joined, left_at, referrer
    (10, "2024-01-05", None, None),
    (7, "2024-01-01", "2024-03-01", 10),
    (8, "2024-01-01", None, 7),
    (9, "2024-02-01", None, 999),
]
ORDERS = [
    # no key: customer as text, second customer, day and shop of the visit, at, amount
    ("7", 8, "2024-01-02", "b", "2024-01-02 10:00:00", 1.5),
    ("7", None, "2024-01-02", "a", "2024-01-02 10:00:00", 2.5),
    ("10", 10, "2024-01-03", "a", "2024-02-02 12:30:00", None),
    (None, 7, None, "a", "2024-01-10", 4.0),
    ("555", 9, "2024-01-09", "a", "2024-01-01", 5.0),
]
VISITS = [
    # (day, shop) is the key
    ("2024-01-02", "a", 3),
    ("2024-01-02", "b", 4),
    ("2024-01-03", "a", 5),
]
_DDL = {
    "customers": "id BIGINT, joined TIMESTAMP, left_at TIMESTAMP, referrer BIGINT",
    "orders": "customer VARCHAR, buyer BIGINT, day DATE, shop VARCHAR, ts TIMESTAMP, amount DOUBLE",
    "visits": "day DATE, shop VARCHAR, people INTEGER",
}
_TIME_COLUMNS = ("joined", "left_at", "ts", "day")

SCHEMA = Schema(
    tables=tuple(
        Table(
            name,
            tuple(
                Column(
                    column.split()[0],
                    SemanticType.TIMESTAMP if column.split()[0] in _TIME_COLUMNS else SemanticType.ID,
                    column.split()[1],
                )
                for column in _DDL[name].split(", ")
            ),
            key,
            RowTime(column=time) if time else None,
            end,
        )
        for name, key, time, end in (
            ("customers", ("id",), "joined", "left_at"),
            ("orders", (), "ts", None),
            ("visits", ("day", "shop"), None, None),
        )
    ),
    links=(
        Link("orders", ("customer",), "customers", ("id",)),
        Link("orders", ("buyer",), "customers", ("id",)),
        Link("orders", ("day", "shop"), "visits", ("day", "shop")),
        Link("customers", ("referrer",), "customers", ("id",)),
    ),
)


def write_shop(path: Path, shuffle: int = 0, extra: tuple[Any, ...] = ()) -> Source:
    """Write the database with its rows in the order of that shuffle, and perhaps one more customer."""
    with duckdb.connect(str(path)) as connection:
        for name, rows in (("customers", [*CUSTOMERS, *extra]), ("orders", ORDERS), ("visits", VISITS)):
            connection.execute(f"CREATE TABLE {name} ({_DDL[name]})")
            rows = random.Random(shuffle).sample(rows, len(rows))
            if rows:
                connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return open_source(str(path))


class FailingDisk:
    """Counts every step that asks something of the disk and refuses the n-th, or all from the n-th on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.fail_at, self.for_good = 0, 0, False
        for owner, name in (
            (os, "fsync"),
            (os, "rename"),
            (os, "replace"),
            (Path, "mkdir"),
            (Path, "write_text"),
            (np.lib.format, "write_array"),
        ):
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def attempt(self, fail_at: int, build: Callable[[], T], for_good: bool = False) -> T | None:
        """Build with a refusal at that step; None when it came so far, and then it must be a StorageError."""
        self.calls, self.fail_at, self.for_good = 0, fail_at, for_good
        try:
            return build()
        except StorageError as error:
            refused = error
        finally:
            self.fail_at = 0
        assert "No space left" in str(refused)
        return None

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.fail_at and (self.calls == self.fail_at or (self.for_good and self.calls > self.fail_at)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """``failing_disk.attempt(n, build)``: build while the n-th step is refused."""
    return FailingDisk(monkeypatch)


@pytest.fixture(scope="session")
def schema() -> Schema:
    """Of the shop."""
    return SCHEMA


@pytest.fixture(scope="session")
def make_shop() -> Callable[..., Source]:
    """``make_shop(path, shuffle, extra)``: the shop as a source."""
    return write_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The shop's snapshot, not to be changed."""
    folder = tmp_path_factory.mktemp("shop")
    return build_snapshot(write_shop(folder / "shop.duckdb"), SCHEMA, folder / "snapshots")
