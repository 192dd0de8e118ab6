"""The draws: their distributions against the definition, and that fewer are always the beginning of more."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from kincast.sample.arrays import EdgeList, array_graph
from kincast.sample.batch import Seeds
from kincast.sample.oracle import sample_slowly
from kincast.sample.sampler import Sampler
from kincast.sample.strategy import LinkSampling

DRAWS = 20_000
HALF_LIFE = 4
TIMES = np.array([0, 3, 4, 8, 9])
WEIGHTS = np.array([1.0, 0.0, 4.0, 2.5, 0.5])
SAMPLINGS = {
    "uniform": LinkSampling("uniform"),
    "recency": LinkSampling("recency", half_life_us=HALF_LIFE),
    "weighted": LinkSampling("weighted"),
}


def star(times: Any, weights: Any, end_us: Any = None) -> Any:
    """One hub that hears a leaf per time."""
    num = len(times)
    edge = EdgeList("leaf", "hub", np.arange(num), np.zeros(num, int), np.asarray(times), weights)
    return array_graph({"leaf": num, "hub": 1}, {"e": edge}, None, None if end_us is None else {"leaf": end_us})


def draw(graph: Any, sampling: LinkSampling, fanout: Any, as_of: int, num: int = DRAWS) -> Any:
    """[num, k] leaves drawn by as many seeds: the same hub at the same instant, told apart by what they see."""
    as_of_us = as_of + np.arange(num)
    seeds = Seeds("hub", np.zeros(num, np.int64), as_of_us, np.full(num, as_of))
    hops = [fanout] if isinstance(fanout, int) else fanout
    rows = Sampler(graph, hops, strategy=sampling, seed=11).sample(seeds).rows["leaf"]
    return rows.reshape(num, -1)


def chances(weights: Any, num: int) -> dict[tuple[int, ...], float]:
    """Chance of every order of so many, each drawn by weight from those that are left."""
    found = {}
    for order in permutations([i for i in range(len(weights)) if weights[i] > 0], num):
        chance, left = 1.0, float(sum(weights))
        for i in order:
            chance *= weights[i] / left
            left -= weights[i]
        found[order] = chance
    return found


def fits(drawn: Any, expected: dict[tuple[int, ...], float]) -> bool:
    seen = Counter(map(tuple, drawn.tolist()))
    assert set(seen) <= set(expected)
    assert sum(expected.values()) == pytest.approx(1)
    orders = list(expected)
    observed = np.array([seen[order] for order in orders])
    return bool(chisquare(observed, np.array([expected[order] for order in orders]) * observed.sum()).pvalue > 0.001)


def weights_at(name: str, as_of: int) -> Any:
    visible = as_of >= TIMES
    weights = {
        "uniform": np.ones(5),
        "recency": 0.5 ** ((as_of - TIMES) / HALF_LIFE),
        "weighted": WEIGHTS,
    }[name]
    return np.where(visible, weights, 0.0)


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("as_of", [8, 100])
@pytest.mark.parametrize("num", [1, 2, 3])
def test_without_replacement(name: str, as_of: int, num: int) -> None:
    drawn = draw(star(TIMES, WEIGHTS), SAMPLINGS[name], num, as_of)
    weights = weights_at(name, as_of)
    if num < (weights > 0).sum():
        assert fits(drawn, chances(weights, num))


@pytest.mark.parametrize("name", SAMPLINGS)
def test_rows_that_have_ended_are_not_drawn(name: str) -> None:
    ends = np.array([99, 99, 8, 99, 99])
    drawn = draw(star(TIMES, WEIGHTS, ends), SAMPLINGS[name], 2, 20)
    assert fits(drawn, chances(np.where(ends <= 20, 0.0, weights_at(name, 20)), 2))


@pytest.mark.parametrize("name", SAMPLINGS)
def test_with_replacement(name: str) -> None:
    sampling = SAMPLINGS[name]
    sampling = LinkSampling(name, half_life_us=sampling.half_life_us, replace=True)
    drawn = draw(star(TIMES, WEIGHTS), sampling, 7, 8)
    assert drawn.shape == (DRAWS, 7)
    weights = weights_at(name, 8)
    for one in (drawn[:, :1], drawn[:, 6:]):
        assert fits(one, {(i,): w / weights.sum() for i, w in enumerate(weights) if w > 0})
    pairs = {(i, j): v * w for i, v in enumerate(weights) for j, w in enumerate(weights) if v * w > 0}
    assert fits(drawn[:, 2:4], {pair: chance / weights.sum() ** 2 for pair, chance in pairs.items()})


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("replace", [False, True])
def test_a_window_cuts_the_old_off(name: str, replace: bool) -> None:
    half_life = SAMPLINGS[name].half_life_us
    edge = EdgeList("leaf", "hub", np.tile(np.arange(5), DRAWS), np.repeat(np.arange(DRAWS), 5), np.tile(TIMES, DRAWS))
    edge = dataclasses.replace(edge, weight=np.tile(WEIGHTS, DRAWS))
    graph = array_graph({"leaf": 5, "hub": DRAWS}, {"e": edge})
    sampling = LinkSampling(name, half_life_us=half_life, window_us=6, replace=replace)
    seeds = Seeds("hub", np.arange(DRAWS), np.full(DRAWS, 9))
    drawn = Sampler(graph, [1], strategy=sampling).sample(seeds).rows["leaf"]
    weights = np.where(TIMES > 3, weights_at(name, 9), 0.0)  # six back from 9, half-open
    assert fits(drawn[:, None], chances(weights, 1))


def test_the_rest_is_that_of_the_slow_twin() -> None:
    """Few hold nearly all the weight, so that draws are rejected until patience ends."""
    rng = np.random.default_rng(0)
    for trial in range(30):
        graph = star(rng.integers(0, 60, 12), None)
        sampler = Sampler(graph, [9], strategy=LinkSampling("recency", half_life_us=1), seed=trial)
        seeds = Seeds("hub", np.zeros(4, np.int64), np.arange(60, 64))
        assert sampler.sample(seeds).rows["leaf"].tolist() == sample_slowly(sampler, seeds).rows["leaf"].tolist()


def test_when_few_hold_all_the_weight_the_rest_is_still_right() -> None:
    """Half-lives of nothing: after the newest, rejection would go on for ever."""
    times = np.array([0, 0, 0, 0, 10**9])
    drawn = draw(star(times, None), LinkSampling("recency", half_life_us=10**6), 3, 10**9, num=4000)
    assert (drawn[:, 0] == 4).all()
    assert fits(drawn[:, 1:], dict.fromkeys(permutations(range(4), 2), 1 / 12))


def test_huge_and_tiny_half_lives() -> None:
    times = np.arange(60) * 10**12  # two years, one step of a day and a half
    newest = draw(star(times, None), LinkSampling("recency", half_life_us=1), 5, 10**14, num=20)
    assert (newest == [59, 58, 57, 56, 55]).all()
    flat = draw(star(times, None), LinkSampling("recency", half_life_us=2**62), 1, 10**14)
    assert chisquare(np.bincount(flat[:, 0], minlength=60)).pvalue > 0.001


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("size", [5, 40, 90, 300])
def test_fewer_are_the_beginning_of_more(name: str, size: int) -> None:
    rng = np.random.default_rng(size)
    graph = star(np.sort(rng.integers(0, 30, size)), rng.random(size) + 0.01)
    sizes = [1, 3, 63, 64, 65, 150, size - 1]
    drawn = {k: draw(graph, SAMPLINGS[name], k, 100, num=30) for k in sizes if k < size}
    longest = drawn[size - 1]
    assert all((rows == longest[:, :k]).all() for k, rows in drawn.items())
    assert all(len(set(row)) == size - 1 for row in longest.tolist())


@pytest.mark.parametrize("num", [1, 2, 4])
def test_any_beginning_of_a_uniform_sample_is_one_even_of_a_whole_list(num: int) -> None:
    """The second hop takes fewer, so the layer that reads the first hop's list reads its beginning alone."""
    drawn = draw(star(TIMES, None), LinkSampling("uniform"), [5, num], 9)
    assert drawn.shape == (DRAWS, 5)
    assert fits(drawn[:, :num], chances(np.ones(5), num))


