"""Token: the sampled rows of a batch as one sequence for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kincast.model.inputs import Inputs

MAX_CELLS = 1 << 16
"""Tokens of one group of sequences, with what fills them up."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where the local rows of all tables, one table behind another, stand in the trees of their seeds.

    Attributes:
        starts: table → its first token; tables without rows are left out.
        seed: int64 [n] the seed whose tree each belongs to.
        hop: int64 [n].
        link: int64 [n] 1 + number of the edge type it was met along; 0 for a seed.
        parent: int64 [n] the token it was met from; itself for a seed.
    """

    starts: dict[str, int]
    seed: Tensor
    hop: Tensor
    link: Tensor
    parent: Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of much the same length.

    Attributes:
        seeds: int64 [g].
        tokens: int64 [g, longest], a seed's own row first, hop behind hop; the first again where one is shorter.
        real: bool [g, longest] False for what only fills up.
    """

    seeds: Tensor
    tokens: Tensor
    real: Tensor


def tokens_of(inputs: Inputs, tables: Sequence[str], links: Mapping[str, int]) -> Tokens:
    """The tokens of a batch.

    Args:
        inputs: of the batch.
        tables: in their order.
        links: name of an edge type → its number.
    """
    starts, num = {}, 0
    for name in tables:
        if inputs.hop_offsets[name][-1]:
            starts[name] = num
            num += inputs.hop_offsets[name][-1]
    seed, hop, link, parent = (torch.zeros(num, dtype=torch.int64) for _ in range(4))
    first = starts[inputs.seed_table]
    own = slice(first, first + inputs.num_seeds)
    seed[own], parent[own] = torch.arange(inputs.num_seeds), torch.arange(own.start, own.stop)
    for edge in inputs.edges:  # by hop, so that parents are known before their neighbours
        dst = starts[edge.edge.table] + edge.dst_start
        met_from = torch.repeat_interleave(torch.arange(dst, dst + edge.num_dst), edge.offsets.diff())
        src = starts[edge.edge.other] + edge.src_start
        met = slice(src, src + len(met_from))
        seed[met], hop[met], link[met], parent[met] = seed[met_from], edge.hop, links[edge.edge.name] + 1, met_from
    return Tokens(starts, seed, hop, link, parent)


def groups_of(tokens: Tokens, num_seeds: int, num_hops: int) -> list[Group]:
    """Sequences of all seeds, the longest first, with at most ``MAX_CELLS`` tokens in a group of several."""
    order = torch.argsort(tokens.seed * (num_hops + 1) + tokens.hop, stable=True)
    lengths = torch.bincount(tokens.seed, minlength=num_seeds)
    begins = lengths.cumsum(0) - lengths
    by_length = torch.argsort(lengths, descending=True, stable=True)
    groups, done = [], 0
    while done < num_seeds:
        longest = int(lengths[by_length[done]])
        seeds = by_length[done : done + max(1, MAX_CELLS // longest)]
        place = torch.arange(longest)
        real = place < lengths[seeds].unsqueeze(1)
        groups.append(Group(seeds, order[begins[seeds].unsqueeze(1) + torch.where(real, place, 0)], real))
        done += len(seeds)
    return groups
