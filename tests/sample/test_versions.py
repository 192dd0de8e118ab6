"""Time travel: whatever instant is asked for, a link to a table of versions leads to the one valid then."""

from __future__ import annotations

import numpy as np
import pytest
from tests.sample.test_sampler import same
from tests.versions import Order, Version, day_us, make_versions, random_versions, valid_at

from kincast.graph.snapshot import Snapshot
from kincast.sample.batch import Seeds
from kincast.sample.oracle import sample_slowly
from kincast.sample.sampler import Sampler

World = tuple[list[Version], list[Order], Snapshot]


@pytest.fixture(scope="module", params=range(4))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Random customers with versions, their orders, and the snapshot of both."""
    versions, orders = random_versions(request.param)
    return versions, orders, make_versions(tmp_path_factory.mktemp("world"), versions, orders)


def columns_of(snapshot: Snapshot, rows: np.ndarray) -> list[tuple[int, int]]:
    """Customer and segment of rows."""
    table = snapshot.columns("customers", ["customer_id", "segment"])
    return [(table["customer_id"][row].as_py(), table["segment"][row].as_py()) for row in rows.tolist()]


def test_each_order_leads_to_its_customer_as_it_was_then(world: World) -> None:
    versions, orders, snapshot = world
    keys = snapshot.columns("orders", ["order_id"])["order_id"].to_pylist()
    by_key = {order: (customer, at) for order, customer, at in orders}
    for at in range(0, 61, 7):
        rows = np.arange(len(keys))
        batch = Sampler(snapshot, [4]).sample(Seeds("orders", rows, np.full(len(rows), day_us(at))))
        found = dict(zip(batch.seed["customers"].tolist(), columns_of(snapshot, batch.rows["customers"]), strict=True))
        for row, key in enumerate(keys):
            expected = valid_at(versions, by_key[key][0], at)
            assert found.get(row) == (None if expected is None else (expected[0], expected[3]))


def test_a_version_has_the_orders_of_its_customer_whatever_version_they_met(world: World) -> None:
    versions, orders, snapshot = world
    order_keys = snapshot.columns("orders", ["order_id"])["order_id"].to_pylist()
    rows = np.arange(len(versions))
    batch = Sampler(snapshot, [-1]).sample(Seeds("customers", rows, np.full(len(rows), day_us(40))))
    for row, (customer, _) in enumerate(columns_of(snapshot, rows)):
        found = [order_keys[order] for order in batch.rows["orders"][batch.seed["orders"] == row].tolist()]
        assert sorted(found) == sorted(key for key, owner, at in orders if owner == customer and at <= 40)


@pytest.mark.parametrize("strategy", ["last", "uniform"])
@pytest.mark.parametrize("strict", [False, True])
def test_the_sampler_is_its_oracle(world: World, strict: bool, strategy: str) -> None:
    snapshot = world[2]
    rng = np.random.default_rng(0)
    sampler = Sampler(snapshot, [3, 2, 2], strategy=strategy, strict=strict)
    for table in ("orders", "customers"):
        rows = rng.integers(0, snapshot.tables[table].num_rows, 30)
        seeds = Seeds(table, rows, np.array([day_us(at) for at in rng.integers(0, 61, 30).tolist()]))
        assert same(sampler.sample(seeds), sample_slowly(sampler, seeds))


def test_one_version_at_most_exists_at_any_instant(world: World) -> None:
    versions, _, snapshot = world
    table = snapshot.tables["customers"]
    assert table.time_us is not None
    assert table.end_us is not None
    owners = [customer for customer, _ in columns_of(snapshot, np.arange(table.num_rows))]
    for at in range(61):
        alive = np.flatnonzero((table.time_us <= day_us(at)) & (table.end_us > day_us(at)))
        found = sorted(owners[row] for row in alive.tolist())
        assert found == [customer for customer in range(9) if valid_at(versions, customer, at) is not None]
        keys = list(range(9))
        rows = snapshot.versions_at("customers", snapshot.rows_of("customers", keys), np.full(9, day_us(at)))
        assert rows[rows >= 0].tolist() == sorted(alive.tolist(), key=lambda row: owners[row])
