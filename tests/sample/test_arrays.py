"""Graphs made from edge lists: static, homogeneous, timed by edges and by rows, and what is wrong in them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.errors import DataError, ProjectError
from kincast.sample.arrays import ArrayGraph, EdgeList, array_graph
from kincast.sample.batch import Seeds
from kincast.sample.oracle import sample_slowly
from kincast.sample.sampler import Sampler
from kincast.sample.strategy import LinkSampling

EVER = np.iinfo(np.int64).max


def random_graph(seed: int, *, timed: bool, rows_timed: bool, ending: bool) -> tuple[ArrayGraph, dict[str, EdgeList]]:
    """Users and items, in no order of time, with edges both ways and among the users; some edges twice."""
    rng = np.random.default_rng(seed)
    num = {"user": 7, "item": 4}

    def edges(src: str, dst: str, count: int) -> EdgeList:
        times = rng.integers(0, 10, count) if timed else None
        rows = rng.integers(0, num[src], count), rng.integers(0, num[dst], count)
        return EdgeList(src, dst, *rows, times, rng.random(count))

    lists = {
        "buys": edges("user", "item", 30),
        "bought by": edges("item", "user", 30),
        "knows": edges("user", "user", 12),
    }
    time_us = {"user": rng.integers(0, 10, 7)} if rows_timed else None
    end_us = {"item": rng.integers(3, 12, 4)} if ending else None
    return array_graph(num, lists, time_us, end_us), lists


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.fixed_dictionaries({name: st.booleans() for name in ("timed", "rows_timed", "ending")}),
    sampling=st.sampled_from(
        [LinkSampling(), LinkSampling("uniform"), LinkSampling("weighted"), LinkSampling("recency", half_life_us=2)]
    ),
    fanout=st.lists(st.integers(-1, 3), min_size=1, max_size=3),
)
def test_equals_the_slow_twin(seed: int, shape: Any, sampling: LinkSampling, fanout: list[int]) -> None:
    graph, _ = random_graph(seed, **shape)
    sampler = Sampler(graph, fanout, strategy=sampling, keep_places=True)
    seeds = Seeds("user", np.arange(7), np.arange(2, 9))
    fast, slow = sampler.sample(seeds), sample_slowly(sampler, seeds)
    assert {name: rows.tolist() for name, rows in fast.rows.items()} == {n: r.tolist() for n, r in slow.rows.items()}
    for one, two in zip(fast.blocks, slow.blocks, strict=True):
        assert (one.hop, one.edge, one.offsets.tolist()) == (two.hop, two.edge, two.offsets.tolist())
        assert one.places is not None
        assert two.places is not None
        assert one.places.tolist() == two.places.tolist()


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("rows_timed", [False, True])
def test_all_edges_there_are_by_an_instant(timed: bool, rows_timed: bool) -> None:
    graph, lists = random_graph(3, timed=timed, rows_timed=rows_timed, ending=False)
    user_times = np.random.default_rng(0).integers(0, 10, 7)
    graph = array_graph({"user": 7, "item": 4}, lists, {"user": user_times} if rows_timed else None)
    batch = Sampler(graph, [-1], keep_places=True).sample(Seeds("item", np.arange(4), np.full(4, 5)))
    (block,) = batch.blocks
    buys = lists["buys"]
    expected = [
        place
        for place in range(30)
        if (buys.time_us is None or buys.time_us[place] <= 5)
        and (not rows_timed or user_times[buys.src_rows[place]] <= 5)
    ]
    link = graph.links[0]
    assert sorted(link.edges[block.places].tolist()) == expected
    assert batch.rows["user"].tolist() == buys.src_rows[link.edges[block.places]].tolist()
    if timed or rows_timed:
        assert 0 < len(expected) < 30


def test_a_homogeneous_static_graph_with_many_hops() -> None:
    ring = EdgeList("node", "node", np.arange(10), (np.arange(10) + 1) % 10)  # each hears the one before
    batch = Sampler(array_graph({"node": 10}, {"next": ring}), [1] * 8).sample(
        Seeds("node", np.array([3]), np.array([0]))
    )
    assert batch.rows["node"].tolist() == [3, 2, 1, 0, 9, 8, 7, 6, 5]
    assert [block.edge.name for block in batch.blocks] == ["next"] * 8


def test_edges_between_the_same_rows_are_edges_each() -> None:
    graph = array_graph({"node": 2}, {"e": EdgeList("node", "node", np.array([1, 1, 1]), np.array([0, 0, 0]))})
    batch = Sampler(graph, [2], strategy="uniform", keep_places=True).sample(
        Seeds("node", np.array([0]), np.array([0]))
    )
    assert batch.rows["node"].tolist() == [0, 1, 1]
    assert len(set(batch.blocks[0].places.tolist())) == 2


def test_newest_edges_whatever_the_order_they_come_in() -> None:
    times = np.array([5, 1, 9, 3, 7])
    graph = array_graph({"a": 5, "b": 1}, {"e": EdgeList("a", "b", np.arange(5), np.zeros(5, int), times)})
    batch = Sampler(graph, [2]).sample(Seeds("b", np.array([0, 0]), np.array([8, 5])))
    assert batch.rows["a"].tolist() == [4, 0, 0, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"src_rows": np.array([0, 9])}, "a row is not in 0 .. 2"),
        ({"dst_rows": np.array([0, -1])}, "a row is not in 0 .. 2"),
        ({"dst": "place"}, "there is no table place"),
        ({"time_us": np.array([1])}, r"shape \(1,\), expected \[2\]"),
        ({"weight": np.ones((2, 1))}, r"shape \(2, 1\), expected \[2\]"),
    ],
)
def test_wrong_edge_lists(change: dict[str, Any], words: str) -> None:
    parts = {"src": "node", "dst": "node", "src_rows": np.array([0, 1]), "dst_rows": np.array([1, 2]), **change}
    with pytest.raises(DataError, match=words):
        array_graph({"node": 3}, {"e": EdgeList(**parts)})


@pytest.mark.parametrize("times", [{"nodes": np.zeros(3)}, {"node": np.zeros(2)}])
def test_wrong_times(times: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        array_graph({"node": 3}, {}, times)
    with pytest.raises(DataError):
        array_graph({"node": 3}, {}, end_us=times)


def test_wrong_weights() -> None:
    def sampler(weight: Any, column: str | None = None) -> Sampler:
        graph = array_graph({"n": 2}, {"e": EdgeList("n", "n", np.array([0, 1]), np.array([1, 1]), None, weight)})
        return Sampler(graph, [1], strategy=LinkSampling("weighted", column=column))

    with pytest.raises(DataError, match="1 weights are negative or infinite, such as -1"):
        sampler(np.array([-1.0, 2.0]))
    with pytest.raises(ProjectError, match="no weights of their own"):
        sampler(None)
    with pytest.raises(ProjectError, match="no column w"):
        sampler(np.ones(2), "w")
    drawn = [
        sampler(np.array([1.0, 3.0])).redrawn(i).sample(Seeds("n", np.array([1]), np.array([0]))).rows["n"][1]
        for i in range(400)
    ]
    assert 60 < Counter(drawn)[0] < 140
