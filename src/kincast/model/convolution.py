"""Convolution: a layer in which a row counts as one of its own neighbours, for few labels and linked rows alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from kincast.model.inputs import EdgeInputs
from kincast.model.layer import first_of_each
from kincast.model.reduce import segment_sum_max
from kincast.sample.edge import EdgeType


class ConvolutionLayer(nn.Module):
    """One layer for all tables: ``relu(mean of W x over a row and its neighbours + b)``.

    Each edge type has its ``W``, and a row is its own neighbour along every edge type within its table; where there is
    none it has a ``W`` of its own. As in Kipf and Welling 2017, "Semi-supervised classification with graph
    convolutional networks", with a plain mean: nothing of a row goes past the mean, so with few labels it is the
    neighbourhood that is learnt and not the row.

    Args:
        tables: names of the tables whose rows are updated.
        edges: edge types that carry messages; others are never met.
        channels: width of the vectors.
        dropout: share of the vectors dropped before, while training.
    """

    def __init__(self, tables: Sequence[str], edges: Sequence[EdgeType], channels: int, dropout: float) -> None:
        super().__init__()
        self.links = {edge.name: index for index, edge in enumerate(edges)}
        self.within = {
            table: [i for i, edge in enumerate(edges) if edge.table == edge.other == table] for table in tables
        }
        self.messages = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in edges)
        self.own = nn.ModuleDict(
            {
                str(place): nn.Linear(channels, channels, bias=False)
                for place, table in enumerate(tables)
                if not self.within[table]
            }
        )
        self.places = {table: place for place, table in enumerate(tables)}
        self.biases = nn.ParameterList(torch.zeros(channels) for _ in tables)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Mapping[str, Tensor], num_rows: Mapping[str, int], edges: Iterable[tuple[EdgeInputs, int]]
    ) -> dict[str, Tensor]:
        """Vectors of the first ``num_rows`` local rows of each table; arguments as ``MessageLayer.forward``."""
        hidden = {table: self.dropout(rows) for table, rows in hidden.items()}
        sums = {table: self._own(table, rows[: num_rows[table]]) for table, rows in hidden.items() if num_rows[table]}
        counts = {
            table: rows.new_full((len(rows), 1), max(len(self.within[table]), 1)) for table, rows in sums.items()
        }
        for edge, most in edges:
            rows, offsets = edge.neighbours(hidden[edge.edge.other]), edge.offsets
            if most >= 0 and int(offsets.diff().max()) > most:
                index, offsets = first_of_each(offsets, most)
                rows = rows[index]
            total, _ = segment_sum_max(rows, offsets)
            frontier = torch.arange(edge.dst_start, edge.dst_start + edge.num_dst, device=rows.device)
            message = self.messages[self.links[edge.edge.name]](total)
            table = edge.edge.table
            sums[table] = sums[table].index_add(0, frontier, message)
            counts[table] = counts[table].index_add(0, frontier, offsets.diff().unsqueeze(1).to(message.dtype))
        return {
            table: torch.relu(total / counts[table] + self.biases[self.places[table]]) for table, total in sums.items()
        }

    def _own(self, table: str, rows: Tensor) -> Tensor:
        """What a row says of itself, once for each edge type within its table."""
        within = self.within[table]
        if not within:
            said: Tensor = self.own[str(self.places[table])](rows)
            return said
        return torch.stack([self.messages[index](rows) for index in within]).sum(dim=0)
