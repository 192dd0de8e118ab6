"""Neighbourhoods shared by a batch: each row once, its neighbours those of a tree, and seeds that must not share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.errors import DataError, ProjectError
from kincast.sample.arrays import EdgeList, array_graph
from kincast.sample.batch import Seeds
from kincast.sample.sampler import Sampler
from kincast.sample.shared import SharedBatch, sample_shared
from kincast.sample.strategy import LinkSampling

MakeGraph = Callable[..., Any]
SAMPLINGS = [
    LinkSampling(),
    LinkSampling("uniform"),
    LinkSampling("all", window_us=4),
    LinkSampling("recency", half_life_us=2),
    LinkSampling("uniform", replace=True),
]


def check_layout(batch: SharedBatch) -> None:
    """Each row once; hops follow one another; whatever is heard is there; no row is expanded twice along an edge."""
    for rows in batch.rows.values():
        assert len(set(rows.tolist())) == len(rows)
    expanded = set()
    for block in batch.blocks:
        ends = batch.hop_offsets[block.edge.table]
        assert (block.dst_start, len(block.offsets) - 1) == (ends[block.hop - 1], ends[block.hop] - ends[block.hop - 1])
        assert block.src.max() < batch.hop_offsets[block.edge.other][block.hop + 1]
        assert len(block.src) == len(block.places) == block.offsets[-1]
        assert (block.edge, block.dst_start) not in expanded
        expanded.add((block.edge, block.dst_start))
    assert {name: ends[-1] for name, ends in batch.hop_offsets.items()} == {n: len(r) for n, r in batch.rows.items()}
    assert (batch.rows[batch.seeds.table][batch.seed_rows] == batch.seeds.rows).all()


@settings(max_examples=40, deadline=None)
@given(
    graph=st.integers(0, 1000),
    ending=st.booleans(),
    timed_links=st.booleans(),
    sampling=st.sampled_from(SAMPLINGS),
    fanout=st.lists(st.integers(-1, 3), min_size=1, max_size=3),
    rows=st.lists(st.integers(0, 5), max_size=8),
    as_of=st.integers(-1, 10),
)
def test_the_neighbours_of_every_row_are_those_of_its_own_tree(
    make_graph: MakeGraph,
    graph: int,
    ending: bool,
    timed_links: bool,
    sampling: LinkSampling,
    fanout: list[int],
    rows: list[int],
    as_of: int,
) -> None:
    snapshot = make_graph(graph, ending=ending, timed_links=timed_links)
    sampler = Sampler(snapshot, fanout, strategy=sampling, seed=3, keyed_by="row")
    batch = sample_shared(sampler, Seeds("users", np.array(rows, np.int64), np.full(len(rows), as_of)))
    check_layout(batch)
    seen = 0
    for hop, number in enumerate(fanout, start=1):
        single = Sampler(snapshot, [number], strategy=sampling, seed=3, keyed_by="row", keep_places=True)
        for name, ends in batch.hop_offsets.items():
            frontier = batch.rows[name][ends[hop - 1] : ends[hop]]
            tree = single.sample(Seeds(name, frontier, np.full(len(frontier), as_of)))
            for block in tree.blocks:
                own = next(b for b in batch.blocks if (b.hop, b.edge) == (hop, block.edge))
                seen += 1
                assert own.offsets.tolist() == block.offsets.tolist()
                assert own.num_visible.tolist() == block.num_visible.tolist()
                for start, stop in zip(own.offsets[:-1], own.offsets[1:], strict=True):
                    assert sorted(own.places[start:stop]) == sorted(block.places[start:stop])
                neighbours = batch.rows[block.edge.other][own.src]
                links = snapshot.links[block.edge.link]
                found = links.rows[own.places] if block.edge.reverse else links.forward[own.places]
                assert neighbours.tolist() == found.tolist()
    assert seen == len(batch.blocks)


def test_seeds_of_several_instants_must_not_share(make_graph: MakeGraph) -> None:
    sampler = Sampler(make_graph(1), [2])
    with pytest.raises(DataError, match="seeds of 2 instants cannot share"):
        sample_shared(sampler, Seeds("users", np.array([0, 1, 2]), np.array([3, 4, 4])))
    with pytest.raises(DataError, match="seeds of 2 instants cannot share"):
        sample_shared(sampler, Seeds("users", np.array([0, 1]), np.array([4, 4]), np.array([4, 3])))
    with pytest.raises(ProjectError, match="a neighbourhood per seed"):
        sample_shared(Sampler(make_graph(1), [2], max_rows_per_seed=9), Seeds("users", np.array([0]), np.array([3])))
    with pytest.raises(DataError, match="no rows of the snapshot"):
        sample_shared(sampler, Seeds("users", np.array([99]), np.array([3])))


def ring(num: int) -> Any:
    before, after = (np.arange(num) - 1) % num, (np.arange(num) + 1) % num
    both = EdgeList("node", "node", np.concatenate([before, after]), np.concatenate([np.arange(num)] * 2))
    return array_graph({"node": num}, {"beside": both})


def test_where_nothing_has_a_time_instants_do_not_matter() -> None:
    seeds = Seeds("node", np.array([4, 7, 4]), np.array([1, 2, 3]))
    batch = sample_shared(Sampler(ring(10), [-1, -1]), seeds)
    check_layout(batch)
    assert batch.rows["node"].tolist() == [4, 7, 5, 3, 8, 6, 2, 9]
    assert batch.seed_rows.tolist() == [0, 1, 0]
    assert batch.hop_offsets["node"].tolist() == [0, 2, 6, 8]
    assert batch.num_edges == 4 + 8


def test_many_rows() -> None:
    """The table of known rows grows."""
    batch = sample_shared(Sampler(ring(5000), [-1] * 3), Seeds("node", np.arange(0, 5000, 10), np.zeros(500)))
    check_layout(batch)
    assert len(batch.rows["node"]) == 500 * 7
