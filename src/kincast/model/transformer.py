"""Transformer: attention among all rows of a seed's neighbourhood."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kincast.model.dense import ACTIVATIONS
from kincast.model.inputs import Inputs
from kincast.model.token import groups_of, tokens_of
from kincast.project import ModelSettings
from kincast.sample.edge import EdgeType

WIDER = 2  # of the hidden layer of a block, in channels


class Transformer(nn.Module):
    """Rows of a sampled tree as tokens that attend to one another; the seed's token is what is read out.

    A token is its encoded row, age included, and says what table it is of, how many links away, along which link it
    was met, and (its place in the structure) the encoded row that it was met from. The idea of such tokens is that of
    Dwivedi et al. 2025, "Relational graph transformer" (arXiv:2505.10960); its attention to learnt centroids is not
    here.

    What a row becomes depends on the whole tree of its seed. So it cannot be computed layer by layer for all rows of a
    graph at once: each seed needs its own tree, in batch predictions too.

    Args:
        tables: names of the tables.
        edges: both directions of every link.
        settings: width, layers, heads, activation, dropout.
    """

    def __init__(self, tables: Sequence[str], edges: Sequence[EdgeType], settings: ModelSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.tables, self.links = tuple(tables), {edge.name: index for index, edge in enumerate(edges)}
        self.table = nn.Embedding(len(tables), channels)
        self.hop = nn.Embedding(settings.num_hops + 1, channels)
        self.link = nn.Embedding(len(edges) + 1, channels)
        for embedding in (self.table, self.hop, self.link):
            nn.init.normal_(embedding.weight, std=0.1)
        self.met_from = nn.Linear(channels, channels, bias=False)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(channels)

    def forward(self, hidden: dict[str, Tensor], inputs: Inputs, keep: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The seeds' vectors [num_seeds, channels] and, where they are kept, those of all local rows of each table.

        Args:
            hidden: table → [n, channels] encoded rows.
            inputs: of the batch.
            keep: whether all rows are asked for.
        """
        tokens = tokens_of(inputs, self.tables, self.links)
        encoded = torch.cat([hidden[name] for name in tokens.starts])
        tables = torch.tensor([self.tables.index(name) for name in tokens.starts])
        sizes = torch.tensor([inputs.hop_offsets[name][-1] for name in tokens.starts])
        rows = encoded + self.hop(tokens.hop) + self.link(tokens.link) + self.met_from(encoded)[tokens.parent]
        rows = rows + self.table(torch.repeat_interleave(tables, sizes))
        seeds, places, found = [], [], []
        for group in groups_of(tokens, inputs.num_seeds, inputs.num_hops):
            sequences = rows[group.tokens]  # [g, longest, channels]
            mask = group.real[:, None, None, :]  # what is attended to
            for number, block in enumerate(self.blocks, start=1):
                only_first = number == len(self.blocks) and not keep
                sequences = block(sequences, mask, 1 if only_first else sequences.shape[1])
            sequences = self.norm(sequences)
            seeds.append(group.seeds)
            found.append(sequences[group.real] if keep else sequences[:, 0])
            places.append(group.tokens[group.real] if keep else group.tokens[:, 0])
        vectors = torch.cat(found)[torch.argsort(torch.cat(places))]  # in the order of the tokens
        if not keep:
            return vectors, {}
        last = dict(zip(tokens.starts, torch.split(vectors, sizes.tolist()), strict=True))
        return last[inputs.seed_table][: inputs.num_seeds], last


class Block(nn.Module):
    """Attention and a dense layer, each added to what comes in: ``h + A(norm h)``, then ``h + F(norm h)``.

    Args:
        settings: width, heads, activation, dropout.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        channels, self.num_heads = settings.channels, settings.heads
        self.attention_norm, self.dense_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.key_value = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.merge = nn.Linear(channels, channels)
        self.dense = nn.Sequential(
            nn.Linear(channels, WIDER * channels),
            ACTIVATIONS[settings.activation](),
            nn.Linear(WIDER * channels, channels),
        )
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, sequences: Tensor, mask: Tensor, num: int) -> Tensor:
        """The first ``num`` tokens [g, num, channels] of sequences [g, longest, channels] after one block.

        Args:
            sequences: of all tokens.
            mask: bool [g, 1, 1, longest] tokens that may be attended to.
            num: tokens that are asked for.
        """
        normed = self.attention_norm(sequences)
        key, value = self.key_value(normed).chunk(2, dim=2)
        query, key, value = (self._split(part) for part in (self.query(normed[:, :num]), key, value))
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = sequences[:, :num] + self.dropout(self.merge(attended.transpose(1, 2).flatten(2)))
        updated: Tensor = hidden + self.dropout(self.dense(self.dense_norm(hidden)))
        return updated

    def _split(self, rows: Tensor) -> Tensor:
        """[g, heads, length, channels / heads] of [g, length, channels]."""
        num_sequences, length, _ = rows.shape
        return rows.view(num_sequences, length, self.num_heads, -1).transpose(1, 2)
