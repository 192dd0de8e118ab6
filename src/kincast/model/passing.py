"""Passing: layers of messages over the sampled trees, from encoded rows to the seeds' vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kincast.errors import ProjectError
from kincast.model.inputs import EdgeInputs, Inputs
from kincast.model.layer import Crossing, MessageLayer
from kincast.project import ModelSettings
from kincast.sample.edge import EdgeType
from kincast.sample.strategy import fanout_table, plan_of


class MessagePassing(nn.Module):
    """As many layers of messages as there are hops.

    Layer ``l`` of ``L`` reads at most as many neighbours of *every* row as the fanout of hop ``L - l + 1`` allows, so
    that a row's vector after a layer depends on the row and the instant alone, not on how far from a seed it was met.

    With bridges, every layer but the first also hears at once from two links away, across the rows of a bridge. It
    reads the vectors that these had before the layer below: those of the layer below reach one hop less far than is
    needed here, and would have heard the other side already.

    Args:
        tables: names of the tables.
        edges: both directions of every link.
        settings: widths, fanouts, messages.

    Raises:
        ProjectError: bridges are asked for and there are none.
    """

    def __init__(self, tables: Sequence[str], edges: Sequence[EdgeType], settings: ModelSettings) -> None:
        super().__init__()
        self.tables, self.num_layers = tuple(tables), settings.num_hops
        self.fanouts: np.ndarray[tuple[int, int], np.dtype[np.int64]] = fanout_table(edges, *plan_of(settings))
        self.edge_index = {edge.name: index for index, edge in enumerate(edges)}
        self.sides = bridges(edges) if settings.bridges else {}
        if settings.bridges and not self.sides:
            hint = "leave bridges out"
            raise ProjectError("no table has two foreign keys", where="model.bridges", hint=hint)
        num_sides = [len(self.sides.get(edge.name, ())) for edge in edges]
        self.layers = nn.ModuleList(
            MessageLayer(tables, edges, settings, [0] * len(edges) if first else num_sides)
            for first in (number == 0 for number in range(self.num_layers))
        )

    def forward(self, hidden: dict[str, Tensor], inputs: Inputs, keep: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The seeds' vectors and, where they are kept, the last that every local row of each table had.

        Those of rows far from a seed have heard less: a row ``h`` links away only what is ``num_layers - h`` away.

        Args:
            hidden: table → [n, channels] encoded rows.
            inputs: of the batch.
            keep: whether all rows are asked for.
        """
        last = {name: rows for name, rows in hidden.items() if keep}
        before = hidden
        for number, layer in enumerate(self.layers, start=1):
            last_hop = self.num_layers - number  # rows farther away are no longer needed
            num_rows = {name: inputs.hop_offsets[name][last_hop + 1] for name in self.tables}
            edges = [
                (edge, int(self.fanouts[self.edge_index[edge.edge.name], last_hop]))
                for edge in inputs.edges
                if edge.hop <= last_hop + 1
            ]
            crossings = list(self._crossings(inputs, before, last_hop)) if number > 1 else []
            hidden, before = layer(hidden, num_rows, edges, crossings), hidden
            last = {name: _over(rows, hidden.get(name)) for name, rows in last.items()}
        seeds = slice(inputs.num_seeds) if inputs.seed_rows is None else inputs.seed_rows
        return hidden[inputs.seed_table][seeds], last

    def _crossings(self, inputs: Inputs, before: Mapping[str, Tensor], last_hop: int) -> Iterator[Crossing]:
        """Hops from rows up to ``last_hop`` to bridges, with the vectors ``before`` on the other sides."""
        if not self.sides:
            return
        hops = {(edge.edge.name, edge.hop): edge for edge in inputs.edges}
        for edge in inputs.edges:
            if edge.hop > last_hop + 1 or edge.edge.name not in self.sides:
                continue
            start, stop = edge.src_start, edge.src_start + int(edge.offsets[-1])
            sides = (
                _across(hops.get((side.name, edge.hop + 1)), before, start, stop)
                if self.fanouts[self.edge_index[side.name], last_hop + 1]
                else None
                for side in self.sides[edge.edge.name]
            )
            most = int(self.fanouts[self.edge_index[edge.edge.name], last_hop])
            yield Crossing(edge, most, before[edge.edge.other][start:stop], tuple(sides))


def bridges(edges: Sequence[EdgeType]) -> dict[str, tuple[EdgeType, ...]]:
    """Name of each edge type that leads to a table with other foreign keys → the edge types along those."""
    found = {}
    for edge in edges:
        sides = tuple(e for e in edges if e.table == edge.other and not e.reverse and e.link != edge.link)
        if edge.reverse and sides:
            found[edge.name] = sides
    return found


def _across(hop: EdgeInputs | None, before: Mapping[str, Tensor], start: int, stop: int) -> Tensor | None:
    """The row [stop - start, channels] that each local row of a frontier leads to along a foreign key; 0 for none."""
    if hop is None:
        return None
    offsets = hop.offsets[start - hop.dst_start : stop - hop.dst_start + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    rows = before[hop.edge.other][hop.src_start + first : hop.src_start + last]
    if len(rows) == stop - start:
        return rows
    place = torch.nonzero(offsets.diff())[:, 0]
    return rows.new_zeros(stop - start, rows.shape[1]).index_copy(0, place, rows)


def _over(rows: Tensor, newer: Tensor | None) -> Tensor:
    """Vectors of all local rows, with newer ones of the first of them."""
    return rows if newer is None else torch.cat([newer, rows[len(newer) :]])
