"""Link: entities against items: two towers multiplied, and what is known of items that the entity is near to.

Near are those in its sampled neighbourhood, and those that it reaches over facts shared with others (``model/walk``).
The sum of towers and neighbourhood is the idea of Yuan et al. 2024, "ContextGNN: Beyond two-tower recommendation
systems" (arXiv:2411.19513).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kincast.feature.spec import FeatureSpec
from kincast.model.dense import ACTIVATIONS
from kincast.model.encode import TableEncoder
from kincast.model.inputs import Inputs, ReachedInputs
from kincast.model.item import STATE_WIDTH, Items, instants
from kincast.model.network import Network
from kincast.model.reduce import segment_sum_max
from kincast.model.walk import VALUE_NAMES, WALK_WIDTH
from kincast.project import ModelSettings
from kincast.sample.batch import Seeds
from kincast.sample.through import through_edges
from kincast.schema import Schema

UNSEEN_SHARE = 0.1
"""Share of items that are treated as unseen in a training step, so that features learn to stand alone."""
FIRST_WEIGHTS = {"own": 1.0, "own lately": 1.0, "nearest items": 0.5, "shared": 1.5, "shared lately": 3.0}
"""Of how strongly an item is reached, by the logarithm where there is one: a sensible order to begin with."""


@dataclass(frozen=True, slots=True)
class Entities:
    """What a network says of the seeds before they meet items.

    Attributes:
        towers: [n, width + STATE_WIDTH] the entity's vector, and what demand, recency and age are worth to it.
        embeddings: [n, channels] last hidden vectors.
        seed, item: [p] int64 pairs of a seed and an item that it is near to, at most twice each.
        extra: [p] what is added to the score of each.
    """

    towers: Tensor
    embeddings: Tensor
    seed: Tensor
    item: Tensor
    extra: Tensor


class LinkNetwork(nn.Module):
    """Scores of pairs of an entity and an item.

    Args:
        schema: tables and links.
        spec: inputs of each table.
        settings: widths, fanouts and which parts there are.
        item_table: table of the items.
        num_seen: items seen in training.
    """

    def __init__(
        self, schema: Schema, spec: FeatureSpec, settings: ModelSettings, item_table: str, num_seen: int
    ) -> None:
        super().__init__()
        channels, self.width = settings.channels, settings.output_channels
        self.trunk = Network(schema, spec, settings, (self.width + STATE_WIDTH,))
        self.item_table = item_table
        self.has_towers, self.has_pairs = settings.links != "pairwise", settings.links != "two_tower"
        self.reads_features = settings.item_embedding != "lookup"
        self.encoder = TableEncoder(spec.table(item_table), channels, settings.activation)
        self.project = nn.Linear(channels, self.width)
        self.lookup = nn.Embedding(num_seen + 1, self.width, padding_idx=0)
        nn.init.normal_(self.lookup.weight, std=0.1)
        with torch.no_grad():
            self.lookup.weight[0].zero_()
        self.has_lookup = settings.item_embedding != "features"
        self.worth = nn.Parameter(torch.zeros(STATE_WIDTH))
        with torch.no_grad():
            self.worth[0] = 0.5  # popular items are a sensible start
        self.num_hops = settings.num_hops
        self.edges = {edge.name: index for index, edge in enumerate(through_edges(schema, settings.through))}
        self.activation = ACTIVATIONS[settings.activation]()
        self.met = nn.Embedding(len(self.edges) * self.num_hops, channels)
        self.heard = nn.Linear(3 * channels, channels)
        self.pair, self.said = nn.Linear(2 * channels + 1, channels), nn.Linear(channels, 1)
        self.reads_walks = settings.reads_walks
        self.walked, self.walker = nn.Linear(WALK_WIDTH + STATE_WIDTH, channels), nn.Linear(channels, channels)
        self.reach, self.plain = nn.Linear(channels, 1), nn.Linear(WALK_WIDTH, 1)
        with torch.no_grad():
            outputs = self.trunk.head[-1]
            assert isinstance(outputs, nn.Linear)
            for last, start in ((outputs, self.width), (self.project, 0), (self.said, 0), (self.reach, 0)):
                last.weight[start:] = 0.0  # what is learnt is added to that order
                last.bias[start:] = 0.0
            self.plain.weight.copy_(torch.tensor([[FIRST_WEIGHTS.get(name, 0.0) for name in VALUE_NAMES]]))

    def forward(self, inputs: Inputs) -> Entities:
        """What the seeds of a batch are like."""
        embeddings, last = self.trunk.embed(inputs, keep=self.has_pairs)
        towers = self.trunk.head(embeddings)
        towers = torch.cat([towers[:, : self.width] / math.sqrt(self.width), towers[:, self.width :] + self.worth], 1)
        parts = [self._pairs(inputs, embeddings, last)]
        if self.reads_walks and inputs.reached is not None:
            parts.append(self._reached(inputs.reached, embeddings))
        seed, item, extra = (torch.cat(own) for own in zip(*parts, strict=True))
        return Entities(towers, embeddings, seed, item, extra)

    def items(self, items: Items, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
        """[m, width] vectors of items, the same at every instant."""
        vectors = torch.zeros(len(rows), self.width)
        if not self.has_towers:
            return vectors
        if self.has_lookup:
            places = items.places[torch.from_numpy(rows)]
            if self.training and self.reads_features:
                places = torch.where(torch.rand(len(rows)) < UNSEEN_SHARE, 0, places)
            vectors = vectors + self.lookup(places)
        if self.reads_features:
            vectors = vectors + self.project(self.encoder(items.inputs(rows)))
        return vectors

    def _pairs(self, inputs: Inputs, embeddings: Tensor, last: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of a seed and an item of its tree, and their scores from all places where the item was met."""
        met = list(self._occurrences(inputs, last)) if self.has_pairs else []
        if not met:
            none = torch.zeros(0, dtype=torch.int64)
            return none, none, embeddings.new_zeros(0)
        places = inputs.places[self.item_table]
        local, hidden = (torch.cat(parts) for parts in zip(*met, strict=True))
        seed, item = places.seed[local], places.rows[local]
        heard = self.heard(torch.cat([hidden, last[self.item_table][local], embeddings[seed]], 1))
        hidden = self.activation(hidden + heard)
        order = torch.argsort(seed * (int(item.max()) + 1) + item, stable=True)
        seed, item = seed[order], item[order]
        fresh = torch.ones(len(seed), dtype=torch.bool)
        fresh[1:] = (seed[1:] != seed[:-1]) | (item[1:] != item[:-1])
        starts = torch.cat([torch.nonzero(fresh)[:, 0], torch.tensor([len(seed)])])
        sums, maxima = segment_sum_max(hidden[order], starts)
        counts = torch.log1p(starts.diff().float()).unsqueeze(1)
        pair = self.activation(self.pair(torch.cat([sums, maxima, counts], 1)))
        return seed[fresh], item[fresh], self.said(pair)[:, 0]

    def _reached(self, reached: ReachedInputs, embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of a seed and an item that it reaches, and their scores."""
        hidden = self.activation(self.walked(reached.values) + self.walker(embeddings)[reached.seed])
        extra = self.reach(hidden) + self.plain(reached.values[:, :WALK_WIDTH])
        return reached.seed, reached.item, extra[:, 0]

    def _occurrences(self, inputs: Inputs, last: dict[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Local rows of items, each with the vector of the row that led to it and how it was met."""
        for edge in inputs.edges:
            if edge.edge.other != self.item_table:
                continue
            parent = torch.repeat_interleave(torch.arange(edge.num_dst), edge.offsets.diff()) + edge.dst_start
            local = torch.arange(len(parent)) + edge.src_start
            how = self.met.weight[self.edges[edge.edge.name] * self.num_hops + edge.hop - 1]
            yield local, last[edge.edge.table][parent] + how


def score_items(
    entities: Entities,
    vectors: Tensor,
    items: Items,
    seeds: Seeds,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> Tensor:
    """[n, m] scores of every seed and item.

    Args:
        entities: of the seeds.
        vectors: [m, width] of the items.
        items: all of them.
        seeds: n of them.
        rows: [m] ascending rows of the items.
    """
    width, wanted = vectors.shape[1], torch.from_numpy(rows)
    scores = entities.towers[:, :width] @ vectors.T
    parts = []
    for as_of, visible, here in instants(seeds):
        state = items.state(as_of, visible)[wanted]
        parts.append((here, entities.towers[torch.from_numpy(here), width:] @ state.T))
    order = np.argsort(np.concatenate([here for here, _ in parts]), kind="stable")
    scores = scores + torch.cat([part for _, part in parts])[torch.from_numpy(order)]
    if len(entities.item):
        place = torch.searchsorted(wanted, entities.item).clamp(max=len(wanted) - 1)
        there = wanted[place] == entities.item
        scores = scores.index_put((entities.seed[there], place[there]), entities.extra[there], accumulate=True)
    return scores
