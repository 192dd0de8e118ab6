"""Aggregates are what SQL over the tables gives, at each seed's instant, and the same alone and together."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pytest
from tests.planted import Planted

from kincast.clock import parse_instant
from kincast.feature.fit import fit_features
from kincast.feature.store import FeatureStore, open_features
from kincast.graph.snapshot import Snapshot
from kincast.model.aggregate import Aggregates, AggregateSpec, Aggregator, fit_aggregates
from kincast.model.way import ways_of
from kincast.project import FeatureSettings
from kincast.sample.batch import Seeds

AS_OF = ("2024-03-01", "2024-07-15", "2024-11-30")
UNTIL = parse_instant("2024-10-01")


@pytest.fixture(scope="module")
def features(planted: Planted) -> FeatureStore:
    project, snapshot = planted
    return open_features(snapshot, fit_features(snapshot, UNTIL, frozenset(), FeatureSettings()), project.work / "agg")


@pytest.fixture(scope="module")
def aggregator(planted: Planted, features: FeatureStore) -> Aggregator:
    spec = fit_aggregates(planted[1], "customers", UNTIL, frozenset())
    return Aggregator(planted[1], features, AggregateSpec.from_dict(spec.as_dict()))


def seeds_of(snapshot: Snapshot) -> Seeds:
    rows = np.arange(60)
    instants = np.array([parse_instant(AS_OF[row % len(AS_OF)]) for row in rows])
    return Seeds("customers", rows, instants)


def column(found: Aggregates, name: str) -> Any:
    return found.values[:, found.names.index(name)]


def test_it_is_what_sql_says(planted: Planted, aggregator: Aggregator) -> None:
    project, snapshot = planted
    seeds = seeds_of(snapshot)
    found = aggregator.of(seeds)
    keys = snapshot.keys_of("customers", seeds.rows)["customer_id"].to_pylist()
    sql = """
        SELECT count(*), count(*) FILTER (ordered_at > $2::TIMESTAMP - INTERVAL 90 DAY),
            epoch($2::TIMESTAMP - max(ordered_at)) / 86400, epoch($2::TIMESTAMP - min(ordered_at)) / 86400,
            avg(amount), sum(amount) FILTER (ordered_at > $2::TIMESTAMP - INTERVAL 30 DAY),
            min(amount), max(amount), arg_max(amount, ordered_at), stddev_pop(amount)
        FROM orders WHERE customer_id = $1 AND ordered_at <= $2::TIMESTAMP"""
    names = ["rows", "rows 90 days", "days since last", "days since first"]
    names += [f"amount {what}" for what in ("mean", "sum 30 days", "min", "max", "last", "spread")]
    with duckdb.connect(str(project.folder / "planted.duckdb"), read_only=True) as con:
        for place, key in enumerate(keys):
            truth = con.execute(sql, [key, AS_OF[place % len(AS_OF)]]).fetchone()
            assert truth is not None
            for name, value in zip(names, truth, strict=True):
                own = column(found, f"orders by customer_id: {name}")[place]
                if value is None and "sum" in name and truth[0]:
                    value = 0.0
                if value is None:
                    assert np.isnan(own)
                else:
                    assert own == pytest.approx(value, rel=2e-3, abs=2e-2), (key, name)


def test_the_newest_row_leads_on(planted: Planted, aggregator: Aggregator) -> None:
    project, snapshot = planted
    seeds = seeds_of(snapshot)
    found = column(aggregator.of(seeds), "newest orders by customer_id: product_id: orders by product_id: rows")
    keys = snapshot.keys_of("customers", seeds.rows)["customer_id"].to_pylist()
    sql = """
        SELECT count(*) FROM orders WHERE ordered_at <= $2::TIMESTAMP AND product_id = (
            SELECT arg_max(product_id, ordered_at) FROM orders
            WHERE customer_id = $1 AND ordered_at <= $2::TIMESTAMP)"""
    with duckdb.connect(str(project.folder / "planted.duckdb"), read_only=True) as con:
        for place, key in enumerate(keys):
            truth = con.execute(sql, [key, AS_OF[place % len(AS_OF)]]).fetchone()
            assert truth is not None
            assert found[place] == truth[0]


def test_alone_together_and_by_threads_it_is_the_same(
    planted: Planted, aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = seeds_of(planted[1])
    whole = aggregator.of(seeds).values
    monkeypatch.setattr("kincast.model.aggregate.CHUNK", 7)
    np.testing.assert_array_equal(aggregator.of(seeds, num_threads=3).values, whole)
    for place in (0, 31, 59):
        alone = aggregator.of(seeds.take(np.array([place]))).values
        np.testing.assert_array_equal(alone[0], whole[place])


def test_windows_end_where_the_seed_stops_seeing(planted: Planted, aggregator: Aggregator) -> None:
    fresh = seeds_of(planted[1])
    late = Seeds("customers", fresh.rows, fresh.as_of_us + 50 * 86_400_000_000, fresh.as_of_us)
    before, after = aggregator.of(fresh), aggregator.of(late)
    same = "orders by customer_id: amount sum 30 days"
    np.testing.assert_array_equal(column(before, same), column(after, same))
    older = "orders by customer_id: days since last"
    np.testing.assert_allclose(column(after, older), column(before, older) + 50, rtol=1e-5)


def test_hidden_foreign_keys_are_not_told_apart(planted: Planted) -> None:
    spec = fit_aggregates(planted[1], "customers", UNTIL, frozenset({("orders", "customer_id")}))
    assert not any(top.edge.startswith("orders.customer_id") for top in spec.tops)


def test_ways_name_what_they_reach(planted: Planted) -> None:
    names = [way.name for way in ways_of(planted[1].schema, "customers")]
    assert names[:2] == ["", "orders by customer_id"]
    assert "newest orders by customer_id: product_id" in names
    assert len(set(names)) == len(names)
