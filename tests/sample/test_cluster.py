"""Parts of a static graph: every row in one, none too large, linked rows together, and all edges within."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.errors import DataError, ProjectError
from kincast.sample.arrays import ArrayGraph, EdgeList, array_graph
from kincast.sample.cluster import clusters, induced


def two_tables(seed: int, num_edges: int) -> tuple[ArrayGraph, dict[str, EdgeList]]:
    rng = np.random.default_rng(seed)
    lists = {
        "buys": EdgeList("item", "user", rng.integers(0, 6, num_edges), rng.integers(0, 9, num_edges)),
        "knows": EdgeList("user", "user", rng.integers(0, 9, num_edges), rng.integers(0, 9, num_edges)),
    }
    return array_graph({"user": 9, "item": 6, "nothing": 0}, lists), lists


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), num_edges=st.integers(0, 20), size=st.integers(1, 20), take=st.integers(1, 3))
def test_parts_and_their_edges(seed: int, num_edges: int, size: int, take: int) -> None:
    graph, lists = two_tables(seed, num_edges)
    parts = clusters(graph, size)
    for name, num_rows in (("user", 9), ("item", 6), ("nothing", 0)):
        assert sorted(np.concatenate([part[name] for part in parts]).tolist()) == list(range(num_rows))
    sizes = [sum(map(len, part.values())) for part in parts]
    assert max(sizes) <= size
    assert sizes[:-1] == [size] * (len(parts) - 1)  # full, but for the last
    batch = induced(graph, parts[:take], "user")
    for name, edge in lists.items():
        inside = [
            place
            for place in range(num_edges)
            if edge.src_rows[place] in batch.rows[edge.src] and edge.dst_rows[place] in batch.rows[edge.dst]
        ]
        blocks = [block for block in batch.blocks if block.edge.name == name]
        link = graph.links[list(lists).index(name)]
        assert sorted(place for block in blocks for place in link.edges[block.places].tolist()) == inside
        for block in blocks:
            src = batch.rows[edge.src][block.src]
            dst = np.repeat(batch.rows[edge.dst], np.diff(block.offsets))
            places = link.edges[block.places]
            assert (edge.src_rows[places] == src).all()
            assert (edge.dst_rows[places] == dst).all()
            degrees = np.bincount(edge.dst_rows, minlength=9)[batch.rows[edge.dst]]
            assert block.num_visible.tolist() == degrees.tolist()


def test_communities_are_kept_together() -> None:
    """Rings of ten, their nodes numbered in no order."""
    rng = np.random.default_rng(0)
    name = rng.permutation(200)
    node = np.arange(200)
    after = node // 10 * 10 + (node + 1) % 10
    graph = array_graph({"node": 200}, {"next": EdgeList("node", "node", name[node], name[after])})
    community = np.empty(200, np.int64)
    community[name] = node // 10
    parts = clusters(graph, 10)
    assert len(parts) == 20
    assert all(len(set(community[part["node"]].tolist())) == 1 for part in parts)
    again = clusters(graph, 10)
    assert all((one["node"] == two["node"]).all() for one, two in zip(parts, again, strict=True))
    assert induced(graph, parts[3:5], "node").num_edges == 20


def test_what_cannot_be_cut(make_graph: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="with times cannot be cut"):
        clusters(make_graph(0), 5)
    with pytest.raises(ProjectError, match="at least 1"):
        clusters(two_tables(0, 3)[0], 0)
    assert clusters(array_graph({"node": 0}, {}), 5) == ()
