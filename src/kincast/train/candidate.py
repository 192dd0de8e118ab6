"""Candidate: the items that the positives of a batch are told apart from while links are learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kincast.graph.snapshot import Snapshot
from kincast.model import loss
from kincast.model.inputs import Inputs
from kincast.model.item import Items
from kincast.model.link import LinkNetwork, score_items
from kincast.model.objective import Objective
from kincast.project import TrainSettings
from kincast.query.encode import Lists
from kincast.sample.batch import Seeds
from kincast.sample.negative import NegativeSampler
from kincast.train.loop import Examples, Trainer

MOST_ITEMS = 20_000
"""Items up to which all are candidates where the settings do not say."""
LOSSES = {"binary_cross_entropy": loss.pairwise_binary, "any_cross_entropy": loss.any_positive}
"""Beside the usual one."""
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items shared by a batch.

    Attributes:
        items: [m] int64 rows of the item table, ascending.
        positive: [n, m] whether the seed is linked to the item.
        negative: [n, m] whether the item stands for what it is not linked to; the rest does not count.
        log_q: [n, m] float32 what is subtracted from the scores: the bias of the draw.
    """

    items: Int64s
    positive: Bools
    negative: Bools
    log_q: NDArray[np.float32]


class CandidateSource:
    """Gives each batch its candidates.

    Args:
        snapshot: the rows that are seen.
        items: of the task.
        pool: lists of all training labels.
        settings: strategy, number and seed.
    """

    def __init__(self, snapshot: Snapshot, items: Items, pool: Lists, settings: TrainSettings) -> None:
        self._items, self._pool, self._num = items, pool, settings.num_negatives
        usual = "all" if items.num_items <= MOST_ITEMS else "in_batch"
        self._strategy = settings.negatives or usual
        drawn = self._strategy if self._strategy in ("uniform", "popularity") else "uniform"
        self._sampler = NegativeSampler(snapshot, items.path, drawn, prior=1, seed=settings.seed, strict=items.strict)

    def of(self, seeds: Seeds, positives: Lists, redraw: int) -> Candidates:
        """Candidates of a batch; the same for the same seeds and ``redraw``.

        Raises:
            DataError: a seed has fewer items to draw from than are drawn.
        """
        if self._strategy == "in_batch":
            found = self._sampler.in_batch(seeds, positives, self._pool)
            log_q = np.broadcast_to(found.log_q.astype(np.float32), found.positive.shape).copy()
            return Candidates(found.items, found.positive, found.negative, log_q)
        return self._all(seeds, positives) if self._strategy == "all" else self._drawn(seeds, positives, redraw)

    def _all(self, seeds: Seeds, positives: Lists) -> Candidates:
        items = np.arange(self._items.num_items, dtype=np.int64)
        there = {as_of: self._items.exist(as_of) for as_of in np.unique(seeds.as_of_us).tolist()}
        negative = np.stack([there[as_of] for as_of in seeds.as_of_us.tolist()])
        excluded = self._sampler.excluded(seeds, positives)
        _mark(negative, excluded, items, False)
        if not self._items.repeats:
            _mark(negative, self._items.had(seeds), items, False)
        positive = np.zeros_like(negative)
        _mark(positive, positives, items, True)
        return Candidates(items, positive, negative, np.zeros((1, 1), np.float32))

    def _drawn(self, seeds: Seeds, positives: Lists, redraw: int) -> Candidates:
        drawn = self._sampler.sample(seeds, positives, self._num, redraw)
        items = np.union1d(drawn.items.ravel(), positives.items.astype(np.int64))
        shape = (len(seeds), len(items))
        positive, negative, log_q = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, np.float32)
        place = np.searchsorted(items, drawn.items)
        rows = np.arange(len(seeds))[:, None]
        negative[rows, place], log_q[rows, place] = True, drawn.log_weight
        _mark(positive, positives, items, True)
        owner = np.repeat(np.arange(len(seeds)), positives.lengths)
        log_q[owner, np.searchsorted(items, positives.items)] = self._sampler.log_weight(seeds, positives)
        return Candidates(items, positive, negative, log_q)


def _mark(marks: Bools, lists: Lists, items: Int64s, value: bool) -> None:
    """Set the marks of what the lists name."""
    owner = np.repeat(np.arange(len(lists)), lists.lengths)
    marks[owner, np.searchsorted(items, lists.items.astype(np.int64))] = value


class LinkTrainer(Trainer):
    """Training of links: the loss is over the candidates of each batch."""

    takes_parts = False
    source: CandidateSource
    items: Items

    def loss_of(self, inputs: Inputs, part: Examples) -> Tensor:
        """Mean loss of a batch."""
        network, positives = self.network, part.target
        assert isinstance(network, LinkNetwork)
        assert isinstance(positives, Lists)
        found = self.source.of(part.seeds, positives, self.epoch)
        entities, vectors = network(inputs), network.items(self.items, found.items)
        scores = score_items(entities, vectors, self.items, part.seeds, found.items) - torch.from_numpy(found.log_q)
        assert isinstance(self.objective, Objective)
        function = LOSSES.get(self.objective.loss_name, loss.listwise)
        each = function(scores, torch.from_numpy(found.positive), torch.from_numpy(found.negative))
        if part.weight is None:
            return each.mean()
        weight = torch.from_numpy(part.weight).float()
        return (each * weight).sum() / weight.sum().clamp(min=1e-12)
