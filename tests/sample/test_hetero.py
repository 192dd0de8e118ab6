"""Batches as HeteroData: the same edges, and PyG's own layers run on them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kincast.errors import MissingExtraError
from kincast.sample.batch import Batch, Seeds
from kincast.sample.hetero import relation
from kincast.sample.sampler import Sampler
from kincast.sample.shared import SharedBatch, sample_shared

USERS_EVENTS = ("events", "users_id_to_events_user", "users")


def batches(make_graph: Callable[..., Any]) -> tuple[Any, Batch, SharedBatch]:
    graph = make_graph(1)
    sampler = Sampler(graph, [3, 2], strategy="uniform", keep_places=True)
    seeds = Seeds("users", np.array([0, 3, 5, 3]), np.full(4, 8))
    return graph, sampler.sample(seeds), sample_shared(sampler, seeds)


def edges_by_hop(data: Any, rows: Any) -> Any:
    """Per edge type and hop: (row heard, row that hears) of every edge."""
    found = {}
    for kind in data.edge_types:
        pairs = data[kind].edge_index.numpy()
        ends = np.cumsum([0, *data[kind].num_sampled_edges])
        for hop, (start, stop) in enumerate(itertools.pairwise(ends), start=1):
            src, dst = rows[kind[0]][pairs[0, start:stop]], rows[kind[2]][pairs[1, start:stop]]
            found[kind[1], hop] = list(zip(src.tolist(), dst.tolist(), strict=True))
    return found


@pytest.mark.parametrize("shared", [False, True])
def test_the_same_rows_and_edges(make_graph: Callable[..., Any], shared: bool) -> None:
    graph, tree, one = batches(make_graph)
    batch = one if shared else tree
    data = batch.to_pyg()
    for name, rows in batch.rows.items():
        assert data[name].n_id.tolist() == rows.tolist()
        assert sum(data[name].num_sampled_nodes) == data[name].num_nodes == len(rows)
    found = edges_by_hop(data, batch.rows)
    assert sum(map(len, found.values())) == batch.num_edges > 20
    for (name, _), pairs in found.items():
        edge = next(edge for edge in Sampler(graph, [1]).edges if relation(edge) == name)
        forward = graph.links[edge.link].forward
        assert all(forward[src] == dst if edge.reverse else forward[dst] == src for src, dst in pairs)
    assert data["users"].batch_size == 4
    assert data["users"].seed_time.tolist() == [8] * 4
    places = data[USERS_EVENTS].e_id.numpy()
    src, _ = data[USERS_EVENTS].edge_index.numpy()
    assert graph.links[0].rows[places].tolist() == batch.rows["events"][src].tolist()
    if shared:
        assert batch.rows["users"][data["users"].seed_rows].tolist() == [0, 3, 5, 3]
    else:
        src, dst = data[USERS_EVENTS].edge_index
        assert (data["events"].batch[src] == data["users"].batch[dst]).all()


def test_a_layer_of_pyg_runs_on_it(make_graph: Callable[..., Any]) -> None:
    import torch
    from torch_geometric.nn import HeteroConv, SAGEConv

    data = batches(make_graph)[1].to_pyg()
    features = {name: torch.ones(data[name].num_nodes, 3) for name in data.node_types}
    kinds = [kind for kind in data.edge_types if "items" not in kind]
    layer = HeteroConv({kind: SAGEConv((3, 3), 2, aggr="sum") for kind in kinds})
    heard = layer(features, {kind: data[kind].edge_index for kind in kinds})
    assert heard["users"].shape == (data["users"].num_nodes, 2)


def test_without_pyg_the_extra_is_named(make_graph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, tree, _ = batches(make_graph)
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(MissingExtraError) as caught:
        tree.to_pyg()
    assert 'kincast[pyg]"' in str(caught.value)
