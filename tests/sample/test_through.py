"""Link tables passed straight through: neighbours are the rows at the other ends, seen when both are there."""

from __future__ import annotations

import numpy as np
import pytest

from kincast.errors import ProjectError
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.sample.batch import Seeds
from kincast.sample.sampler import Sampler
from kincast.sample.through import through_edges, through_graph
from kincast.source.open import open_source
from kincast.testing.tiny import tiny_database, tiny_schema

BOUGHT = "customers.customer_id->orders.customer_id->orders.product_id->products.product_id"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("through")
    schema = tiny_schema()
    # Nothing may lead to a table that is passed through.
    links = tuple(link for link in schema.links if link.target != "orders")
    source = open_source(str(tiny_database(folder)))
    return build_snapshot(source, type(schema)(tuple(schema), links), folder / "snapshots")


def test_neighbours_are_what_orders_lead_to_and_no_later_ones(snapshot: Snapshot) -> None:
    graph = through_graph(snapshot, ["orders"])
    sampler = Sampler(graph, [-1])
    orders = snapshot.tables["orders"]
    of = {link.link.name: np.asarray(link.forward) for link in snapshot.links if link.link.table == "orders"}
    buyer = of["orders.customer_id -> customers.customer_id"]
    bought = of["orders.product_id -> products.product_id"]
    assert orders.time_us is not None
    middle = int(np.quantile(orders.time_us, 0.5))
    rows = np.arange(snapshot.tables["customers"].num_rows)
    batch = sampler.sample(Seeds("customers", rows, np.full(len(rows), middle)))
    block = next(block for block in batch.blocks if block.edge.name == BOUGHT)
    found = batch.rows["products"][block.src_start : block.src_start + block.num_src]
    seen = 0
    for customer in rows.tolist():
        own = found[block.offsets[customer] : block.offsets[customer + 1]]
        wanted = bought[(buyer == customer) & (orders.time_us <= middle) & (bought >= 0)]
        assert sorted(own.tolist()) == sorted(wanted.tolist())
        seen += len(wanted)
    assert 0 < seen < len(buyer)
    assert not len(batch.rows["orders"])


def test_edges_of_link_tables_are_replaced_by_the_ways_through(snapshot: Snapshot) -> None:
    names = [edge.name for edge in through_edges(snapshot.schema, ["orders"])]
    assert BOUGHT in names
    assert not [name for name in names if name.count("->") == 1 and "orders." in name]


@pytest.mark.parametrize(
    ("table", "reason"), [("shops", "no table shops"), ("customers", "links, and a link table at least two")]
)
def test_what_is_no_link_table_is_refused(snapshot: Snapshot, table: str, reason: str) -> None:
    with pytest.raises(ProjectError, match=reason):
        through_graph(snapshot, [table])


def test_a_table_that_others_lead_to_is_refused() -> None:
    with pytest.raises(ProjectError, match="rows of other tables lead to orders"):
        through_edges(tiny_schema(), ["orders"])
