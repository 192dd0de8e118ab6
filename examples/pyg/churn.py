"""Churn: PyG's own layers on a database with times: which customers of the shop will not come back within 30 days?

    python examples/pyg/churn.py [epochs]

Customers active in the last 90 days, as of eight instants a month apart; the last is for the test. The network is plain
PyG. Only the loader is Kincast's: it gives each customer the invoices that existed at its instant, and none after.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import numpy as np
import torch
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.utils import trim_to_layer

from kincast.pyg import NeighborLoader, NeighborSampler
from kincast.train.metric import auroc

SHOP = Path(__file__).resolve().parents[1] / "shop"
DAY = 86_400
INSTANTS = "generate_series(TIMESTAMP '2011-04-12', TIMESTAMP '2011-11-09', INTERVAL 30 DAY)"


def read_shop() -> tuple[HeteroData, dict[str, np.ndarray]]:
    """The shop as typed graph with times in seconds, and the labels: customer, instant, whether it stays away."""
    with duckdb.connect() as db:
        for name in ("customers", "invoices", "invoice_lines", "products"):
            db.execute(
                f"CREATE TABLE {name} AS SELECT *, row_number() OVER () - 1 AS node FROM '{SHOP / name}.parquet'"
            )
        invoices = db.sql(
            "SELECT epoch(invoiced_at)::BIGINT AS time, sign(total) * ln(1 + abs(total)) AS amount, "
            "is_cancellation::INT AS cancelled FROM invoices ORDER BY node"
        ).fetchnumpy()
        owners = db.sql("SELECT i.node AS a, c.node AS b FROM invoices i JOIN customers c USING (customer_id)")
        lines = db.sql(
            "SELECT i.node AS a, p.node AS b FROM invoice_lines l JOIN invoices i USING (invoice_id) "
            "JOIN products p USING (product_id)"
        )
        data = HeteroData()
        data["customer"].num_nodes = db.sql("FROM customers").shape[0]
        data["product"].num_nodes = db.sql("FROM products").shape[0]
        data["invoice"].time = torch.from_numpy(invoices["time"])
        data["invoice"].x = torch.from_numpy(np.stack([invoices["amount"], invoices["cancelled"]], 1)).float()
        for other, table in (("customer", owners), ("product", lines)):
            edges = torch.from_numpy(np.stack(list(table.fetchnumpy().values())).astype(np.int64))
            data["invoice", "of", other].edge_index = edges
            data[other, "in", "invoice"].edge_index = edges.flip(0)
        labels = db.sql(
            f"""SELECT c.node AS customer, epoch(t)::BIGINT AS as_of,
                count(*) FILTER (i.invoiced_at > t AND i.invoiced_at <= t + INTERVAL 30 DAY) = 0 AS away
            FROM (SELECT unnest({INSTANTS}) AS t), customers c JOIN invoices i USING (customer_id)
            GROUP BY ALL
            HAVING count(*) FILTER (i.invoiced_at > t - INTERVAL 90 DAY AND i.invoiced_at <= t) > 0
            ORDER BY ALL"""
        ).fetchnumpy()
    return data, labels


def add_features(batch: HeteroData) -> HeteroData:
    """What depends on the seed's instant: an invoice's age; and a constant where there is nothing to know."""
    age = (batch["customer"].seed_time[batch["invoice"].batch] - batch["invoice"].time) / DAY
    batch["invoice"].x = torch.cat([batch["invoice"].x, torch.log1p(age)[:, None], torch.exp(-age / 30)[:, None]], 1)
    for name in ("customer", "product"):
        batch[name].x = torch.ones(batch[name].num_nodes, 1)
    return batch


class Network(torch.nn.Module):
    """Two rounds of PyG's ``HeteroConv``, trimmed hop by hop."""

    def __init__(self, edge_types: list[tuple[str, str, str]]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            HeteroConv({key: SAGEConv((-1, -1), 32, aggr=["mean", "sum"]) for key in edge_types}) for _ in range(2)
        )
        self.norm = torch.nn.LayerNorm(32)
        self.head = torch.nn.Linear(32, 1)

    def forward(self, batch: HeteroData) -> torch.Tensor:
        x, edges = batch.x_dict, batch.edge_index_dict
        for hop, layer in enumerate(self.layers):
            x, edges, _ = trim_to_layer(hop, batch.num_sampled_nodes_dict, batch.num_sampled_edges_dict, x, edges)
            x = {name: self.norm(values).relu() for name, values in layer(x, edges).items()}
        return self.head(x["customer"])[: batch["customer"].batch_size, 0]


def main(epochs: int = 4) -> float:
    """Train, judge on the last instant, print and return the AUROC."""
    torch.manual_seed(0)
    data, labels = read_shop()
    away = torch.from_numpy(labels["away"]).float()
    sampler = NeighborSampler(data, [32, 8], temporal_strategy="last", time_attr="time")
    test = labels["as_of"] == labels["as_of"].max()

    def loader(part: np.ndarray, shuffle: bool) -> NeighborLoader:
        nodes, instants = (torch.from_numpy(labels[name][part].astype(np.int64)) for name in ("customer", "as_of"))
        return NeighborLoader(
            data, [32, 8], ("customer", nodes), instants, neighbor_sampler=sampler, transform=add_features,
            batch_size=256, shuffle=shuffle, num_workers=1, input_id=torch.from_numpy(np.flatnonzero(part)),
        )  # fmt: skip

    network = Network(data.edge_types)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for epoch in range(epochs):
        for batch in loader(~test, shuffle=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                network(batch), away[batch["customer"].input_id]
            )
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")
    with torch.no_grad():
        scores = torch.cat([network(batch) for batch in loader(test, shuffle=False)])
    found = auroc(away[torch.from_numpy(test)].numpy(), scores.numpy())(np.ones(test.sum()))
    print(f"{test.sum():,} customers as of the last instant: AUROC {found:.3f}")
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
