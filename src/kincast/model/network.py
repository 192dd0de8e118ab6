"""Network: encoders, layers and head as one module from sampled inputs to scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kincast.feature.spec import FeatureSpec
from kincast.model.convolution import Convolution
from kincast.model.encode import TableEncoder
from kincast.model.inputs import Inputs
from kincast.model.layer import MessageLayer
from kincast.model.past import PastEncoder
from kincast.project import ModelSettings
from kincast.sample.strategy import fanout_table, plan_of
from kincast.sample.through import through_edges
from kincast.schema import Schema


@dataclass(frozen=True, slots=True)
class Scores:
    """What a network says about the seeds.

    Attributes:
        outputs: [num_seeds, num_outputs] before the task's link function.
        embeddings: [num_seeds, channels] the seeds' last hidden vectors.
    """

    outputs: Tensor
    embeddings: Tensor


class Network(nn.Module):
    """Heterogeneous message passing over the sampled neighbourhood of each seed.

    Layer ``l`` of ``L`` reads at most as many neighbours of *every* row as the fanout of hop ``L - l + 1`` allows, so
    that a row's vector after a layer depends on the row and the instant alone, not on how far from a seed it was met.

    Args:
        schema: tables and links.
        spec: inputs of each table.
        settings: widths, fanouts, aggregations.
        widths: outputs of each head.
        past: reads past values of the target beside the neighbourhood; None for no such thing.
    """

    def __init__(
        self,
        schema: Schema,
        spec: FeatureSpec,
        settings: ModelSettings,
        widths: Sequence[int],
        past: PastEncoder | None = None,
    ) -> None:
        super().__init__()
        edges = through_edges(schema, settings.through)
        tables = [table.name for table in schema]
        self.num_layers = settings.num_hops
        self.fanouts: np.ndarray[tuple[int, int], np.dtype[np.int64]] = fanout_table(edges, *plan_of(settings))
        self.edge_index = {edge.name: index for index, edge in enumerate(edges)}
        self.tables = tables
        self.encoders = nn.ModuleList(
            TableEncoder(spec.table(name), settings.channels, settings.input_dropout) for name in tables
        )
        self.convolution = Convolution(tables, edges, settings) if settings.messages == "convolution" else None
        self.layers = nn.ModuleList(
            MessageLayer(tables, edges, settings.channels, settings.aggregations, settings.dropout)
            for _ in range(0 if self.convolution else self.num_layers)
        )
        first, *others = (_head(settings, width) for width in widths)
        self.head, self.more = first, nn.ModuleList(others)
        self.past = past

    def forward(self, inputs: Inputs) -> Scores:
        """Scores of the batch's seeds."""
        embeddings, _ = self.embed(inputs)
        if self.past is not None and inputs.past is not None:
            embeddings = embeddings + self.past(inputs.past)
        outputs = torch.cat([head(embeddings) for head in (self.head, *self.more)], dim=1)
        if self.past is not None and inputs.past is not None:
            outputs = outputs + self.past.trend(inputs.past)
        return Scores(outputs, embeddings)

    def embed(self, inputs: Inputs, *, keep: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """The seeds' last hidden vectors and, where they are kept, the last that every local row of each table had.

        Those of rows far from a seed have heard less: a row ``h`` links away only what is ``num_layers - h`` away.
        """
        hidden = {
            name: encoder(inputs.tables[name])
            for name, encoder in zip(self.tables, self.encoders, strict=True)
            if len(inputs.tables[name].ages)
        }
        if self.convolution is not None:
            vectors: tuple[Tensor, dict[str, Tensor]] = self.convolution(hidden, inputs, keep)
            return vectors
        last = {name: rows for name, rows in hidden.items() if keep}
        for number, layer in enumerate(self.layers, start=1):
            last_hop = self.num_layers - number  # rows farther away are no longer needed
            num_rows = {name: inputs.hop_offsets[name][last_hop + 1] for name in self.tables}
            fanouts = self.fanouts[:, last_hop]
            edges = [
                (edge, int(fanouts[self.edge_index[edge.edge.name]]))
                for edge in inputs.edges
                if edge.hop <= last_hop + 1
            ]
            hidden = layer(hidden, num_rows, edges)
            last = {name: _over(rows, hidden.get(name)) for name, rows in last.items()}
        seeds = slice(inputs.num_seeds) if inputs.seed_rows is None else inputs.seed_rows
        return hidden[inputs.seed_table][seeds], last


def _head(settings: ModelSettings, width: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(settings.post_layers):
        parts += [nn.Linear(settings.channels, settings.channels), nn.ReLU()]
    return nn.Sequential(*parts, nn.Dropout(settings.dropout), nn.Linear(settings.channels, width))


def _over(rows: Tensor, newer: Tensor | None) -> Tensor:
    """Vectors of all local rows, with newer ones of the first of them."""
    return rows if newer is None else torch.cat([newer, rows[len(newer) :]])


def weights_of(network: nn.Module) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """A copy of all weights as NumPy arrays by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def load_weights(network: nn.Module, weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
    """Put weights back; names and shapes must fit."""
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
