"""Layer: one round of messages between linked rows: per link reduce, per table update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn

from kincast.model.follow import KeyMessage
from kincast.model.fused import add_relu_norm, spread
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

    Args:
        channels: width of the vectors.
        aggregations: of ``sum``, ``mean``, ``max``.
    """

    def __init__(self, channels: int, aggregations: Sequence[str]) -> None:
        super().__init__()
        self.aggregations = tuple(aggregations)
        self.dense = nn.Linear(channels * len(self.aggregations) + COUNT_WIDTH, channels, bias=False)

    def forward(self, rows: Tensor, offsets: Tensor, num_visible: Tensor) -> Tensor:
        """Messages [num_dst, channels] from neighbours ``rows`` [num_src, channels] grouped by ``offsets``."""
        counts = offsets.diff().unsqueeze(1)  # [num_dst, 1]
        sums, maxima = segment_sum_max(rows, offsets)
        parts = {"sum": sums, "mean": sums / counts.clamp(min=1), "max": maxima}
        combined = [parts[name] for name in self.aggregations]
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
        self.messages = nn.ModuleList(
            LinkMessage(channels, aggregations) if edge.reverse else KeyMessage(channels) for edge in edges
        )
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
            send = self.messages[self.links[edge.edge.name]]
            if not edge.edge.reverse:
                message = send(hidden[edge.edge.other], edge)
            else:
                rows, offsets = edge.neighbours(hidden[edge.edge.other]), edge.offsets
                if most >= 0 and int(offsets.diff().max()) > most:
                    index, offsets = first_of_each(offsets, most)
                    rows = spread(rows, index)
                message = send(rows, offsets, edge.num_visible)
            place = (edge.edge.table, edge.dst_start)
            heard[place] = heard[place] + message if place in heard else message
        return {
            table: self._update(table, _first(hidden[table], num_rows[table]), heard)
            for table in hidden
            if num_rows[table]
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
        update = self.own[place](rows) + (parts[0] if len(parts) == 1 else torch.cat(parts))
        norm = self.norms[place]
        assert isinstance(norm, nn.LayerNorm)
        if self.training and self.dropout.p > 0:
            dropped: Tensor = norm(rows + self.dropout(torch.relu(update)))
            return dropped
        return add_relu_norm(rows, update, norm)


def _first(rows: Tensor, num: int) -> Tensor:
    """The first rows; a slice of all of them would cost a copy of its gradient."""
    return rows if num == len(rows) else rows[:num]
