"""Models of PyG's own, unchanged, trained through the loader: they learn what is there and nothing of the future."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
geometric = pytest.importorskip("torch_geometric", reason='needs pip install "kincast[pyg]"')

from torch_geometric.data import Data, HeteroData  # noqa: E402
from torch_geometric.nn import GAT, GraphSAGE, HeteroConv, HGTConv, SAGEConv, to_hetero  # noqa: E402
from torch_geometric.utils import trim_to_layer  # noqa: E402

from kincast.pyg import NeighborLoader  # noqa: E402

NUM_USERS = 400
NUM_EVENTS = 2400


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def communities() -> Data:
    """Three communities; a node's own features say little, its neighbours' much."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 300)
    ends = rng.integers(0, 300, (2, 12_000))
    kept = (label[ends[0]] == label[ends[1]]) | (rng.random(12_000) < 0.1)
    x = rng.normal(size=(300, 8))
    x[np.arange(300), label] += 1.0
    return Data(
        x=torch.from_numpy(x).float(), edge_index=torch.from_numpy(ends[:, kept]), y=torch.from_numpy(label),
        train_mask=torch.arange(300) < 200,
    )  # fmt: skip


def purchases(told_by: str) -> HeteroData:
    """Users and their events; only events before a user's instant, or only those after, tell its label."""
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, NUM_USERS)
    user = rng.integers(0, NUM_USERS, NUM_EVENTS)
    time = rng.integers(0, 1000, NUM_EVENTS)
    as_of = rng.integers(400, 600, NUM_USERS)
    tells = (time <= as_of[user]) == (told_by == "the past")
    value = rng.normal(size=(NUM_EVENTS, 4))
    value[:, 0] += np.where(tells, 3.0 * (2 * label[user] - 1), 0.0)
    data = HeteroData()
    data["user"].x = torch.from_numpy(rng.normal(size=(NUM_USERS, 4))).float()
    data["user"].y, data["user"].as_of = torch.from_numpy(label), torch.from_numpy(as_of)
    data["event"].x, data["event"].time = torch.from_numpy(value).float(), torch.from_numpy(time)
    edges = torch.from_numpy(np.stack([np.arange(NUM_EVENTS), user]))
    data["event", "of", "user"].edge_index = edges
    data["user", "has", "event"].edge_index = edges.flip(0)
    return data


def loaders(data: HeteroData, **options: Any) -> list[Any]:
    """Three quarters of the users to learn from, the rest to judge by."""
    order = torch.randperm(NUM_USERS)
    return [
        NeighborLoader(
            data,
            [8, 4],
            ("user", part),
            data["user"].as_of[part],
            time_attr="time",
            batch_size=64,
            num_workers=1,
            **options,
        )
        for part in (order[: NUM_USERS * 3 // 4], order[NUM_USERS * 3 // 4 :])
    ]


def accuracy(model: Any, train: Any, test: Any, epochs: int, read: Any) -> float:
    """Share of right answers on the test loader after training; ``read`` gives the seeds' scores and labels."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for batch in train:
            optimizer.zero_grad()
            scores, labels = read(model, batch)
            torch.nn.functional.cross_entropy(scores, labels).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        parts = [read(model, batch) for batch in test]
    return float(torch.cat([scores.argmax(-1) == labels for scores, labels in parts]).float().mean())


@pytest.mark.parametrize("model_type", [GraphSAGE, GAT])
def test_homogeneous_models_learn_communities(model_type: Any) -> None:
    data = communities()
    model = model_type(8, 16, num_layers=2, out_channels=3)
    train, test = (
        NeighborLoader(data, [10, 5], mask, batch_size=50, shuffle=shuffle, num_workers=1)
        for mask, shuffle in ((data.train_mask, True), (~data.train_mask, False))
    )

    def read(model: Any, batch: Any) -> Any:
        sizes = {"num_sampled_nodes_per_hop": batch.num_sampled_nodes}
        scores = model(batch.x, batch.edge_index, num_sampled_edges_per_hop=batch.num_sampled_edges, **sizes)
        return scores[: batch.batch_size], batch.y[: batch.batch_size]

    assert accuracy(model, train, test, 8, read) > 0.8  # chance is a third


class Relational(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Two layers of ``HeteroConv`` or ``HGTConv``, trimmed hop by hop as PyG recommends."""

    def __init__(self, metadata: Any, attention: bool, trim: bool = True) -> None:
        super().__init__()
        self._trim = trim
        self.layers = torch.nn.ModuleList(
            HGTConv(dict.fromkeys(metadata[0], 4 if layer == 0 else 16), 16, metadata, heads=2)
            if attention
            else HeteroConv({key: SAGEConv((-1, -1), 16) for key in metadata[1]})
            for layer in range(2)
        )
        self.head = torch.nn.Linear(16, 2)

    def forward(self, batch: HeteroData) -> Any:
        x, edges = batch.x_dict, batch.edge_index_dict
        for number, layer in enumerate(self.layers):
            if self._trim:
                x, edges, _ = trim_to_layer(
                    number, batch.num_sampled_nodes_dict, batch.num_sampled_edges_dict, x, edges
                )  # fmt: skip
            x = {name: values.relu() for name, values in layer(x, edges).items() if values is not None}
        return self.head(x["user"])


def of_users(model: Any, batch: Any) -> Any:
    size = batch["user"].batch_size
    return model(batch)[:size], batch["user"].y[:size]


@pytest.mark.parametrize("attention", [False, True], ids=["HeteroConv", "HGTConv"])
@pytest.mark.parametrize("told_by", ["the past", "the future"])
def test_only_the_past_can_be_learnt_from(told_by: str, attention: bool) -> None:
    data = purchases(told_by)
    model = Relational(data.metadata(), attention)
    found = accuracy(model, *loaders(data), 6 if told_by == "the past" else 3, of_users)
    if told_by == "the past":
        assert found > 0.9
    else:
        assert 0.35 < found < 0.65  # 100 users: chance is 0.5 and its standard error 0.05


def test_to_hetero_learns_from_the_past() -> None:
    data = purchases("the past")
    model = to_hetero(GraphSAGE((-1, -1), 16, num_layers=2, out_channels=2), data.metadata())

    def read(model: Any, batch: Any) -> Any:
        size = batch["user"].batch_size
        return model(batch.x_dict, batch.edge_index_dict)["user"][:size], batch["user"].y[:size]

    train, test = loaders(data, temporal_strategy="last")
    assert accuracy(model, train, test, 5, read) > 0.9


@pytest.mark.parametrize("attention", [False, True], ids=["HeteroConv", "HGTConv"])
def test_trimming_to_a_layer_leaves_the_seeds_as_they_are(attention: bool) -> None:
    data = purchases("the past")
    model = Relational(data.metadata(), attention)
    batch = next(iter(loaders(data)[0]))
    size = batch["user"].batch_size
    trimmed = model(batch)[:size]
    model._trim = False
    assert torch.allclose(model(batch)[:size], trimmed, atol=1e-5)
    assert sum(batch["event", "of", "user"].num_sampled_edges) == batch["event", "of", "user"].edge_index.shape[1]
