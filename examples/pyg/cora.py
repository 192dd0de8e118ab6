"""Cora: PyG's own GCN and GraphSAGE on a static graph without time, in mini-batches.

    python examples/pyg/cora.py FOLDER [epochs]

FOLDER holds Cora (or Citeseer) with the public split as Parquet: nodes (node, label, split), edges (src, dst) and
features_coo (node, word, value).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCN, GraphSAGE

from kincast.pyg import NeighborLoader


def read_citations(folder: Path) -> Data:
    """The papers with their words, rows summing to one, and their citations in both directions."""
    nodes, edges, words = (pq.read_table(folder / f"{name}.parquet") for name in ("nodes", "edges", "features_coo"))
    node, word = (torch.tensor(words[name].to_pylist()) for name in ("node", "word"))
    x = torch.zeros(nodes.num_rows, int(word.max()) + 1)
    x[node, word] = torch.tensor(words["value"].to_pylist(), dtype=torch.float32)
    x /= x.sum(1, keepdim=True).clamp(min=1e-9)
    split = nodes["split"].to_pylist()
    data = Data(x=x, y=torch.tensor(nodes["label"].to_pylist()))
    data.edge_index = torch.tensor([edges[name].to_pylist() for name in ("src", "dst")])
    for name in ("train", "val", "test"):
        data[f"{name}_mask"] = torch.tensor([part == name for part in split])
    return data


def train(data: Data, model: torch.nn.Module, epochs: int) -> dict[str, float]:
    """Accuracy of validation and test after training on mini-batches of sampled neighbourhoods."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    for _ in range(epochs):
        model.train()
        for batch in NeighborLoader(data, [10, 10], data.train_mask, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            scores = model(batch.x, batch.edge_index)[: batch.batch_size]
            torch.nn.functional.cross_entropy(scores, batch.y[: batch.batch_size]).backward()
            optimizer.step()
    model.eval()
    found = {}
    with torch.no_grad():
        for part in ("val", "test"):
            right = torch.cat(
                [
                    (model(batch.x, batch.edge_index).argmax(-1) == batch.y)[: batch.batch_size]
                    for batch in NeighborLoader(data, [-1, -1], data[f"{part}_mask"], batch_size=256)
                ]
            )
            found[part] = float(right.float().mean())
    return found


def main(folder: str, epochs: int = 60) -> dict[str, dict[str, float]]:
    """Train both models; print and return their accuracies."""
    data = read_citations(Path(folder))
    found = {}
    for model_type in (GCN, GraphSAGE):
        torch.manual_seed(0)
        model = model_type(data.num_features, 32, num_layers=2, out_channels=int(data.y.max()) + 1, dropout=0.5)
        found[model_type.__name__] = scores = train(data, model, epochs)
        print(f"{model_type.__name__}: accuracy {scores['val']:.3f} on validation, {scores['test']:.3f} on test")
    return found


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
