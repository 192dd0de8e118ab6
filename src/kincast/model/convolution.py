"""Convolution: layers that take the mean of a row and its neighbours, for few labels, like rows and many layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kincast.model.inputs import EdgeInputs, Inputs
from kincast.model.layer import cut_lists
from kincast.model.reduce import segment_sum_max
from kincast.project import ModelSettings
from kincast.sample.edge import EdgeType
from kincast.sample.strategy import fanout_table, plan_of

ALPHA = 0.1  # share of a row's first vector in every layer
LAMBDA = 0.5  # how soon the layers come near the identity


class Convolution(nn.Module):
    """As many layers as there are hops, each ``relu(s + b (W s - s))`` with ``s = (1 - a) mean + a first``.

    The mean is over a row and its neighbours: those of its own table as they are, those of others through a matrix of
    their edge type. ``first`` is the row's encoded vector, ``a`` is 0.1, and ``b = log(1 + 0.5 / layer)``: as in Chen
    et al. 2020, "Simple and deep graph convolutional networks", with a plain mean. Every layer is near a mean, so that
    even many of them do not learn few labels by heart.

    Args:
        tables: names of the tables.
        edges: edge types of the graph.
        settings: widths, fanouts and dropout.
    """

    def __init__(self, tables: Sequence[str], edges: Sequence[EdgeType], settings: ModelSettings) -> None:
        super().__init__()
        self.tables, self.num_layers = tuple(tables), settings.num_hops
        self.fanouts: np.ndarray[tuple[int, int], np.dtype[np.int64]] = fanout_table(edges, *plan_of(settings))
        self.edge_index = {edge.name: index for index, edge in enumerate(edges)}
        channels = settings.channels
        across = [
            {f"{i}": _matrix(channels) for i, edge in enumerate(edges) if edge.table != edge.other}
            for _ in range(self.num_layers)
        ]
        self.across = nn.ModuleList(nn.ModuleDict(matrices) for matrices in across)
        self.mix = nn.ModuleList(nn.ModuleList(_matrix(channels) for _ in tables) for _ in range(self.num_layers))
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, hidden: dict[str, Tensor], inputs: Inputs, keep: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The seeds' vectors and, where they are kept, the last that every local row of each table had.

        Args:
            hidden: table → [n, channels] encoded rows.
            inputs: of the batch.
            keep: whether all rows are asked for.
        """
        first, last = hidden, {name: rows for name, rows in hidden.items() if keep}
        for number in range(self.num_layers):
            last_hop = self.num_layers - number - 1  # rows farther away are no longer needed
            num_rows = {name: inputs.hop_offsets[name][last_hop + 1] for name in self.tables}
            edges = [edge for edge in inputs.edges if edge.hop <= last_hop + 1]
            means = self._means({name: self.dropout(rows) for name, rows in hidden.items()}, num_rows, edges, number)
            share = math.log1p(LAMBDA / (number + 1))
            hidden = {}
            for name, mean in means.items():
                said = (1 - ALPHA) * mean + ALPHA * first[name][: len(mean)]
                mixed = self.mix[number][self.tables.index(name)](said)  # type: ignore[index]
                hidden[name] = torch.relu(torch.lerp(said, mixed, share))
            last = {
                name: torch.cat([hidden[name], rows[len(hidden[name]) :]]) if name in hidden else rows
                for name, rows in last.items()
            }
        seeds = slice(inputs.num_seeds) if inputs.seed_rows is None else inputs.seed_rows
        return hidden[inputs.seed_table][seeds], last

    def _means(
        self, hidden: dict[str, Tensor], num_rows: dict[str, int], edges: Sequence[EdgeInputs], number: int
    ) -> dict[str, Tensor]:
        """Table → [rows still needed, channels] means over each row and its neighbours."""
        sums = {name: rows[: num_rows[name]] for name, rows in hidden.items() if num_rows[name]}
        counts = {name: rows.new_ones(len(rows), 1) for name, rows in sums.items()}
        for edge in edges:
            index, name = self.edge_index[edge.edge.name], edge.edge.table
            rows, offsets = edge.neighbours(hidden[edge.edge.other]), edge.offsets
            most = int(self.fanouts[index, self.num_layers - number - 1])
            kept, offsets = cut_lists(offsets, most)
            rows = rows if kept is None else rows[kept]
            total, _ = segment_sum_max(rows, offsets)
            if name != edge.edge.other:
                total = self.across[number][f"{index}"](total)  # type: ignore[index]
            frontier = torch.arange(edge.dst_start, edge.dst_start + edge.num_dst, device=rows.device)
            sums[name] = sums[name].index_add(0, frontier, total)
            counts[name] = counts[name].index_add(0, frontier, offsets.diff().unsqueeze(1).to(total.dtype))
        return {name: total / counts[name] for name, total in sums.items()}


def _matrix(channels: int) -> nn.Linear:
    return nn.Linear(channels, channels, bias=False)
