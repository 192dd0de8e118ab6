"""The sampler against its slow twin and against the rule of time itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from kincast.errors import DataError, ProjectError
from kincast.sample.batch import Batch, Seeds
from kincast.sample.oracle import exists, sample_slowly
from kincast.sample.sampler import Sampler
from kincast.sample.strategy import STRATEGIES, LinkSampling

MakeGraph = Callable[..., Any]
FORWARD = "events.user->users.id"
REVERSE = "users.id->events.user"


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "seed": draw(st.integers(0, 10_000)),
        "users": draw(st.integers(1, 8)),
        "events": draw(st.integers(0, 60)),
        "items": draw(st.integers(0, 4)),
        "users_timed": draw(st.booleans()),
        "ending": draw(st.booleans()),
        "timed_links": draw(st.booleans()),
    }


@st.composite
def samplings(draw: st.DrawFn, hops: int | None = None) -> LinkSampling:
    strategy = draw(st.sampled_from(STRATEGIES))
    fanouts = st.lists(st.integers(-1, 4), min_size=hops or 1, max_size=hops or 1)
    return LinkSampling(
        strategy,
        fanout=tuple(draw(fanouts)) if hops else None,
        half_life_us=draw(st.sampled_from([1, 3, 50])) if strategy == "recency" else None,
        column="w" if strategy == "weighted" else None,
        window_us=draw(st.sampled_from([None, None, 1, 4])),
        replace=strategy not in ("last", "all") and draw(st.booleans()),
    )


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    hops = draw(st.integers(1, 3))
    fanouts = st.lists(st.integers(-1, 4), min_size=hops, max_size=hops)
    names = [FORWARD, REVERSE, "events.parent->events.id", "events.id->events.parent"]
    return {
        "fanout": draw(st.lists(st.integers(0, 3), min_size=hops, max_size=hops)),
        "overrides": draw(st.dictionaries(st.sampled_from(names), fanouts | samplings(hops=hops), max_size=2)),
        "strategy": draw(samplings()),
        "seed": draw(st.integers(-5, 5)),
        "strict": draw(st.booleans()),
        "redraw": draw(st.just(0)),
        "keyed_by": draw(st.sampled_from(["seed", "row"])),
        "max_rows_per_seed": draw(st.sampled_from([None, None, 1, 7, 20])),
        "keep_places": draw(st.booleans()),
    }


def seeds_of(graph: Any, num: int = 5, table: str = "users", frozen: bool = False) -> Seeds:
    rng = np.random.default_rng(num)
    num_rows = graph.tables[table].num_rows
    rows = rng.integers(0, num_rows, num) if num_rows else np.empty(0, np.int64)
    as_of = rng.integers(-1, 12, len(rows))
    return Seeds(table, rows, as_of, np.minimum(as_of, 5) if frozen else None)


def same(one: Batch, two: Batch) -> bool:
    arrays = all(
        np.array_equal(getattr(one, part)[name], getattr(two, part)[name])
        for part in ("rows", "seed", "hop_offsets")
        for name in two.rows
    )
    return arrays and [key(b) for b in one.blocks] == [key(b) for b in two.blocks]


def key(block: Any) -> tuple[Any, ...]:
    return (
        block.hop,
        block.edge,
        block.dst_start,
        block.num_dst,
        block.src_start,
        block.offsets.tolist(),
        block.num_visible.tolist(),
        None if block.places is None else block.places.tolist(),
    )


def tree(batch: Batch, seed: int) -> list[tuple[Any, ...]]:
    """The tree of one seed, without anything that depends on the batch around it."""
    found = []
    for block in batch.blocks:
        dst, src = batch.hop(block)
        for i in range(block.num_dst):
            if batch.seed[block.edge.table][dst][i] == seed:
                neighbours = batch.rows[block.edge.other][src][block.offsets[i] : block.offsets[i + 1]]
                found.append((block.hop, block.edge.name, int(batch.rows[block.edge.table][dst][i]), *neighbours))
    return [entry for entry in found if len(entry) > 3]


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), plan=plans(), frozen=st.booleans(), table=st.sampled_from(["users", "events", "items"]))
def test_equals_the_slow_twin(make_graph: MakeGraph, graph: Any, plan: Any, frozen: bool, table: str) -> None:
    snapshot = make_graph(**graph)
    sampler = Sampler(snapshot, **plan)
    seeds = seeds_of(snapshot, table=table, frozen=frozen)
    assert same(sampler.sample(seeds), sample_slowly(sampler, seeds))


@settings(max_examples=100, deadline=None)
@given(graph=graphs(), plan=plans(), frozen=st.booleans())
def test_rule_of_time_fanout_and_no_repeats(make_graph: MakeGraph, graph: Any, plan: Any, frozen: bool) -> None:
    snapshot = make_graph(**graph)
    sampler = Sampler(snapshot, **plan)
    seeds = seeds_of(snapshot, frozen=frozen)
    batch = sampler.sample(seeds)
    if sampler.max_rows_per_seed:
        assert sum(np.bincount(batch.seed[name], minlength=5) for name in batch.seed).max() <= sampler.max_rows_per_seed
    for block in batch.blocks:
        index = sampler.edges.index(block.edge)
        fanout, sampling = sampler.fanout[index, block.hop - 1], sampler.samplings[index]
        dst, src = batch.hop(block)
        other = block.edge.other
        link = snapshot.links[block.edge.link]
        by_edge = block.edge.reverse and link.time_us is not None
        for i, row in enumerate(batch.rows[block.edge.table][dst]):
            local = slice(src.start + block.offsets[i], src.start + block.offsets[i + 1])
            neighbours = batch.rows[other][local].tolist()
            seed = batch.seed[block.edge.table][dst][i]
            assert (batch.seed[other][local] == seed).all()
            assert by_edge or all(exists(sampler, other, n, seeds.visible[seed]) for n in neighbours)
            assert all((link.forward[n] == row) if block.edge.reverse else (link.forward[row] == n) for n in neighbours)
            assert sampling.replace or len(set(neighbours)) == len(neighbours)
            assert fanout < 0 or len(neighbours) <= fanout
            if by_edge and block.places is not None:
                began = link.time_us[block.places[block.offsets[i] : block.offsets[i + 1]]]
                assert (began <= seeds.visible[seed] - sampler.strict).all()
                if sampling.window_us:
                    assert (began + sampler.strict > seeds.as_of_us[seed] - sampling.window_us).all()


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), plan=plans(), size=st.integers(1, 4), order=st.randoms(use_true_random=False))
def test_same_tree_in_any_batch_order_and_thread(
    make_graph: MakeGraph, graph: Any, plan: Any, size: int, order: Any
) -> None:
    snapshot = make_graph(**graph)
    sampler = Sampler(snapshot, **plan)
    seeds = seeds_of(snapshot, num=6)
    whole = sampler.sample(seeds)
    index = list(range(6))
    order.shuffle(index)
    parts = [np.array(index[i : i + size]) for i in range(0, 6, size)]
    with ThreadPoolExecutor(2) as pool:
        batches = list(pool.map(lambda part: sampler.sample(seeds.take(part)), parts))
    for part, batch in zip(parts, batches, strict=True):
        for position, seed in enumerate(part):
            assert tree(batch, position) == tree(whole, seed)


def test_layout_of_hops(make_graph: MakeGraph) -> None:
    graph = make_graph(1)
    batch = Sampler(graph, [2, 2, 1]).sample(seeds_of(graph))
    assert batch.rows["users"][:5].tolist() == batch.seeds.rows.tolist()
    assert batch.seed["users"][:5].tolist() == [0, 1, 2, 3, 4]
    expected = {name: batch.hop_offsets[name][1].item() for name in batch.rows}
    for block in batch.blocks:
        hops = batch.hop_offsets[block.edge.table]
        assert (block.dst_start, block.dst_start + block.num_dst) == tuple(hops[block.hop - 1 : block.hop + 1])
        assert block.src_start == expected[block.edge.other]
        expected[block.edge.other] += block.num_src
    assert expected == {name: len(rows) for name, rows in batch.rows.items()}
    assert {name: offsets[-1] for name, offsets in batch.hop_offsets.items()} == expected
    assert batch.num_edges == sum(expected.values()) - 5


@pytest.mark.parametrize("strict", [False, True])
def test_last_takes_the_newest_and_ties_follow_strict(make_graph: MakeGraph, strict: bool) -> None:
    graph = make_graph(3, users=1, events=40)
    sampler = Sampler(graph, [0], {REVERSE: [4]}, strict=strict)
    batch = sampler.sample(Seeds("users", np.array([0]), np.array([5])))
    times, forward = graph.tables["events"].time_us, graph.links[0].forward
    visible = np.flatnonzero((forward == 0) & ((times < 5) if strict else (times <= 5)))
    assert 5 in times
    assert batch.rows["events"].tolist() == visible[::-1][:4].tolist()


def test_last_of_timeless_neighbours_takes_the_highest_rows(make_graph: MakeGraph) -> None:
    graph = make_graph(0, users=30, users_timed=False)
    batch = Sampler(graph, [0], {"users.id->users.friend": [2]}).sample(Seeds("users", np.arange(3), np.full(3, -99)))
    expected = np.concatenate([np.flatnonzero(graph.links[4].forward == row)[::-1][:2] for row in range(3)])
    assert len(expected)
    assert batch.rows["users"][3:].tolist() == expected.tolist()


@pytest.mark.parametrize("ending", [False, True])
def test_few_neighbours_come_all_newest_first_from_uniform_too(make_graph: MakeGraph, ending: bool) -> None:
    graph = make_graph(5, users=3, events=30, ending=ending)
    seeds = seeds_of(graph)
    uniform, last = (Sampler(graph, [50, -1], strategy=strategy).sample(seeds) for strategy in ("uniform", "last"))
    assert uniform.num_edges > 10
    assert same(uniform, last)


@pytest.mark.parametrize("ending", [False, True])
def test_uniform_is_uniform_over_subsets(make_graph: MakeGraph, ending: bool) -> None:
    graph = make_graph(8, users=1, events=14, ending=ending)
    sampler = Sampler(graph, [0], {REVERSE: [2]}, strategy="uniform", seed=7)
    num = 6000
    as_of = np.arange(num) + 100  # all see everything that does not end
    batch = sampler.sample(Seeds("users", np.zeros(num, np.int64), as_of))
    alive = [n for n in range(14) if graph.links[0].forward[n] == 0 and exists(sampler, "events", n, 100)]
    assert len(alive) >= 4
    pairs = Counter(tuple(sorted(pair)) for pair in batch.rows["events"].reshape(-1, 2).tolist())
    assert set(pairs) == set(combinations(alive, 2))
    assert chisquare(list(pairs.values())).pvalue > 0.001


def test_many_draws_through_the_hash_table_are_uniform_and_differ(make_graph: MakeGraph) -> None:
    graph = make_graph(8, users=1, events=400)
    sampler = Sampler(graph, [0], {REVERSE: [150]}, strategy="uniform")
    seeds = Seeds("users", np.zeros(200, np.int64), np.arange(200) + 100)
    batch = sampler.sample(seeds)
    rows = batch.rows["events"].reshape(200, 150)
    assert all(len(set(row)) == 150 for row in rows.tolist())
    counts = np.bincount(rows.ravel(), minlength=400)[graph.links[0].forward == 0]
    # Each row is in with probability p = 150 / m, so counts have mean 200 p and variance 200 p (1 - p).
    p = 150 / len(counts)
    assert abs((counts - 200 * p) / np.sqrt(200 * p * (1 - p))).max() < 4.5
    first = seeds.take(slice(0, 1))
    assert same(sampler.sample(first), sample_slowly(sampler, first))


def test_what_the_draws_depend_on(make_graph: MakeGraph) -> None:
    graph = make_graph(8, users=1, events=200)
    seeds = Seeds("users", np.zeros(2, np.int64), np.array([20, 30]))

    def drawn(**changes: Any) -> list[list[int]]:
        sampler = Sampler(graph, [0], {REVERSE: [10]}, strategy="uniform", **changes)
        return sampler.sample(seeds).rows["events"].reshape(2, 10).tolist()

    usual = drawn()
    assert usual == drawn()
    assert usual[0] != usual[1]
    assert drawn(seed=1)[0] != usual[0] != drawn(redraw=1)[0]
    by_row = drawn(keyed_by="row")
    assert by_row[0] == by_row[1]


def test_frozen_seeds_see_no_more_than_the_freeze(make_graph: MakeGraph) -> None:
    graph = make_graph(2)
    seeds = Seeds("users", np.arange(6), np.full(6, 9), np.full(6, 4))
    batch = Sampler(graph, [-1, -1]).sample(seeds)
    times = graph.tables["events"].time_us[batch.rows["events"]]
    assert len(times)
    assert times.max() == 4


def test_wide_row_numbers_give_the_same(make_graph: MakeGraph) -> None:
    graph, wide = make_graph(4), make_graph(4)
    wide.links = tuple(
        replace(link, forward=link.forward.astype(np.int64), rows=link.rows.astype(np.int64)) for link in graph.links
    )
    for strategy in ("last", "uniform"):
        narrow, broad = (Sampler(g, [2, 2], strategy=strategy).sample(seeds_of(graph)) for g in (graph, wide))
        assert narrow.num_edges
        assert same(narrow, broad)


def test_empty_seeds_give_an_empty_batch(make_graph: MakeGraph) -> None:
    graph = make_graph(1)
    batch = Sampler(graph, [2, 2], strategy="uniform").sample(seeds_of(graph, num=0))
    assert batch.blocks == ()
    assert {name: len(rows) for name, rows in batch.rows.items()} == {"users": 0, "events": 0, "items": 0, "nothing": 0}
    assert batch.hop_offsets["users"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"overrides": {"users.id->events.usr": [1]}}, "did you mean users.id->events.user?"),
        ({"overrides": {REVERSE: [1, 2]}}, "2 numbers for 1 hops"),
        ({"overrides": {REVERSE: [-2]}}, "below -1"),
        ({"fanout": []}, "the fanout is empty"),
        ({"fanout": [-3]}, "below -1"),
        ({"strategy": "newest"}, "there are last, uniform, recency, weighted and all"),
        ({"keyed_by": "luck"}, "by seed, or by row"),
        ({"keyed_by": "row", "redraw": 2}, "cannot be redrawn"),
    ],
)
def test_wrong_settings_say_what_would_be_right(make_graph: MakeGraph, settings: Any, words: str) -> None:
    with pytest.raises(ProjectError) as caught:
        Sampler(make_graph(0), **{"fanout": [1], **settings})
    assert words in str(caught.value)


def test_blanks_in_an_edge_name_do_not_matter(make_graph: MakeGraph) -> None:
    sampler = Sampler(make_graph(0), [0], {"users.id -> events.user": [3]})
    assert sampler.fanout[sampler.edges.index(next(e for e in sampler.edges if e.name == REVERSE))] == 3


@pytest.mark.parametrize(("table", "row"), [("users", 99), ("users", -1), ("orders", 0)])
def test_seeds_outside_the_snapshot_are_refused(make_graph: MakeGraph, table: str, row: int) -> None:
    with pytest.raises(DataError):
        Sampler(make_graph(0), [1]).sample(Seeds(table, np.array([row]), np.array([0])))
