"""Walks: what is counted is what a slow twin counts, and an order nobody could learn by heart is found by them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kincast.card import parse_card
from kincast.clock import DAY_US, parse_instant
from kincast.graph.build import build_snapshot
from kincast.graph.csr import reverse_link
from kincast.graph.snapshot import SnapshotLink, SnapshotTable
from kincast.model import walk
from kincast.model.item import facts_of, known_facts
from kincast.model.walk import FactLists, walks
from kincast.project import Project, TaskSettings
from kincast.sample.negative import ItemPath
from kincast.schema import Link
from kincast.source.open import open_source
from kincast.train.run import train_task

RANDOM = np.random.default_rng(0)
CARD = """
tables:
  buyers: {key: buyer_id, columns: {buyer_id: {type: id, stored: BIGINT}}}
  products: {key: product_id, columns: {product_id: {type: id, stored: BIGINT}}}
  sales:
    key: sale_id
    time: sold_at
    columns:
      sale_id: {type: id, stored: BIGINT}
      buyer_id: {type: id, stored: BIGINT}
      product_id: {type: id, stored: BIGINT}
      sold_at: {type: timestamp, stored: TIMESTAMP}
links:
  - sales.buyer_id -> buyers.buyer_id
  - sales.product_id -> products.product_id
"""
NUM_ENTITIES, NUM_ITEMS, NUM_FACTS, LENGTH = 9, 14, 90, 20


def _facts(ends: bool) -> tuple[Any, ...]:
    entity, item = RANDOM.integers(-1, NUM_ENTITIES, NUM_FACTS), RANDOM.integers(-1, NUM_ITEMS, NUM_FACTS)
    time = np.sort(RANDOM.integers(0, 200, NUM_FACTS))
    return entity, item, time, time + RANDOM.integers(1, 150, NUM_FACTS) if ends else None


def _slow(facts: tuple[Any, ...], row: int, cut: int, now: int) -> dict[int, list[float]]:
    """Item → how strongly it is reached in each way, as the text of the module says it."""
    entity, item, time, end = facts
    seen = [f for f in range(cut) if entity[f] >= 0 and item[f] >= 0]
    alive = [f for f in seen if end is None or end[f] > now]
    of = {e: [f for f in seen if entity[f] == e] for e in range(NUM_ENTITIES)}
    degree = Counter(int(item[f]) for f in seen)
    found: dict[int, list[float]] = defaultdict(lambda: [0.0] * walk.NUM_COUNTS)
    own = [f for f in reversed(of[row]) if f in alive]
    shared: dict[int, list[float]] = defaultdict(lambda: [0.0] * 4)
    for rank, had in enumerate(dict.fromkeys(int(item[f]) for f in own)):
        mine = [f for f in own if item[f] == had]
        found[had][0], found[had][1] = len(mine), math.exp(-(now - time[mine[0]]) / LENGTH)
        for fact in (f for f in alive if item[f] == had and entity[f] != row):
            peer = int(entity[fact])
            fresh = 1 / (1 + (now - time[fact]) / (12 * LENGTH))
            root = math.sqrt(degree[had])
            for place, more in enumerate((1.0, 1 / degree[had], 1 / root, fresh / root)):
                shared[peer][place] += more
            after = of[peer].index(fact) + 1
            for gap, later in enumerate(of[peer][after : after + walk.AHEAD]):
                found[int(item[later])][5] += 1 / ((1 + rank) * (1 + gap))
    for peer, (count, by_degree, by_root, lately) in shared.items():
        num = len(of[peer])
        for fact in (f for f in of[peer] if f in alive):
            reached = found[int(item[fact])]
            reached[2] += by_degree / num
            reached[3] += count**2 / num
            reached[4] += by_root / math.sqrt(degree[int(item[fact])])
            reached[6] += count
            reached[7] += lately / math.sqrt(num)
    return found


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("ends", [False, True])
def test_what_is_reached_is_what_a_slow_twin_reaches(ends: bool, repeats: bool) -> None:
    facts = _facts(ends)
    lists = FactLists.of(*facts, (NUM_ENTITIES, NUM_ITEMS))
    rows, cuts = np.arange(NUM_ENTITIES).repeat(2), np.tile([NUM_FACTS // 2, NUM_FACTS], NUM_ENTITIES)
    now = np.array([facts[2][cut - 1] for cut in cuts])
    found = walks(lists, rows, cuts, now, LENGTH, repeats)
    for place, (row, cut) in enumerate(zip(rows.tolist(), cuts.tolist(), strict=True)):
        slow = _slow(facts, row, cut, int(now[place]))
        slow = {item: ways for item, ways in slow.items() if repeats or not ways[0]}
        most = np.max([*slow.values(), [1e-12] * walk.NUM_COUNTS], axis=0)
        here = found.seed == place
        assert sorted(found.item[here].tolist()) == sorted(slow)
        for item, values in zip(found.item[here].tolist(), found.values[here], strict=True):
            assert values[:2] == pytest.approx([math.log1p(slow[item][0]), slow[item][1]], abs=1e-5)
            assert values[2::2] == pytest.approx((np.array(slow[item]) / most)[2:], abs=1e-5)


def test_the_future_is_not_walked_over() -> None:
    entity, item, time, _ = _facts(ends=False)
    cut = NUM_FACTS // 2
    changed = np.concatenate([item[:cut], RANDOM.permutation(item[cut:])])
    rows, cuts, now = np.arange(NUM_ENTITIES), np.full(NUM_ENTITIES, cut), np.full(NUM_ENTITIES, time[cut - 1])
    one, two = (
        walks(FactLists.of(entity, own, time, None, (NUM_ENTITIES, NUM_ITEMS)), rows, cuts, now, LENGTH)
        for own in (item, changed)
    )
    assert (one.item == two.item).all()
    assert (one.values == two.values).all()


def groups_project(folder: Path, **model: Any) -> Project:
    """Buyers of hidden groups of three products, who buy two of theirs and then the third; half of them come late."""
    random = np.random.default_rng(1)
    num, start = 480, parse_instant("2024-01-01")
    buyer = np.arange(num)
    group = np.where(buyer < num // 2, buyer % 20, 20 + buyer % 20)  # nobody has the later groups' products early
    begun = random.integers(0, 40, num) + np.where(buyer < num // 2, 0, 50)
    order = np.argsort(random.random((num, 3)), axis=1)
    day = begun[:, None] + np.array([0, 1, 12])
    sales = {
        "sale_id": np.arange(3 * num),
        "buyer_id": buyer.repeat(3),
        "product_id": (group[:, None] * 3 + order).ravel(),
        "sold_at": (start + day.ravel() * DAY_US).astype("datetime64[us]"),
    }
    tables = {"buyers": {"buyer_id": buyer}, "products": {"product_id": np.arange(120)}, "sales": sales}
    (folder / "data").mkdir()
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / "data" / f"{name}.parquet")
    query = "PREDICT LIST_DISTINCT(sales.product_id, 0, 10, days) RANK TOP 10 FOR EACH buyers.buyer_id"
    settings = {
        "query": f"{query} WHERE COUNT(sales.*, -10, 0, days) = 2",
        "split": {"step": "2 days"},
        "model": {"channels": 16, "fanout": [4], "repeats": False} | model,
        "train": {"max_epochs": 4, "batch_size": 32, "num_threads": 1},
    }
    return Project(folder=folder, source="data", tasks={"third": TaskSettings.model_validate(settings)})


def test_what_others_had_with_it_is_found_also_for_items_nobody_had_before(tmp_path: Path) -> None:
    found = {}
    for walked in (True, False):
        folder = tmp_path / str(walked)
        folder.mkdir()
        project = groups_project(folder, walks=walked)
        snapshot = build_snapshot(open_source(project.source, folder), parse_card(CARD), project.snapshots)
        info = train_task(project, "third", snapshot=snapshot).info
        found[walked] = info.metrics["test"]["map@10"].value
        assert info.baselines.keys() == {"popularity", "recent popularity"}
    assert found[True] > 0.6
    assert found[False] < 0.3


def test_a_fact_counts_from_when_both_its_ends_are_there() -> None:
    buys, sells = (Link("sales", (column,), of, ("key",)) for column, of in (("buyer", "buyers"), ("item", "items")))
    days = np.arange(6) * DAY_US
    tables = {
        "buyers": SnapshotTable("buyers", 2, days[[0, 4]], None),
        "items": SnapshotTable("items", 2, days[[0, 3]], None),
        "sales": SnapshotTable("sales", 3, days[[1, 2, 5]], days[[3, 4, 5]]),
    }
    forward = ([1, 0, 0], [0, 1, -1])  # the first sale's buyer comes on day 4, the second one's item on day 3
    links = [
        SnapshotLink(link, np.array(rows), *reverse_link(np.array(rows), 2))
        for link, rows in zip((buys, sells), forward, strict=True)
    ]
    snapshot: Any = SimpleNamespace(tables=tables, links=links)
    path = ItemPath((0,), 1)
    found = known_facts(snapshot, path, facts_of(snapshot, path))
    assert found.time_us is not None
    assert found.end_us is not None
    assert (found.time_us // DAY_US).tolist() == [3, 4, 5]
    assert found.entity.tolist() == [0, 1, 0]
    assert found.item.tolist() == [1, 0, -1]
    assert (found.end_us // DAY_US).tolist() == [4, 3, 5]
