"""A graph in memory, small enough to reason about, with every shape a sampler must stand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kincast.graph.csr import reverse_link
from kincast.graph.snapshot import NEVER_US, SnapshotLink, SnapshotTable
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table


def _table(name: str, columns: list[str], timed: bool, ending: bool) -> Table:
    names = ["id", *columns, *(["t"] if timed else []), *(["until"] if ending else [])]
    return Table(
        name,
        tuple(Column(column, SemanticType.ID, "BIGINT") for column in names),
        ("id",),
        RowTime(column="t") if timed else None,
        "until" if ending else None,
    )


def _schema(users_timed: bool, ending: bool) -> Schema:
    return Schema(
        tables=(
            _table("users", ["friend"], users_timed, False),
            _table("events", ["user", "other", "item", "parent"], True, ending),
            _table("items", [], False, ending),
            _table("nothing", ["user"], True, False),
        ),
        links=(
            Link("events", ("user",), "users", ("id",)),
            Link("events", ("other",), "users", ("id",)),
            Link("events", ("item",), "items", ("id",)),
            Link("events", ("parent",), "events", ("id",)),
            Link("users", ("friend",), "users", ("id",)),
            Link("nothing", ("user",), "users", ("id",)),
        ),
    )


def _still(values: Any) -> Any:
    """As a mapped file: not to be written on."""
    if values is not None:
        values.flags.writeable = False
    return values


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., Any]:
    """A stand-in for a snapshot: random links among tables of those sizes, instants 0 .. 9, a fifth of keys null.

    Any column that is asked for holds weights, some 0 or null.
    """

    def make(
        seed: int,
        users: int = 6,
        events: int = 30,
        items: int = 3,
        users_timed: bool = True,
        ending: bool = False,
        timed_links: bool = False,
    ) -> Any:
        rng = np.random.default_rng(seed)
        sizes = {"users": users, "events": events, "items": items, "nothing": 0}
        schema = _schema(users_timed, ending)
        tables = {}
        for table in schema:
            num = sizes[table.name]
            times = np.sort(rng.integers(0, 10, num)) if table.time else None
            ends = None
            if table.end_time:
                lengths = rng.integers(0, 8, num)
                ends = np.where(rng.random(num) < 0.5, NEVER_US, (0 if times is None else times) + lengths)
            tables[table.name] = SnapshotTable(table.name, num, _still(times), _still(ends))
        links = []
        for link in schema.links:
            num_src, num_dst = sizes[link.table], sizes[link.target]
            forward = rng.integers(0, max(num_dst, 1), num_src)
            forward = np.where((rng.random(num_src) < 0.2) | (num_dst == 0), -1, forward).astype(np.int32)
            offsets, rows = reverse_link(forward, num_dst)
            edge_times = None
            if timed_links:  # the edges begin in another order than the rows they come from
                edge_times = rng.integers(0, 10, len(rows))
                order = np.lexsort((edge_times, np.repeat(np.arange(num_dst), np.diff(offsets))))
                rows, edge_times = rows[order], _still(edge_times[order])
            links.append(SnapshotLink(link, *map(_still, (forward, offsets, rows)), edge_times))
        weights = {name: np.array([None, 0.0, 0.5, 1.0, 7.0])[rng.integers(0, 5, num)] for name, num in sizes.items()}

        def columns(table: str, names: list[str]) -> pa.Table:
            return pa.table({name: pa.array(weights[table], pa.float64()) for name in names})

        return SimpleNamespace(schema=schema, tables=tables, links=tuple(links), columns=columns)

    return make
