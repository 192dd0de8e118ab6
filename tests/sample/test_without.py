"""Trees without some rows are those that would have been sampled had those rows not been there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kincast.sample.arrays import EdgeList, array_graph
from kincast.sample.batch import Batch, Seeds
from kincast.sample.sampler import Sampler
from kincast.sample.without import Cut, LinkCut, RowCut, without

NUM = {"user": 9, "item": 6}
EVER = np.iinfo(np.int64).max


def edge_lists(seed: int) -> dict[str, EdgeList]:
    rng = np.random.default_rng(seed)

    def edges(src: str, dst: str, count: int) -> EdgeList:
        return EdgeList(src, dst, rng.integers(0, NUM[src], count), rng.integers(0, NUM[dst], count))

    return {
        "buys": edges("user", "item", 20),
        "bought by": edges("item", "user", 20),
        "knows": edges("user", "user", 9),
    }


def sampled(lists: dict[str, EdgeList], rows: list[int]) -> Batch:
    instants = np.full(len(rows), EVER)
    return Sampler(array_graph(NUM, lists), (-1, -1, -1)).sample(Seeds("user", np.array(rows), instants))


def same(one: Batch, other: Batch) -> None:
    for name in NUM:
        np.testing.assert_array_equal(one.rows[name], other.rows[name])
        np.testing.assert_array_equal(one.seed[name], other.seed[name])
        np.testing.assert_array_equal(one.hop_offsets[name], other.hop_offsets[name])
    assert len(one.blocks) == len(other.blocks)
    for mine, theirs in zip(one.blocks, other.blocks, strict=True):
        assert (mine.hop, mine.edge) == (theirs.hop, theirs.edge)
        assert (mine.dst_start, mine.num_dst, mine.src_start) == (theirs.dst_start, theirs.num_dst, theirs.src_start)
        np.testing.assert_array_equal(mine.offsets, theirs.offsets)
        np.testing.assert_array_equal(mine.num_visible, theirs.num_visible)


@pytest.mark.parametrize("seed", range(12))
def test_a_row_that_goes_takes_with_it_what_hangs_on_it(seed: int) -> None:
    lists, rows, gone = edge_lists(seed), [0, 3, 3, 5], seed % NUM["item"]
    fewer = {}
    for name, edges in lists.items():
        keep = np.ones(len(edges.src_rows), np.bool_)
        for table, ends in ((edges.src, edges.src_rows), (edges.dst, edges.dst_rows)):
            keep &= ends != gone if table == "item" else True
        fewer[name] = replace(edges, src_rows=edges.src_rows[keep], dst_rows=edges.dst_rows[keep])
    same(without(sampled(lists, rows), [[RowCut("item", gone)]] * 4), sampled(fewer, rows))


@pytest.mark.parametrize("name", ["buys", "bought by", "knows"])
def test_nothing_is_found_along_a_link_that_is_cut(name: str) -> None:
    lists = edge_lists(3)
    batch = sampled(lists, [1, 2])
    edge = next(block.edge.name for block in batch.blocks if name in block.edge.name)
    fewer = {
        key: replace(one, src_rows=one.src_rows[:0], dst_rows=one.dst_rows[:0])
        for key, one in lists.items()
        if key == name
    }
    same(without(batch, [[LinkCut(edge)]] * 2), sampled(lists | fewer, [1, 2]))


def test_each_seed_has_its_own_cuts_and_stays() -> None:
    batch = sampled(edge_lists(5), [0, 0, 0])
    cuts: list[list[Cut]] = [[], [RowCut("user", 0), RowCut("item", 2)], []]
    found = without(batch, cuts)
    assert found.rows["user"][:3].tolist() == [0, 0, 0]
    whole = [np.sort(batch.rows[name][batch.seed[name] == 0]).tolist() for name in NUM]
    for seed in (0, 2):
        assert [np.sort(found.rows[name][found.seed[name] == seed]).tolist() for name in NUM] == whole
    assert 2 not in found.rows["item"][found.seed["item"] == 1]
    same(without(batch, [[], [], []]), batch)
