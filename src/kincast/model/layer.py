"""Layer: one round of messages between linked rows: per link reduce, per table update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn

from kincast.model.inputs import EdgeInputs
from kincast.model.reduce import segment_sum_max
from kincast.sample.edge import EdgeType

COUNT_WIDTH = 2  # how many neighbours were read, and how many could be seen


def first_of_each(offsets: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Rows and offsets of segments cut to their first ``most`` rows.

    Returns:
        index int64 [kept] of the rows kept, and the new offsets [num_segments + 1].
    """
    counts = offsets.diff().clamp(max=most)
    cut = torch.cat([offsets.new_zeros(1), counts.cumsum(0)])
    shift = torch.repeat_interleave(offsets[:-1] - cut[:-1], counts)
    return torch.arange(int(cut[-1]), device=offsets.device) + shift, cut


class LinkMessage(nn.Module):
    """What a row hears along one edge type: its neighbours' vectors combined, then a dense layer.

    Along a foreign key there is at most one neighbour and nothing to combine.

    Args:
        channels: width of the vectors.
        aggregations: of ``sum``, ``mean``, ``max``.
        reverse: True where a row may have many neighbours.
    """

    def __init__(self, channels: int, aggregations: Sequence[str], reverse: bool) -> None:
        super().__init__()
        self.aggregations = tuple(aggregations) if reverse else ("sum",)
        extra = COUNT_WIDTH if reverse else 0
        self.dense = nn.Linear(channels * len(self.aggregations) + extra, channels, bias=False)

    def forward(self, rows: Tensor, offsets: Tensor, num_visible: Tensor) -> Tensor:
        """Messages [num_dst, channels] from neighbours ``rows`` [num_src, channels] grouped by ``offsets``."""
        counts = offsets.diff().unsqueeze(1)  # [num_dst, 1]
        sums, maxima = segment_sum_max(rows, offsets)
        parts = {"sum": sums, "mean": sums / counts.clamp(min=1), "max": maxima}
        combined = [parts[name] for name in self.aggregations]
        if self.dense.in_features > len(combined) * sums.shape[1]:
            combined += [torch.log1p(counts.float()), torch.log1p(num_visible.unsqueeze(1))]
        message: Tensor = self.dense(torch.cat(combined, dim=1))
        return message


class MessageLayer(nn.Module):
    """One layer for all tables: ``norm(h + relu(W h + sum of messages))``.

    Args:
        tables: names of the tables whose rows are updated.
        edges: edge types that may carry messages.
        channels: width of the vectors.
        aggregations: how neighbours are combined.
        dropout: share of the update dropped while training.
    """

    def __init__(
        self,
        tables: Sequence[str],
        edges: Sequence[EdgeType],
        channels: int,
        aggregations: Sequence[str],
        dropout: float,
    ) -> None:
        super().__init__()
        self.places = {table: index for index, table in enumerate(tables)}
        self.links = {edge.name: index for index, edge in enumerate(edges)}
        self.own = nn.ModuleList(nn.Linear(channels, channels) for _ in tables)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in tables)
        self.messages = nn.ModuleList(LinkMessage(channels, aggregations, edge.reverse) for edge in edges)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Mapping[str, Tensor], num_rows: Mapping[str, int], edges: Iterable[tuple[EdgeInputs, int]]
    ) -> dict[str, Tensor]:
        """Vectors of the first ``num_rows`` local rows of each table after hearing their neighbours.

        Args:
            hidden: table → [n, channels].
            num_rows: table → rows still needed, the first so many.
            edges: hops that lead to those rows, each with the number of neighbours to read at most (-1 all).
        """
        heard: dict[tuple[str, int], Tensor] = {}  # (table, first row of the frontier) → messages
        for edge, most in edges:
            rows = edge.neighbours(hidden[edge.edge.other])
            offsets = edge.offsets
            if most >= 0 and int(offsets.diff().max()) > most:
                index, offsets = first_of_each(offsets, most)
                rows = rows[index]
            message = self.messages[self.links[edge.edge.name]](rows, offsets, edge.num_visible)
            place = (edge.edge.table, edge.dst_start)
            heard[place] = heard[place] + message if place in heard else message
        return {
            table: self._update(table, hidden[table][: num_rows[table]], heard) for table in hidden if num_rows[table]
        }

    def _update(self, table: str, rows: Tensor, heard: Mapping[tuple[str, int], Tensor]) -> Tensor:
        """Combine rows [n, channels] of one table with what each frontier, a contiguous part of them, heard."""
        place = self.places[table]
        parts, done = [], 0
        for start, message in sorted(((s, m) for (name, s), m in heard.items() if name == table), key=itemgetter(0)):
            if start > done:
                parts.append(rows.new_zeros(start - done, rows.shape[1]))
            parts.append(message)
            done = start + len(message)
        if done < len(rows):
            parts.append(rows.new_zeros(len(rows) - done, rows.shape[1]))
        update = torch.relu(self.own[place](rows) + torch.cat(parts))
        updated: Tensor = self.norms[place](rows + self.dropout(update))
        return updated
