"""Network: encoders, body and heads as one module from sampled inputs to scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kincast.feature.spec import FeatureSpec
from kincast.model.convolution import Convolution
from kincast.model.dense import DenseLayer, head
from kincast.model.encode import TableEncoder
from kincast.model.inputs import Inputs
from kincast.model.module import OwnModule
from kincast.model.passing import MessagePassing
from kincast.model.past import PastEncoder
from kincast.model.transformer import Transformer
from kincast.project import ModelSettings
from kincast.sample.edge import EdgeType
from kincast.sample.through import through_edges
from kincast.schema import Schema

BODY = ("encoders.", "pre.", "body.")
"""How the names of those weights begin that are not of the heads."""


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
    """Encoders of the rows, a body over the sampled neighbourhood of each seed, and a head for each target.

    Args:
        schema: tables and links.
        spec: inputs of each table.
        settings: which body, widths, fanouts.
        widths: outputs of each head.
        past: reads past values of the target beside the neighbourhood; None for no such thing.

    Raises:
        ProjectError: the body does not suit the schema, or a module of the user's cannot be used.
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
        self.tables = [table.name for table in schema]
        self.encoders = nn.ModuleList(
            TableEncoder(spec.table(name), settings.channels, settings.activation, settings.input_dropout)
            for name in self.tables
        )
        self.pre = nn.ModuleList(
            nn.Sequential(*(DenseLayer(settings) for _ in range(settings.pre_layers))) for _ in self.tables
        )
        self.body = _body(self.tables, through_edges(schema, settings.through), settings)
        first, *others = (head(settings, width) for width in widths)
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

    def encoder_of(self, table: str) -> TableEncoder:
        """What encodes the rows of a table."""
        encoder = self.encoders[self.tables.index(table)]
        assert isinstance(encoder, TableEncoder)
        return encoder

    def embed(self, inputs: Inputs, *, keep: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """The seeds' last hidden vectors and, where they are kept, the last that every local row of each table had."""
        hidden = {
            name: pre(encoder(inputs.tables[name]))
            for name, encoder, pre in zip(self.tables, self.encoders, self.pre, strict=True)
            if len(inputs.tables[name].ages)
        }
        vectors: tuple[Tensor, dict[str, Tensor]] = self.body(hidden, inputs, keep)
        return vectors


def _body(tables: Sequence[str], edges: Sequence[EdgeType], settings: ModelSettings) -> nn.Module:
    """The body that the settings name.

    Each takes encoded rows [n, channels] by table (those without rows left out), the batch, and whether all rows are
    asked for; it gives the seeds' vectors [num_seeds, channels], and those of all local rows where they are.
    """
    if settings.module is not None:
        return OwnModule(tables, edges, settings)
    if settings.kind == "transformer":
        return Transformer(tables, edges, settings)
    if settings.messages == "convolution":
        return Convolution(tables, edges, settings)
    return MessagePassing(tables, edges, settings)


def weights_of(network: nn.Module) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """A copy of all weights as NumPy arrays by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def load_weights(network: nn.Module, weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
    """Put weights back; names and shapes must fit."""
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
