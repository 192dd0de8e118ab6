"""Negatives against a slow oracle that looks at every fact, and their distributions against the exact ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from kincast.clock import DAY_US, SECOND_US, Span
from kincast.errors import DataError, ProjectError
from kincast.graph.build import build_snapshot
from kincast.graph.csr import reverse_link
from kincast.graph.snapshot import NEVER_US
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.encode import Lists
from kincast.query.labels import make_labels
from kincast.sample.batch import Seeds
from kincast.sample.negative import ItemPath, NegativeSampler, item_path
from kincast.source.open import open_source
from kincast.testing.tiny import tiny_database, tiny_schema

MakeGraph = Callable[..., Any]
WINDOW = (Span(0, "seconds"), Span(3, "seconds"))
USER, OTHER, ITEM, PARENT = 0, 1, 2, 3


def lists(*values: list[int]) -> Lists:
    return Lists(np.cumsum([0, *map(len, values)]), np.array([v for value in values for v in value], np.int64))


def in_seconds(graph: Any) -> Any:
    """The graph with its ticks a second long."""
    for name, table in graph.tables.items():
        ends = table.end_us if table.end_us is None else np.where(table.end_us == NEVER_US, NEVER_US, 0)
        if ends is not None:
            ends += np.where(table.end_us == NEVER_US, 0, table.end_us) * SECOND_US
        times = None if table.time_us is None else table.time_us * SECOND_US
        graph.tables[name] = replace(table, time_us=times, end_us=ends)
    return graph


def skewed(graph: Any) -> Any:
    """The graph with many more events for the first items."""
    link = graph.links[ITEM]
    forward = np.minimum(link.forward, link.forward[::-1])
    offsets, rows = reverse_link(forward, graph.tables["items"].num_rows)
    links = [*graph.links]
    links[ITEM] = replace(link, forward=forward, offsets=offsets, rows=rows)
    return SimpleNamespace(schema=graph.schema, tables=graph.tables, links=tuple(links))


def exists(table: Any, row: int, instant: int, strict: bool = False) -> bool:
    begun = table.time_us is None or (table.time_us[row] < instant if strict else table.time_us[row] <= instant)
    return bool(begun and (table.end_us is None or table.end_us[row] > instant))


def named_later(graph: Any, path: ItemPath, row: int, as_of: int) -> set[int]:
    """Items that facts of a seed name in its window, fact by fact, walking up from each."""
    found = set()
    facts = graph.links[path.item].forward
    for fact, item in enumerate(facts.tolist()):
        at: int = fact
        for link in reversed(path.path):
            at = int(graph.links[link].forward[at]) if at >= 0 else -1
        time = graph.tables["events"].time_us[fact]
        ticks = (time - as_of) / SECOND_US
        inside = path.window is None or path.window[0].count < ticks <= path.window[1].count
        if at == row and inside and item >= 0:
            found.add(item)
    return found


def weights_of(graph: Any, path: ItemPath, plan: dict[str, Any], seed: tuple[int, int, int], mine: set[int]) -> Any:
    """Weight of every item that may be drawn for one seed (row, instant, visible), by looking at every fact."""
    row, as_of, visible = seed
    link = graph.links[path.item]
    items, facts = graph.tables[link.link.target], graph.tables[link.link.table]
    strict = plan["strict"]
    counts = Counter(
        item for fact, item in enumerate(link.forward.tolist()) if item >= 0 and exists(facts, fact, visible, strict)
    )
    later = named_later(graph, path, row, as_of) if plan["avoid_future"] else set()
    found = {}
    for item in range(items.num_rows):
        if exists(items, item, as_of, strict) and item not in mine | later:
            uniform = plan["strategy"] == "uniform"
            mass = 1 if uniform else counts[item] + plan["prior"]
            if mass:
                found[item] = 1.0 if uniform else mass ** plan["power"]
    return found


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "strategy": draw(st.sampled_from(["uniform", "popularity"])),
        "power": draw(st.sampled_from([0.0, 0.5, 0.75, 1.0])),
        "prior": draw(st.integers(0, 2)),
        "seed": draw(st.integers(-3, 3)),
        "strict": draw(st.booleans()),
        "avoid_future": draw(st.booleans()),
    }


PATHS = [
    ItemPath((USER,), ITEM, WINDOW),
    ItemPath((USER,), OTHER, WINDOW),
    ItemPath((USER, PARENT), ITEM, WINDOW),
    ItemPath((USER,), ITEM),
]


def make_seeds(graph: Any, num: int, freeze: bool) -> tuple[Seeds, Lists]:
    rng = np.random.default_rng(num)
    as_of = rng.integers(-1, 11, num) * SECOND_US
    seeds = Seeds("users", rng.integers(0, graph.tables["users"].num_rows, num), as_of)
    if freeze:
        seeds = Seeds("users", seeds.rows, as_of, np.minimum(as_of, 5 * SECOND_US))
    return seeds, lists(*[sorted({int(v) for v in rng.integers(0, 5, rng.integers(0, 3))}) for _ in range(num)])


@settings(max_examples=200, deadline=None)
@given(
    graph=st.fixed_dictionaries(
        {
            "seed": st.integers(0, 10_000),
            "users": st.integers(5, 12),
            "events": st.integers(0, 80),
            "items": st.integers(5, 12),
            "ending": st.booleans(),
        }
    ),
    plan=plans(),
    path=st.sampled_from(PATHS),
    num=st.integers(1, 8),
    freeze=st.booleans(),
)
def test_only_what_the_oracle_allows_and_an_error_when_it_allows_too_few(
    make_graph: MakeGraph, graph: Any, plan: Any, path: ItemPath, num: int, freeze: bool
) -> None:
    graph = in_seconds(make_graph(**graph))
    sampler = NegativeSampler(graph, path, **plan)
    seeds, positives = make_seeds(graph, 6, freeze)
    allowed = [
        weights_of(graph, path, plan, seed, set(positives.take(np.array([i])).items.tolist()))
        for i, seed in enumerate(zip(*(a.tolist() for a in (seeds.rows, seeds.as_of_us, seeds.visible)), strict=True))
    ]
    short = [i for i, weights in enumerate(allowed) if len(weights) < num]
    if short:
        first = f"row {seeds.rows[short[0]]} as of .* has {len(allowed[short[0]])}"
        with pytest.raises(DataError, match=f"{len(short)} of 6 seeds have fewer than {num} .*{first}"):
            sampler.sample(seeds, positives, num)
    enough = np.array([i for i in range(6) if i not in short], np.int64)
    found = sampler.sample(seeds.take(enough), positives.take(enough), num)
    for i, items, logs in zip(enough, found.items.tolist(), found.log_weight, strict=True):
        assert len(set(items)) == num
        assert set(items) <= set(allowed[i])
        np.testing.assert_allclose(logs, [np.log(allowed[i][item]) for item in items])


def test_the_batch_and_the_threads_change_nothing(make_graph: MakeGraph) -> None:
    graph = in_seconds(make_graph(3, users=40, events=400, items=60))
    sampler = NegativeSampler(graph, PATHS[1], "popularity", prior=1, seed=7)
    seeds, positives = make_seeds(graph, 64, False)
    late = seeds.as_of_us >= 3 * SECOND_US
    seeds, positives = seeds.take(np.flatnonzero(late)), positives.take(late)
    whole = sampler.sample(seeds, positives, 4).items
    order = np.random.default_rng(1).permutation(len(seeds))
    assert np.array_equal(sampler.sample(seeds.take(order), positives.take(order), 4).items, whole[order])
    with ThreadPoolExecutor(3) as pool:
        places = [np.arange(i, min(i + 5, len(seeds))) for i in range(0, len(seeds), 5)]
        parts = pool.map(lambda p: sampler.sample(seeds.take(p), positives.take(p), 4).items, places)
        assert np.array_equal(np.concatenate(list(parts)), whole)
    assert not np.array_equal(sampler.sample(seeds, positives, 4, redraw=1).items, whole)
    other = NegativeSampler(graph, PATHS[1], "popularity", prior=1, seed=8)
    assert not np.array_equal(other.sample(seeds, positives, 4).items, whole)


@pytest.mark.parametrize(
    ("plan", "sizes", "mine"),
    [
        ({"strategy": "uniform"}, {"items": 9}, [1, 4]),
        ({"strategy": "uniform"}, {"items": 9, "ending": True}, [1]),
        ({"strategy": "uniform"}, {"items": 500}, range(2, 500)),  # most proposals fail: the exact pass finishes
        ({"power": 1.0}, {}, [1]),
        ({"power": 0.75}, {}, [1]),
        ({"power": 0.75, "prior": 1}, {"ending": True}, []),
        ({"power": 0.5, "prior": 3}, {"events": 40}, []),
        ({"power": 0.25}, {"events": 4000, "items": 4}, []),  # the exact pass again
    ],
    ids=str,
)
def test_pairs_are_drawn_one_after_the_other_by_their_weights(
    make_graph: MakeGraph, plan: dict[str, Any], sizes: dict[str, Any], mine: Any
) -> None:
    graph = skewed(in_seconds(make_graph(11, **{"users": 6, "events": 200, "items": 8, **sizes})))
    plan = {"strategy": "popularity", "power": 0.75, "prior": 0, "strict": False, "avoid_future": False, **plan}
    sampler = NegativeSampler(graph, PATHS[0], **plan)
    weights = weights_of(graph, PATHS[0], plan, (2, 5 * SECOND_US, 5 * SECOND_US), set(mine))
    seeds = Seeds("users", np.array([2]), np.array([5 * SECOND_US]))
    draws = 3000
    found = Counter(
        tuple(sampler.sample(seeds, lists(list(mine)), 2, redraw).items[0].tolist()) for redraw in range(draws)
    )
    total = sum(weights.values())
    chances = {
        (a, b): weights[a] / total * weights[b] / (total - weights[a]) for a, b in permutations(sorted(weights), 2)
    }
    assert set(found) <= set(chances)
    assert chisquare([found[pair] for pair in chances], [draws * chance for chance in chances.values()]).pvalue > 1e-4


def test_future_positives_are_avoided_only_if_asked(make_graph: MakeGraph) -> None:
    graph = in_seconds(make_graph(5, users=2, events=60, items=30))
    seeds, none = Seeds("users", np.array([0]), np.array([3 * SECOND_US])), lists([])
    later = named_later(graph, PATHS[0], 0, 3 * SECOND_US)
    num = 30 - len(later)
    assert later
    assert set(NegativeSampler(graph, PATHS[0]).sample(seeds, none, num).items[0]).isdisjoint(later)
    everything = NegativeSampler(graph, PATHS[0], avoid_future=False).sample(seeds, none, 30)
    assert set(everything.items[0]) >= later


def test_positives_can_be_weighed_too(make_graph: MakeGraph) -> None:
    graph = in_seconds(make_graph(5, users=3, events=60, items=6))
    seeds = Seeds("users", np.array([0, 1]), np.array([4, -1]) * SECOND_US)
    sampler = NegativeSampler(graph, PATHS[0], "popularity", 1.0)
    visible = graph.links[ITEM].forward[graph.tables["events"].time_us <= 4 * SECOND_US]
    expected = [np.log((visible == 2).sum()), np.log((visible == 5).sum()), -np.inf]
    assert np.allclose(sampler.log_weight(seeds, lists([2, 5], [2])), expected)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), ending=st.booleans(), strict=st.booleans(), path=st.sampled_from(PATHS))
def test_in_batch_candidates_and_their_masks(
    make_graph: MakeGraph, seed: int, ending: bool, strict: bool, path: ItemPath
) -> None:
    graph = in_seconds(make_graph(seed, users=7, events=50, items=6, ending=ending))
    plan = {"strategy": "uniform", "strict": strict, "avoid_future": True}
    sampler = NegativeSampler(graph, path, **plan)
    seeds, positives = make_seeds(graph, 6, False)
    pool = Lists(np.array([0, len(positives.items) + 5]), np.concatenate([positives.items, np.arange(5)]))
    found = sampler.in_batch(seeds, positives, pool)
    assert found.items.tolist() == sorted(set(positives.items.tolist()))
    shares = Counter(pool.items.tolist())
    assert np.allclose(np.exp(found.log_q), [shares[item] / len(pool.items) for item in found.items.tolist()])
    for i in range(len(seeds)):
        mine = set(positives.take(np.array([i])).items.tolist())
        as_of = int(seeds.as_of_us[i])
        allowed = weights_of(graph, path, plan, (int(seeds.rows[i]), as_of, as_of), mine)
        assert found.positive[i].tolist() == [item in mine for item in found.items.tolist()]
        assert found.negative[i].tolist() == [item in allowed for item in found.items.tolist()]


def test_the_path_of_a_task_is_the_way_its_labels_take() -> None:
    schema = tiny_schema()
    names = [link.name for link in schema.links]
    text = "PREDICT LIST_DISTINCT(orders.product_id, 0, 2, months) RANK TOP 3 FOR EACH customers.customer_id"
    assert item_path(compile_task(text, schema)) == ItemPath(
        (names.index("orders.customer_id -> customers.customer_id"),),
        names.index("orders.product_id -> products.product_id"),
        (Span(0, "months"), Span(2, "months")),
    )
    with pytest.raises(DataError, match="binary classification has no items"):
        item_path(compile_task("PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id", schema))


@pytest.mark.parametrize("wrong", [{"strategy": "hard"}, {"power": 1.5}, {"prior": -1}])
def test_wrong_settings(make_graph: MakeGraph, wrong: dict[str, Any]) -> None:
    with pytest.raises(ProjectError, match=str(next(iter(wrong.values())))):
        NegativeSampler(make_graph(1), PATHS[0], **wrong)


def test_a_link_with_times_of_its_own(make_graph: MakeGraph) -> None:
    with pytest.raises(ProjectError, match=r"events.user -> users.id: a link with times"):
        NegativeSampler(make_graph(1, timed_links=True), PATHS[0])


def test_lists_that_do_not_fit(make_graph: MakeGraph) -> None:
    sampler = NegativeSampler(in_seconds(make_graph(1)), PATHS[0])
    seeds = Seeds("users", np.array([0, 1]), np.array([5, 5]))
    with pytest.raises(DataError, match="1 lists of items for 2 seeds"):
        sampler.sample(seeds, lists([1]), 1)
    with pytest.raises(DataError, match="items: a listed item is none of the 3 rows"):
        sampler.log_weight(seeds, lists([1], [3]))
    with pytest.raises(DataError, match="1 items of the batch are in no label of the pool"):
        sampler.in_batch(seeds, lists([1], [2]), lists([2]))


def test_negatives_of_labels_made_by_a_query_against_sql(tmp_path: Path) -> None:
    snapshot = build_snapshot(open_source(str(tiny_database(tmp_path))), tiny_schema(), tmp_path / "snapshots")
    text = (
        "PREDICT LIST_DISTINCT(orders.product_id WHERE orders.amount > 40, 0, 30, days) RANK TOP 3 "
        "FOR EACH customers.customer_id"
    )
    task = compile_task(text, snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = make_labels(task, tables, SplitSettings()).of(0)
    assert labels.lists is not None
    seeds = Seeds(labels.entity, labels.rows, labels.as_of_us)
    drawn = NegativeSampler(snapshot, item_path(task), "popularity", 1.0, 1).sample(seeds, labels.lists, 4).items
    customers = snapshot.keys_of("customers", labels.rows).column(0).to_pylist()
    products = np.array(snapshot.keys_of("products", drawn.ravel()).column(0).to_pylist()).reshape(drawn.shape)
    unlisted = 0
    with duckdb.connect(str(tmp_path / "tiny.duckdb"), read_only=True) as connection:
        for i, (customer, as_of) in enumerate(zip(customers, labels.as_of_us.tolist(), strict=True)):
            rows = connection.execute(
                "SELECT product_id FROM orders WHERE customer_id = ? AND epoch_us(ordered_at) > ? "
                "AND epoch_us(ordered_at) <= ?",
                [customer, as_of, as_of + 30 * DAY_US],
            ).fetchall()
            bought = {row[0] for row in rows}
            assert bought.isdisjoint(products[i].tolist())
            unlisted += len(bought) - int(labels.lists.lengths[i])
    assert unlisted > 10  # bought, but too cheap for the label list: still no negatives
