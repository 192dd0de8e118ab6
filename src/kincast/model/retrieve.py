"""Retrieve: the best items of every seed, exactly, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from kincast.model.inputs import Inputs
from kincast.model.item import Items, instants
from kincast.model.link import LinkNetwork, score_items
from kincast.model.ranked import Ranked, rank, stacked
from kincast.sample.batch import Seeds

MAX_BLOCK = 8_000_000
"""Scores that are held at once."""


def retrieve(
    network: LinkNetwork, items: Items, seeds: Seeds, batches: Iterable[Inputs], told: Callable[[int], None]
) -> tuple[Ranked, NDArray[np.float32]]:
    """The best items of every seed that exist at its instant, and the seeds' embeddings.

    Args:
        network: in evaluation mode.
        items: of the task.
        seeds: n of them.
        batches: their inputs, in order.
        told: of how many seeds are done.

    Returns:
        lists of ``items.top`` items, and embeddings [n, channels].
    """
    every = np.arange(items.num_items, dtype=np.int64)
    embeddings, found, done = [], [], 0
    with torch.inference_mode():
        width = max(1, MAX_BLOCK // 1024)
        blocks = [every[start : start + width] for start in range(0, len(every), width)]
        vectors = [network.items(items, block) for block in blocks]
        for inputs in batches:
            part = seeds.take(slice(done, done + inputs.num_seeds))
            entities = network(inputs)
            had = None if items.repeats else items.had(part)
            best: Ranked | None = None
            for block, vector in zip(blocks, vectors, strict=True):
                scores = score_items(entities, vector, items, part, block).double().numpy()
                for as_of, _, here in instants(part):
                    scores[np.ix_(here, np.flatnonzero(~items.exist(as_of)[block]))] = -np.inf
                if had is not None:
                    own, place = had.items - block[0], np.repeat(np.arange(len(part)), had.lengths)
                    inside = (own >= 0) & (own < len(block))
                    scores[place[inside], own[inside]] = -np.inf
                best = _better(best, rank(scores, items.top, block), items.top)
            if best is not None:
                found.append(best)
            embeddings.append(entities.embeddings.numpy())
            done += inputs.num_seeds
            told(done)
    hidden = np.concatenate(embeddings) if embeddings else np.zeros((0, 0), np.float32)
    return stacked(found, items.num_items, items.top), hidden


def _better(known: Ranked | None, more: Ranked, top: int) -> Ranked:
    """The best of two lists for each row; equal ones in the order of the items."""
    if known is None:
        return more
    scores = np.concatenate([known.scores, more.scores], axis=1)
    items = np.concatenate([known.items, more.items], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return Ranked(np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1), known.num_items)