def test_a_list_taken_whole_comes_newest_first() -> None:
    for name in SAMPLINGS:
        newest_first = [4, 3, 2, 0] if name == "weighted" else [4, 3, 2, 1, 0]  # what weighs nothing is never drawn
        for fanout in ([5], [5, 5], [-1, 9], [9, 0], [9, -1]):
            assert (draw(star(TIMES, WEIGHTS), SAMPLINGS[name], fanout, 9, num=50) == newest_first).all()


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=200),
    half_life=st.integers(1, 10**15),
    fanout=st.integers(1, 100),
    seed=st.integers(0, 100),
)
def test_nothing_twice_whatever_the_ages(times: list[int], half_life: int, fanout: int, seed: int) -> None:
    graph = star(times, None)
    sampler = Sampler(graph, [fanout], strategy=LinkSampling("recency", half_life_us=half_life), seed=seed)
    rows = sampler.sample(Seeds("hub", np.zeros(1, np.int64), np.full(1, 10**15))).rows["leaf"].tolist()
    assert len(set(rows)) == len(rows) == min(fanout, len(times))


@pytest.mark.parametrize("name", ["uniform", "recency"])
def test_draws_by_row_are_the_same_at_every_hop(name: str) -> None:
    """A node that hears itself through another is met at hops 0 and 2, and draws the same neighbours there."""
    rng = np.random.default_rng(5)
    num = 300
    edges = {
        "back": EdgeList("a", "b", np.array([0]), np.array([0]), np.array([0])),
        "many": EdgeList("b", "a", np.arange(num), np.zeros(num, int), rng.integers(0, 9, num)),
    }
    graph = array_graph({"a": 1, "b": num}, edges)
    own = LinkSampling(name, (6, 0, 4), half_life_us=SAMPLINGS[name].half_life_us)
    for seed in range(200):
        sampler = Sampler(graph, [1, 1, 1], {"many": own}, seed=seed, keyed_by="row")
        batch = sampler.sample(Seeds("a", np.zeros(1, np.int64), np.full(1, 9)))
        hops = batch.hop_offsets["b"]
        first, third = batch.rows["b"][hops[1] : hops[2]], batch.rows["b"][hops[3] : hops[4]]
        if 0 in first:
            assert third.tolist() == first[:4].tolist()
            break
    else:
        pytest.fail("no seed drew the way back")
