"""Modules of a user's: models of PyTorch Geometric's, plain ones, and ones that are wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Rows = dict[str, Tensor]
Edges = dict[tuple[str, str, str], Tensor]
Metadata = tuple[list[str], list[tuple[str, str, str]]]


class Convolutions(nn.Module):
    """PyG's ``HeteroConv`` of one ``SAGEConv`` for each edge type, in two layers; sizes are found by the first call."""

    def __init__(self, metadata: Metadata, channels: int, num_layers: int = 2) -> None:
        super().__init__()
        from torch_geometric.nn import HeteroConv, SAGEConv

        self.layers = nn.ModuleList(
            HeteroConv({edge: SAGEConv((-1, -1), channels) for edge in metadata[1]}) for _ in range(num_layers)
        )

    def forward(self, x_dict: Rows, edge_index_dict: Edges) -> Rows:
        for layer in self.layers:
            heard = layer(x_dict, edge_index_dict)
            x_dict = {name: rows + heard[name].relu() if name in heard else rows for name, rows in x_dict.items()}
        return x_dict


class Converted(nn.Module):
    """PyG's ``GraphSAGE`` made heterogeneous by ``to_hetero``."""

    def __init__(self, metadata: Metadata, channels: int) -> None:
        super().__init__()
        from torch_geometric.nn import GraphSAGE, to_hetero

        self.model = to_hetero(GraphSAGE(channels, channels, num_layers=2, out_channels=channels), metadata)

    def forward(self, x_dict: Rows, edge_index_dict: Edges) -> Any:
        return self.model(x_dict, edge_index_dict)


class Plain(nn.Module):
    """One sum over each edge type, without PyG."""

    def __init__(self, metadata: Metadata, channels: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(nn.Linear(channels, channels) for _ in metadata[1])
        self.edges = metadata[1]

    def forward(self, x_dict: Rows, edge_index_dict: Edges) -> Rows:
        found = dict(x_dict)
        for (other, relation, table), dense in zip(self.edges, self.dense, strict=True):
            src, dst = edge_index_dict[other, relation, table]
            found[table] = found[table].index_add(0, dst, torch.tanh(dense(x_dict[other][src])))
        return found


class Narrow(Plain):
    """Returns vectors of another width."""

    def forward(self, x_dict: Rows, edge_index_dict: Edges) -> Rows:
        return {name: rows[:, :3] for name, rows in super().forward(x_dict, edge_index_dict).items()}


class Elsewhere(Plain):
    """Says nothing of the seeds' table."""

    def forward(self, x_dict: Rows, edge_index_dict: Edges) -> Rows:
        return {"products": x_dict["products"]}


class Failing(Plain):
    """Does not run."""

    def forward(self, x_dict: Rows, edge_index_dict: Edges) -> Rows:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


class Alone(Plain):
    """Returns no mapping."""

    def forward(self, x_dict: Rows, edge_index_dict: Edges) -> Any:
        return x_dict["customers"]


def number(metadata: Metadata, channels: int) -> int:
    """Is no module."""
    return channels
