"""Plans: fanouts follow degrees, sub-graphs stay within their budget, costs are those of a dry run."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.planted import Planted

from kincast.graph.csr import reverse_link
from kincast.sample.edge import edge_types
from kincast.sample.strategy import fanout_table
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.train.plan import BUDGET_ROWS, LinkPlan, make_plan, suggest_fanouts
from kincast.train.prepare import prepare


def table(name: str, *columns: str) -> Table:
    return Table(
        name,
        tuple(Column(column, SemanticType.ID, "BIGINT") for column in ("id", "t", *columns)),
        ("id",),
        RowTime(column="t"),
    )


def plans(per_user: int, per_item: int, fanout: list[int]) -> dict[str, LinkPlan]:
    """Of users with so many events each, on items with so many events each."""
    events = 40 * per_user
    schema = Schema(
        (table("users"), table("events", "user", "item"), table("items")),
        (Link("events", ("user",), "users", ("id",)), Link("events", ("item",), "items", ("id",))),
    )
    items = max(events // per_item, 1)
    links = []
    for forward, num in ((np.arange(events) % 40, 40), (np.arange(events) % items, items)):
        offsets, rows = reverse_link(forward.astype(np.int32), num)
        links.append(SimpleNamespace(forward=forward, offsets=offsets, rows=rows))
    snapshot: Any = SimpleNamespace(schema=schema, links=links)
    task: Any = SimpleNamespace(entity="users", fact_tables=("events",))
    edges = edge_types(schema)
    found = suggest_fanouts(snapshot, task, edges, fanout_table(edges, fanout, {}))
    return {plan.name: plan for plan in found}


EVENTS, OTHERS = "users.id->events.user", "items.id->events.item"


@pytest.mark.parametrize(("per_user", "first"), [(5, 5), (60, 60), (100, 80), (400, 160), (10_000, 512)])
def test_the_targets_own_facts_get_the_inferred_fanout_but_never_more_than_there_are(per_user: int, first: int) -> None:
    found = plans(per_user, 5, [16])[EVENTS]
    assert found.suggested == (min(first, max(64, math.ceil(8 * math.sqrt(per_user)))),)
    assert "target's own facts" in found.why


def test_a_fanout_above_the_99th_percentile_is_lowered() -> None:
    found = plans(30, 4, [16, 16])[OTHERS]
    assert (found.mean, found.p99, found.most) == (4.0, 4, 4)
    assert found.suggested == (4, 4)
    assert "99th percentile, 4" in found.why


def test_what_all_takes_is_bounded() -> None:
    found = plans(30, 1_000, [-1])[OTHERS]
    assert found.now == (-1,)
    assert found.suggested == (512,)


def test_hops_that_explode_are_halved_and_say_so() -> None:
    found = plans(400, 400, [16, 16, 64])
    widest = max(plan.suggested[2] for plan in found.values() if "halved" in plan.why)
    assert widest < 64
    assert any(f"near {BUDGET_ROWS:,} rows" in plan.why for plan in found.values())


def test_a_plan_measures_what_training_reads(planted: Planted) -> None:
    project, snapshot = planted
    settings = project.tasks["buys"]
    prepared = prepare(project, "buys", snapshot)
    plan = make_plan("buys", settings, snapshot, prepared)
    assert plan.num_labels == len(prepared.labels.of(0).rows)
    assert plan.now.num_batches == math.ceil(plan.num_labels / 128)
    assert 1 <= plan.now.rows_p50 <= plan.now.rows_p99 <= plan.now.rows_most
    assert plan.now.rows_most <= 1 + 8 + 8 * 4 + 8  # fanouts 8 and 4, two links from an order
    assert plan.now.ssd_bytes >= sum(path.stat().st_size for path in snapshot.folder.rglob("*.npy"))
    assert plan.now.epoch_s > 0
    assert json.loads(json.dumps(plan.as_dict()))["fanout_overrides"] == plan.overrides
    assert set(plan.overrides) <= {link.name for link in plan.links}
