"""Layer: one round of messages between linked rows: per link reduce, per table update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor, nn

from kincast.model.dense import ACTIVATIONS
from kincast.model.follow import KeyMessage
from kincast.model.fused import add_relu_norm, spread
from kincast.model.inputs import EdgeInputs
from kincast.model.message import RouteMessage, message_of
from kincast.project import ModelSettings
from kincast.sample.edge import EdgeType

Places = dict[tuple[str, int], Tensor]
"""(table, first row of a frontier) → what its rows heard [num_dst, channels]."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One hop to bridge rows, and what is on their other sides.

    Attributes:
        edge: leads to the bridge rows.
        most: bridge rows read at most (-1 all).
        rows: [num_src, channels] of the bridge rows.
        sides: of each other link of the bridge, the rows [num_src, channels] it leads to; None where there are none.
    """

    edge: EdgeInputs
    most: int
    rows: Tensor
    sides: tuple[Tensor | None, ...]


def first_of_each(offsets: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Rows and offsets of segments cut to their first ``most`` rows.

    Returns:
        index int64 [kept] of the rows kept, and the new offsets [num_segments + 1].
    """
    counts = offsets.diff().clamp(max=most)
    cut = torch.cat([offsets.new_zeros(1), counts.cumsum(0)])
    shift = torch.repeat_interleave(offsets[:-1] - cut[:-1], counts)
    return torch.arange(int(cut[-1]), device=offsets.device) + shift, cut


class MessageLayer(nn.Module):
    """One layer for all tables: ``norm(h + activation(W h + sum of messages))``.

    Args:
        tables: names of the tables whose rows are updated.
        edges: edge types that may carry messages.
        settings: width, messages, activation and dropout.
        sides: of each edge type, the number of other links of the bridge it leads to; 0 where it is not crossed.
    """

    def __init__(
        self, tables: Sequence[str], edges: Sequence[EdgeType], settings: ModelSettings, sides: Sequence[int]
    ) -> None:
        super().__init__()
        channels = settings.channels
        self.places = {table: index for index, table in enumerate(tables)}
        self.links = {edge.name: index for index, edge in enumerate(edges)}
        self.own = nn.ModuleList(nn.Linear(channels, channels) for _ in tables)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in tables)
        self.messages = nn.ModuleList(message_of(settings) if edge.reverse else KeyMessage(channels) for edge in edges)
        self.routes = nn.ModuleList(RouteMessage(settings, num) if num else nn.Identity() for num in sides)
        self.activation = ACTIVATIONS[settings.activation]()
        self.dropout = nn.Dropout(settings.dropout)

    def forward(
        self,
        hidden: Mapping[str, Tensor],
        num_rows: Mapping[str, int],
        edges: Iterable[tuple[EdgeInputs, int]],
        crossings: Iterable[Crossing] = (),
    ) -> dict[str, Tensor]:
        """Vectors of the first ``num_rows`` local rows of each table after hearing their neighbours.

        Args:
            hidden: table → [n, channels].
            num_rows: table → rows still needed, the first so many.
            edges: hops that lead to those rows, each with the number of neighbours to read at most (-1 all).
            crossings: hops to bridges that are heard across.
        """
        heard: Places = {}
        for edge, most in edges:
            send = self.messages[self.links[edge.edge.name]]
            if not edge.edge.reverse:
                _add(heard, edge, send(hidden[edge.edge.other], edge))
                continue
            rows = edge.neighbours(hidden[edge.edge.other])
            index, offsets = cut_lists(edge.offsets, most)
            rows = rows if index is None else spread(rows, index)
            _add(heard, edge, send(_own(hidden, edge), rows, offsets, edge.num_visible))
        for crossing in crossings:
            edge, rows, sides = crossing.edge, crossing.rows, crossing.sides
            index, offsets = cut_lists(edge.offsets, crossing.most)
            if index is not None:
                rows, sides = rows[index], tuple(side if side is None else side[index] for side in sides)
            route = self.routes[self.links[edge.edge.name]]
            _add(heard, edge, route(_own(hidden, edge), rows, sides, offsets, edge.num_visible))
        return {
            table: self._update(table, _first(hidden[table], num_rows[table]), heard)
            for table in hidden
            if num_rows[table]
        }

    def _update(self, table: str, rows: Tensor, heard: Places) -> Tensor:
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
        if isinstance(self.activation, nn.ReLU) and not (self.training and self.dropout.p > 0):
            return add_relu_norm(rows, update, norm)
        updated: Tensor = norm(rows + self.dropout(self.activation(update)))
        return updated


def _first(rows: Tensor, num: int) -> Tensor:
    """The first rows; a slice of all of them would cost a copy of its gradient."""
    return rows if num == len(rows) else rows[:num]


def cut_lists(offsets: Tensor, most: int) -> tuple[Tensor | None, Tensor]:
    """The neighbours that are read, None for all, and their offsets."""
    if most >= 0 and int(offsets.diff().max()) > most:
        return first_of_each(offsets, most)
    return None, offsets


def _own(hidden: Mapping[str, Tensor], edge: EdgeInputs) -> Tensor:
    """The rows that hear along a hop."""
    return hidden[edge.edge.table][edge.dst_start : edge.dst_start + edge.num_dst]


def _add(heard: Places, edge: EdgeInputs, message: Tensor) -> None:
    place = (edge.edge.table, edge.dst_start)
    heard[place] = heard[place] + message if place in heard else message
