"""The whole chain on the tiny shop: what is sampled from a snapshot is what SQL finds in the source."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from kincast.clock import DAY_US, parse_instant
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.sample.batch import Batch, Block, Seeds
from kincast.sample.oracle import sample_slowly
from kincast.sample.sampler import Sampler
from kincast.source.open import open_source
from kincast.testing.tiny import tiny_database, tiny_schema

ORDERS = "customers.customer_id->orders.customer_id"
TICKETS = "orders.order_id->tickets.order_id"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def snapshot(folder: Path) -> Snapshot:
    return build_snapshot(open_source(str(tiny_database(folder))), tiny_schema(), folder / "snapshots")


def seeds_of(snapshot: Snapshot) -> Seeds:
    as_of = parse_instant("2024-04-01") + np.arange(40) * 5 * DAY_US
    return Seeds("customers", snapshot.rows_of("customers", range(1, 41)), as_of)


def block_of(batch: Batch, name: str) -> Block:
    return next(block for block in batch.blocks if block.edge.name == name)


def keys(snapshot: Snapshot, table: str, rows: np.ndarray) -> list[int]:
    return snapshot.keys_of(table, rows).column(0).to_pylist()


def test_last_orders_are_those_of_sql(snapshot: Snapshot, folder: Path) -> None:
    seeds = seeds_of(snapshot)
    batch = Sampler(snapshot, [0], {ORDERS: [4]}).sample(seeds)
    block = block_of(batch, ORDERS)
    found = keys(snapshot, "orders", batch.rows["orders"])
    with duckdb.connect(str(folder / "tiny.duckdb"), read_only=True) as connection:
        for i, instant in enumerate(seeds.as_of_us.tolist()):
            visible = connection.execute(
                "SELECT order_id FROM orders WHERE customer_id = ? AND epoch_us(ordered_at) <= ? "
                "ORDER BY ordered_at DESC, order_id DESC",
                [i + 1, instant],
            ).fetchall()
            assert found[block.offsets[i] : block.offsets[i + 1]] == [row[0] for row in visible[:4]]
            assert block.num_visible[i] == len(visible)
    assert max(block.num_visible) > 4


def test_all_tickets_of_all_orders_two_hops_away(snapshot: Snapshot, folder: Path) -> None:
    seeds = seeds_of(snapshot)
    batch = Sampler(snapshot, [0, 0], {ORDERS: [-1, 0], TICKETS: [0, -1]}, strict=True).sample(seeds)
    found = keys(snapshot, "tickets", batch.rows["tickets"])
    pairs = sorted(zip((batch.seed["tickets"] + 1).tolist(), found, strict=True))
    with duckdb.connect(str(folder / "tiny.duckdb"), read_only=True) as connection:
        expected = connection.execute(
            "SELECT customer_id, ticket_id FROM orders JOIN tickets USING (order_id) "
            "WHERE ordered_at < make_timestamp(?) + to_days(5 * (customer_id - 1)) "
            "AND opened_at < make_timestamp(?) + to_days(5 * (customer_id - 1)) ORDER BY ALL",
            [seeds.as_of_us[0].item()] * 2,
        ).fetchall()
    assert len(expected) > 10
    assert pairs == expected


@pytest.mark.parametrize("strategy", ["last", "uniform"])
def test_a_mapped_snapshot_samples_as_the_slow_twin(snapshot: Snapshot, strategy: str) -> None:
    sampler = Sampler(snapshot, [4, 3], strategy=strategy)
    fast, slow = sampler.sample(seeds_of(snapshot)), sample_slowly(sampler, seeds_of(snapshot))
    assert fast.num_edges == slow.num_edges > 500
    for name in fast.rows:
        assert fast.rows[name].tolist() == slow.rows[name].tolist()
        assert fast.seed[name].tolist() == slow.seed[name].tolist()
