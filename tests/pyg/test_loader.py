"""The loader against a slow oracle that looks at every edge, and its batches against what PyG's own carry."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

torch = pytest.importorskip("torch")
geometric = pytest.importorskip("torch_geometric", reason='needs pip install "kincast[pyg]"')

from torch_geometric import EdgeIndex  # noqa: E402
from torch_geometric.data import Data, HeteroData  # noqa: E402
from torch_geometric.loader import LinkNeighborLoader  # noqa: E402

from kincast.errors import DataError, ProjectError  # noqa: E402
from kincast.pyg import NeighborLoader, NeighborSampler  # noqa: E402

EDGE_TYPES = [("a", "to", "b"), ("b", "to", "a"), ("a", "next", "a")]
SIZES = {"a": 9, "b": 5}
Trees = dict[tuple[int, int], Any]


def hetero(seed: int, num_edges: int = 20, time: str = "node") -> HeteroData:
    """Random edges, repeats and loops among them; times of nodes a, of the edges, or none."""
    rng = np.random.default_rng(seed)
    data = HeteroData()
    for name, size in SIZES.items():
        data[name].x = torch.arange(size)
    if time == "node":
        data["a"].time = torch.from_numpy(rng.integers(0, 10, SIZES["a"]))
    for src, rel, dst in EDGE_TYPES:
        ends = [torch.from_numpy(rng.integers(0, SIZES[end], num_edges)) for end in (src, dst)]
        data[src, rel, dst].edge_index = torch.stack(ends)
        data[src, rel, dst].weight = torch.from_numpy(rng.integers(0, 4, num_edges)).float()
        if time == "edge" and rel == "to":
            data[src, rel, dst].time = torch.from_numpy(rng.integers(0, 10, num_edges))
    return data


def visible_edges(data: HeteroData, key: tuple[str, str, str], node: int, instant: int | None) -> list[int]:
    """Edges into a node that a seed at that instant may see, oldest first, looked at one by one."""
    store, src = data[key], data[key[0]]
    found = []
    for edge, (source, destination) in enumerate(store.edge_index.t().tolist()):
        time = store.time[edge] if "time" in store else src.time[source] if "time" in src else None
        if destination == node and (instant is None or time is None or int(time) <= instant):
            found.append((0 if time is None else int(time), edge))
    return [edge for _, edge in sorted(found)]


def trees_of(batch: HeteroData, shared: bool = False) -> dict[int, tuple[Any, Any]]:
    """Per tree of a batch: nodes of each hop as (type, node), and edges of each hop as (type, edge)."""
    num = 1 if shared else sum(len(batch[name].input_id) for name in batch.node_types if "input_id" in batch[name])
    trees: dict[int, tuple[Any, Any]] = {tree: (Counter(), Counter()) for tree in range(num)}

    def tree_of(name: str, local: int) -> int:
        return 0 if shared else int(batch[name].batch[local])

    for name in batch.node_types:
        hops = np.repeat(np.arange(len(batch[name].num_sampled_nodes)), batch[name].num_sampled_nodes)
        for local, hop in enumerate(hops.tolist()):
            trees[tree_of(name, local)][0][hop, name, int(batch[name].n_id[local])] += 1
    for key in batch.edge_types:
        store = batch[key]
        hops = np.repeat(np.arange(len(store.num_sampled_edges)), store.num_sampled_edges) + 1
        assert store.edge_index.shape[1] == len(store.e_id) == len(hops)
        for hop, edge, (row, col) in zip(
            hops.tolist(), store.e_id.tolist(), store.edge_index.t().tolist(), strict=True
        ):
            assert tree_of(key[0], row) == tree_of(key[2], col)
            ends = [int(batch[key[0]].n_id[row]), int(batch[key[2]].n_id[col])]
            trees[tree_of(key[2], col)][1][hop, key, edge, *ends] += 1
    return trees


def expand_slowly(data: HeteroData, starts: list[tuple[str, int]], instant: int | None, hops: int) -> Any:
    """All that ``hops`` hops around the starts see: each node once, at the hop that finds it first."""
    nodes, edges = Counter((0, *start) for start in starts), Counter()
    known, front = set(starts), list(starts)
    for hop in range(1, hops + 1):
        following = []
        for name, node in front:
            for key in data.edge_types:
                for edge in visible_edges(data, key, node, instant) if key[2] == name else ():
                    source = (key[0], int(data[key].edge_index[0, edge]))
                    edges[hop, key, edge, source[1], node] += 1
                    if source not in known:
                        known.add(source)
                        following.append(source)
                        nodes[hop, *source] += 1
        front = following
    return nodes, edges


@settings(max_examples=35, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_edges=st.integers(0, 30),
    time=st.sampled_from(["node", "edge"]),
    strategy=st.sampled_from(["uniform", "last"]),
    name=st.sampled_from(["a", "b"]),
    threads=st.sampled_from([0, 2]),
)
def test_all_neighbours_are_those_of_the_oracle(
    seed: int, num_edges: int, time: str, strategy: str, name: str, threads: int
) -> None:
    data = hetero(seed, num_edges, time)
    rng = np.random.default_rng(seed + 1)
    nodes = torch.from_numpy(rng.integers(0, SIZES[name], 7))
    instants = torch.from_numpy(rng.integers(-1, 11, 7))
    loader = NeighborLoader(
        data, [-1, -1, -1], (name, nodes), instants, temporal_strategy=strategy, time_attr="time", batch_size=3,
        num_workers=threads,
    )  # fmt: skip
    seen = 0
    for batch in loader:
        assert batch[name].batch_size == len(batch[name].input_id)
        for tree, found in trees_of(batch).items():
            assert int(batch[name].seed_time[tree]) == int(instants[seen])
            assert int(batch[name].n_id[tree]) == int(nodes[seen])
            assert found == expand_slowly(data, [(name, int(nodes[seen]))], int(instants[seen]), 3)
            seen += 1
        for store in batch.node_stores:
            assert store.x.tolist() == store.n_id.tolist()
    assert seen == 7


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), num_edges=st.integers(0, 30), disjoint=st.booleans())
def test_without_time_seeds_share_one_graph_unless_disjoint(seed: int, num_edges: int, disjoint: bool) -> None:
    data = hetero(seed, num_edges, "none")
    nodes = torch.tensor([3, 1, 4])
    (batch,) = NeighborLoader(data, [-1, -1], ("a", nodes), disjoint=disjoint, batch_size=9)
    trees = [[("a", node)] for node in nodes.tolist()] if disjoint else [[("a", node) for node in nodes.tolist()]]
    assert list(trees_of(batch, not disjoint).values()) == [expand_slowly(data, tree, None, 2) for tree in trees]
    assert ("batch" in batch["a"]) == disjoint


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    time=st.sampled_from(["node", "edge"]),
    k=st.integers(1, 4),
    how=st.sampled_from(["uniform", "last", "replace", "weight", "weight, replace"]),
)
def test_what_is_taken_of_the_visible(seed: int, time: str, k: int, how: str) -> None:
    data = hetero(seed, 30, time)
    options: dict[str, Any] = {"replace": "replace" in how, "weight_attr": "weight" if "weight" in how else None}
    if how == "last":
        options["temporal_strategy"] = "last"
    instants = torch.arange(9)
    fanouts = {key: [k, 0] if key[1] == "next" else [k, 2] for key in data.edge_types}
    (batch,) = NeighborLoader(data, fanouts, "a", instants, time_attr="time", batch_size=9, seed=seed, **options)
    for key in batch.edge_types:
        store = batch[key]
        assert key[1] != "next" or store.num_sampled_edges[1] == 0
        first = store.num_sampled_edges[0]
        taken: dict[int, list[int]] = {local: [] for local in range(9)} if key[2] == "a" else {}
        for edge, col in zip(store.e_id[:first].tolist(), store.edge_index[1, :first].tolist(), strict=True):
            taken[col].append(edge)
        for node, edges in taken.items():
            visible = visible_edges(data, key, node, int(instants[node]))
            if "weight" in how:
                visible = [edge for edge in visible if data[key].weight[edge] > 0]
            assert set(edges) <= set(visible)
            if "replace" in how:
                assert len(edges) == (k if visible else 0)
            else:
                assert len(edges) == len(set(edges)) == min(k, len(visible))
            if how == "last":
                assert edges == visible[::-1][:k]


@pytest.mark.parametrize(
    "options", [{}, {"replace": True}, {"weight_attr": "w"}, {"weight_attr": "w", "replace": True}]
)
def test_draws_follow_weights(options: dict[str, Any]) -> None:
    data = Data(
        edge_index=torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0]]), w=torch.tensor([1.0, 2.0, 0.0, 5.0]), num_nodes=5
    )
    sampler = NeighborSampler(data, [1], seed=3, **options)
    loader = NeighborLoader(data, [1], torch.tensor([0]), neighbor_sampler=sampler)
    found = Counter(int(batch.e_id) for _ in range(1500) for batch in loader)
    weights = [1.0, 2.0, 0.0, 5.0] if "weight_attr" in options else [1.0] * 4
    assert all(found[edge] == 0 for edge in range(4) if not weights[edge])
    expected = np.array([weight for weight in weights if weight])
    got = [found[edge] for edge in range(4) if weights[edge]]
    assert chisquare(got, expected * 1500 / expected.sum()).pvalue > 1e-4


def test_induced_has_all_visible_edges_between_the_nodes_found() -> None:
    data = hetero(5, 40)
    (batch,) = NeighborLoader(
        data, [2], "a", torch.full((9,), 6), time_attr="time", subgraph_type="induced", batch_size=9
    )  # fmt: skip
    for key in data.edge_types:
        store, expected = batch[key], set()
        for tree in range(9):
            own = {
                name: batch[name].n_id[batch[name].batch == tree].tolist() for name in (key[0], key[2])
            }  # fmt: skip
            for node in own[key[2]]:
                visible = visible_edges(data, key, node, 6)
                expected |= {(tree, edge) for edge in visible if int(data[key].edge_index[0, edge]) in own[key[0]]}
        trees = batch[key[2]].batch[store.edge_index[1]].tolist()
        assert sorted(zip(trees, store.e_id.tolist(), strict=True)) == sorted(expected)
        assert torch.equal(batch[key[0]].n_id[store.edge_index[0]], data[key].edge_index[0, store.e_id])


def test_bidirectional_adds_the_reverse_of_each_edge() -> None:
    data = Data(edge_index=torch.tensor([[1, 2], [0, 1]]), num_nodes=3)
    (batch,) = NeighborLoader(data, [1, 1], torch.tensor([0]), subgraph_type="bidirectional")
    assert sorted(map(tuple, batch.edge_index.t().tolist())) == [(0, 1), (1, 0), (1, 2), (2, 1)]


def batches(loader: Any) -> list[Any]:
    return [
        (batch.n_id.tolist(), batch.e_id.tolist(), batch.edge_index.tolist(), batch.input_id.tolist())
        for batch in loader
    ]


def homogeneous() -> Data:
    rng = np.random.default_rng(2)
    return Data(edge_index=torch.from_numpy(rng.integers(0, 50, (2, 600))), num_nodes=50)


def test_threads_change_nothing_and_passes_differ() -> None:
    data = homogeneous()
    torch.manual_seed(5)
    loaders = [NeighborLoader(data, [3, 2], batch_size=7, seed=1, num_workers=threads) for threads in (0, 3)]
    one, two = map(batches, loaders)
    assert one == two
    assert len(one) == len(loaders[0]) == 8
    assert [batches(loader) for loader in loaders] != [one, one]
    still = NeighborLoader(data, [3, 2], batch_size=7, seed=1, redraw=False)
    assert batches(still) == batches(still) == one
    assert batches(NeighborLoader(data, [3, 2], batch_size=7, seed=2)) != one


def test_edges_may_be_of_pygs_own_type_and_of_any_integers() -> None:
    data = homogeneous()
    expected = batches(NeighborLoader(data, [3], seed=1, batch_size=9))
    for edges in (EdgeIndex(data.edge_index, sparse_size=(50, 50)), data.edge_index.int()):
        same = Data(edge_index=edges, num_nodes=50)
        assert batches(NeighborLoader(same, [3], seed=1, batch_size=9)) == expected


def test_a_batch_of_chosen_seeds() -> None:
    loader = NeighborLoader(homogeneous(), [-1], torch.arange(20, 30), batch_size=2)
    batch = loader(torch.tensor([3, 7]))
    assert batch.input_id.tolist() == [3, 7]
    assert batch.n_id[:2].tolist() == [23, 27]


def test_the_generator_of_torch_decides_order_and_draws() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(batches(NeighborLoader(homogeneous(), [3], batch_size=7, shuffle=True, drop_last=True)))
    assert found[0] == found[1]
    assert len(found[0]) == 7
    assert found[0][0][3] != list(range(7))


def test_a_seed_has_the_same_tree_whatever_the_batch() -> None:
    data = hetero(1, 60)
    sampler = NeighborSampler(data, [2, 2], time_attr="time", seed=4)

    def trees(size: int, order: Any) -> dict[int, Any]:
        nodes = torch.arange(9)[order]
        loader = NeighborLoader(data, [], ("a", nodes), torch.full((9,), 8), batch_size=size, neighbor_sampler=sampler)
        found, seen = {}, 0
        for batch in loader:
            for tree in trees_of(batch).values():
                found[int(nodes[seen])] = tree
                seen += 1
        return found

    whole = trees(9, slice(None))
    assert trees(2, slice(None)) == whole
    assert trees(4, torch.arange(8, -1, -1)) == whole


def test_masks_repeated_seeds_own_times_and_transforms() -> None:
    data = homogeneous()
    data.time = torch.arange(50)
    mask = torch.zeros(50, dtype=torch.bool)
    mask[[4, 40]] = True
    (batch,) = NeighborLoader(data, [-1], mask, time_attr="time", batch_size=2, transform=lambda batch: batch)
    assert batch.input_id.tolist() == [4, 40]
    assert batch.n_id[:2].tolist() == [4, 40]
    late = batch.time > torch.tensor([4, 40])[batch.batch]
    assert not late.any()
    del data.time
    (twice,) = NeighborLoader(data, [2], torch.tensor([7, 7]), batch_size=2)
    assert twice.n_id[:2].tolist() == [7, 7]
    assert set(twice.edge_index[1].tolist()) == {0, 1}


def test_links_through_pygs_own_link_loader() -> None:
    data = hetero(3, 40)
    sampler = NeighborSampler(data, [-1, -1], time_attr="time")
    key, instants = ("a", "to", "b"), torch.arange(2, 8)
    loader = LinkNeighborLoader(
        data, [-1, -1], (key, data[key].edge_index[:, :6]), edge_label_time=instants, neighbor_sampler=sampler,
        batch_size=3, time_attr="time",
    )  # fmt: skip
    seen = 0
    for batch in loader:
        found = [Counter() for _ in range(3)]
        for name in batch.node_types:
            for node, tree in zip(batch[name].n_id.tolist(), batch[name].batch.tolist(), strict=True):
                found[tree][name, node] += 1
        for tree in found:
            expected: Counter[Any] = Counter()
            for name, node in zip(("a", "b"), data[key].edge_index[:, seen].tolist(), strict=True):
                nodes, _ = expand_slowly(data, [(name, node)], int(instants[seen]), 2)
                expected.update((kind, number) for _, kind, number in nodes.elements())
            assert tree == expected
            seen += 1
    assert seen == 6


def test_negative_links_through_pygs_own_link_loader() -> None:
    data = hetero(3, 40)
    sampler = NeighborSampler(data, [-1], time_attr="time")
    key = ("a", "to", "b")
    loader = LinkNeighborLoader(
        data, [-1], (key, data[key].edge_index[:, :6]), edge_label_time=torch.full((6,), 5), neg_sampling="binary",
        neighbor_sampler=sampler, batch_size=3, time_attr="time",
    )  # fmt: skip
    for batch in loader:
        assert len(batch[key].edge_label) == 6
        assert (batch["a"].time[batch["a"].num_sampled_nodes[0] :] <= 5).all()


def test_the_data_are_left_as_they_were() -> None:
    data = hetero(1)
    before = {key: store.edge_index.clone() for key, store in zip(data.edge_types, data.edge_stores, strict=True)}
    list(NeighborLoader(data, [2], "a", time_attr="time", num_workers=2))
    assert all(torch.equal(data[key].edge_index, before[key]) for key in before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"subgraph_type": "sideways"}, ProjectError, "there is no subgraph_type 'sideways'"),
        ({"temporal_strategy": "first"}, ProjectError, "there is no temporal_strategy 'first'"),
        ({"time_attr": None, "temporal_strategy": "last"}, ProjectError, "there is no time"),
        ({"temporal_strategy": "last", "replace": True}, ProjectError, "neither replace nor weight_attr"),
        ({"time_attr": "born"}, ProjectError, "no node and no edge has 'born'"),
        ({"weight_attr": "heft"}, ProjectError, "no edge has 'heft'"),
        ({"time_attr": None, "input_time": torch.zeros(9)}, ProjectError, "the graph has no time"),
        ({"input_time": torch.zeros(3, dtype=torch.int64)}, DataError, "3 instants for 9 seeds"),
        ({"input_time": torch.zeros(9)}, DataError, "input_time: instants are float32"),
        ({"input_nodes": None}, ProjectError, "which node type"),
        ({"input_nodes": ("a", torch.tensor([9]))}, DataError, "input_nodes a: there is no node 9, only 9"),
        ({"input_nodes": "b"}, DataError, "the seeds b have no time of their own"),
        ({"num_neighbors": {("a", "to", "b"): [1]}}, ProjectError, "num_neighbors: Missing number of neighbors"),
        ({"num_neighbors": [-2]}, ProjectError, "below -1"),
        ({"worker_init_fn": print}, ProjectError, "there is no argument 'worker_init_fn'"),
        ({"batch_size": None}, ProjectError, "batch_size is None"),
        ({"num_workers": -1}, ProjectError, "num_workers is at least 0"),
        ({"neighbor_sampler": 3}, ProjectError, "int is not a sampler"),
        ({"data": 3}, ProjectError, "int is neither Data nor HeteroData"),
    ],
    ids=lambda value: None if isinstance(value, type) else str(value)[:40],
)
def test_what_is_wrong_is_said(change: dict[str, Any], error: type[Exception], message: str) -> None:
    options = {"data": hetero(1), "num_neighbors": [1], "input_nodes": "a", "time_attr": "time", **change}
    with pytest.raises(error, match=message):
        list(NeighborLoader(**options))


def test_data_that_do_not_fit_themselves() -> None:
    for name, value, message in [
        ("edge_index", torch.tensor([[0], [9]]), "edges: there is no destination node 9, only 2"),
        ("edge_index", torch.tensor([[-1], [1]]), "edges: there is no source node -1, only 2"),
        ("time", torch.rand(2), "time of nodes: instants are float32"),
        ("w", torch.tensor([-1.0]), "weights of edges: a weight is negative"),
    ]:
        data = Data(edge_index=torch.tensor([[0], [1]]), x=torch.zeros(2, 1), num_nodes=2)
        data.w, data.time = torch.ones(1), torch.arange(2)
        data[name] = value
        with pytest.raises(DataError, match=message):
            NeighborSampler(data, [1], time_attr="time", weight_attr="w")
    bare = HeteroData()
    bare["a"].num_nodes = 2
    bare["a", "to", "a"].weight = torch.ones(2)
    with pytest.raises(DataError, match="there is no edge_index"):
        NeighborSampler(bare, [1])
    bare = HeteroData()
    bare["a"].name = "nobody counted"
    with pytest.warns(UserWarning, match="num_nodes"), pytest.raises(DataError, match="a: the number of nodes is not"):
        NeighborSampler(bare, [1])
    mixed = hetero(1)
    mixed["a", "to", "b"].time = torch.arange(20)
    with pytest.raises(ProjectError, match="nodes and edges both have 'time'"):
        NeighborSampler(mixed, [1], time_attr="time")
