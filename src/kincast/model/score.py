"""Score: seeds to inputs by loader threads, and inputs to scores; the one path of training, batch and online use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from kincast.ahead import in_order
from kincast.errors import ProjectError
from kincast.feature.live import LiveFeatures
from kincast.feature.store import FeatureStore
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.conform import Spread
from kincast.model.history import HistoryGraph, LabelHistory, graph_with
from kincast.model.inputs import Inputs, make_inputs
from kincast.model.item import Items
from kincast.model.joint import JointObjective
from kincast.model.link import LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import Objective
from kincast.model.ranked import Ranked
from kincast.model.retrieve import retrieve
from kincast.progress import Progress, silent
from kincast.project import ModelSettings
from kincast.query.past import PastValues
from kincast.sample.batch import Batch, Seeds
from kincast.sample.live import LiveSampler
from kincast.sample.sampler import Sampler
from kincast.sample.shared import SharedBatch, SharedSampler
from kincast.sample.strategy import plan_of
from kincast.sample.through import ThroughGraph, through_graph

SCORE_BATCH = 1024
Scored = NDArray[np.float64] | tuple[NDArray[np.float64], ...] | Ranked
"""Scores of one target, of each of several, or the best items."""
Spreads = tuple[Spread | None, ...]
"""How uncertain a model says the values of each target are."""


class InputLoader:
    """Seeds to what a network reads.

    Args:
        snapshot: the rows.
        features: their encoded features.
        settings: fanouts and sampling strategy.
        seed: of the draws.
        num_threads: that sample ahead; by default one less than the processors, at most 4.
        strict: hide facts at the very instant of a seed.
        past: of the target, read with each seed; None where none is.
        items: that links are ranked among; None for tasks of other kinds.
        history: labels that are read as facts; None without.

    Attributes:
        graph: the snapshot, with the label history that is read.
    """

    def __init__(  # over budget: what a batch depends on, in one place
        self,
        snapshot: Snapshot | LiveSnapshot,
        features: FeatureStore | LiveFeatures,
        settings: ModelSettings,
        seed: int,
        num_threads: int | None = None,
        strict: bool = False,
        past: PastValues | None = None,
        items: Items | None = None,
        history: LabelHistory | None = None,
    ) -> None:
        if isinstance(snapshot, LiveSnapshot) and (settings.through or settings.neighbourhood == "shared"):
            what = "neighbourhoods that are shared or pass through link tables are read from a snapshot"
            raise ProjectError(what, hint="bring the live rows in first: kincast compact")
        if items is not None and settings.neighbourhood == "shared":
            raise ProjectError("links are scored from a tree for each row", hint="leave model.neighbourhood out")
        self.strict, self.past, self.items, self.history = strict, past, items, history
        self.snapshot, self.features, self.settings, self.seed = snapshot, features, settings, seed
        self.num_threads = num_threads or max(1, min(4, (os.cpu_count() or 2) - 1))
        most = settings.max_rows_per_seed
        graph, view, self._tables = graph_with(snapshot, features.tables, history)
        if isinstance(graph, HistoryGraph) and history is not None:
            settings = history.spec.settings(settings, graph.snapshot.schema, history.entity)
        self.graph: Snapshot | HistoryGraph | ThroughGraph = graph
        if settings.through:
            self.graph = through_graph(graph, settings.through)
        sampler = Sampler(self.graph, *plan_of(settings), seed, strict, keyed_by="row", max_rows_per_seed=most)
        self._fixed: Sampler | SharedSampler = sampler if view is None else LiveSampler(view, sampler)
        if settings.neighbourhood == "shared":
            self._fixed = SharedSampler(sampler)

    def batches(self, seeds: Seeds, batch_size: int, *, redraw: int | None = None) -> Iterator[Inputs]:
        """Inputs of all seeds, in order, prepared ahead.

        Args:
            seeds: all of them.
            batch_size: seeds per batch.
            redraw: another number, other neighbours where they are drawn; None for those that depend on the row alone.
        """
        for (inputs,) in self.parts(seeds, batch_size, 1, redraw=redraw):
            yield inputs

    def parts(
        self, seeds: Seeds, batch_size: int, num_parts: int, *, redraw: int | None = None, own: slice = slice(None)
    ) -> Iterator[tuple[Inputs, ...]]:
        """The same, each batch cut into ``num_parts``, of which those named ``own`` are made."""
        sampler = self.sampler(redraw)

        def make(start: int) -> tuple[Inputs, ...]:
            spans = spans_of(start, min(start + batch_size, len(seeds)), num_parts)[own]
            return tuple(self._shared_inputs_of(sampler.sample(seeds.take(span))) for span in spans)

        threads = self.num_threads if len(seeds) > batch_size else 0
        yield from in_order(range(0, len(seeds), batch_size), make, threads, 2 * threads)

    def score(
        self,
        network: Network | LinkNetwork,
        objective: Objective | JointObjective,
        seeds: Seeds,
        progress: Progress = silent,
    ) -> tuple[Scored, NDArray[np.float32]]:
        """Scores and embeddings of all seeds; as ``answer`` without the spreads."""
        scores, _, embeddings = self.answer(network, objective, seeds, progress)
        return scores, embeddings

    def answer(
        self,
        network: Network | LinkNetwork,
        objective: Objective | JointObjective,
        seeds: Seeds,
        progress: Progress = silent,
    ) -> tuple[Scored, Spreads, NDArray[np.float32]]:
        """Scores, spreads and embeddings of all seeds.

        Returns:
            scores as ``Objective.scores`` gives them, one for each of several targets, or the best items of each
            seed; how uncertain the model says they are, one for each target; and embeddings [n, channels].
        """
        network.eval()
        if isinstance(network, LinkNetwork):
            assert self.items is not None
            batches = self.batches(seeds, SCORE_BATCH)
            found = retrieve(network, self.items, seeds, batches, lambda done: progress("score", done, len(seeds)))
            return found[0], (None,), found[1]
        outputs, done = [torch.zeros(0, objective.num_outputs)], 0
        embeddings = [np.zeros((0, self.settings.channels), np.float32)]
        with torch.inference_mode():
            for inputs in self.batches(seeds, SCORE_BATCH):
                result = network(inputs)
                outputs.append(result.outputs)
                embeddings.append(result.embeddings.numpy())
                done += inputs.num_seeds
                progress("score", done, len(seeds))
        whole = torch.cat(outputs)
        spread = objective.spread(whole)
        spreads = spread if isinstance(spread, tuple) else (spread,)
        return objective.scores(whole), spreads, np.concatenate(embeddings)

    def over(self, snapshot: Snapshot | LiveSnapshot, features: FeatureStore | LiveFeatures) -> InputLoader:
        """The same plan over other rows."""
        items = self.items
        if items is not None and isinstance(snapshot, Snapshot) and isinstance(features, FeatureStore):
            items = items.over(snapshot, features)
        return self._like(snapshot, features, items, self.history)

    def knowing(self, history: LabelHistory) -> InputLoader:
        """The same over the same rows, with another label history."""
        return self._like(self.snapshot, self.features, self.items, history)

    def _like(
        self,
        snapshot: Snapshot | LiveSnapshot,
        features: FeatureStore | LiveFeatures,
        items: Items | None,
        history: LabelHistory | None,
    ) -> InputLoader:
        rest = (self.settings, self.seed, self.num_threads, self.strict, self.past, items, history)
        return InputLoader(snapshot, features, *rest)

    def sampler(self, redraw: int | None) -> Sampler | SharedSampler:
        """What draws neighbours: others for each ``redraw``; with None those of predictions, by the row alone."""
        return self._fixed if redraw is None else self._fixed.redrawn(redraw)

    def trees(self, redraw: int | None) -> Sampler:
        """The same neighbourhoods with a tree for each seed, for audits; argument as ``sampler``."""
        sampler = self.sampler(redraw)
        return sampler.trees if isinstance(sampler, SharedSampler) else sampler

    def inputs_of(self, batch: Batch | SharedBatch) -> Inputs:
        """What a network reads of a sampled batch."""
        placed = None if self.items is None else self.items.table
        return self._reaching(make_inputs(batch, self._tables, self.past, placed), batch.seeds)

    def _shared_inputs_of(self, batch: Batch | SharedBatch) -> Inputs:
        """The same in fewer rows, which nobody can tell from the batch's any more."""
        placed = None if self.items is None else self.items.table
        plain = self.settings.kind == "message_passing" and self.settings.module is None
        shared = plain and not self.settings.bridges  # other bodies read rows by their places in the tree
        return self._reaching(make_inputs(batch, self._tables, self.past, placed, shared=shared), batch.seeds)

    def _reaching(self, inputs: Inputs, seeds: Seeds) -> Inputs:
        """The inputs with the items that their seeds reach, where a network reads those."""
        if self.items is None or not self.settings.reads_walks:
            return inputs
        return replace(inputs, reached=self.items.reached(seeds))


def spans_of(start: int, stop: int, num_parts: int) -> list[slice]:
    """Positions from ``start`` to ``stop`` in parts of about equal size, or fewer where there are fewer positions.

    >>> spans_of(10, 15, 4)
    [slice(10, 12, None), slice(12, 14, None), slice(14, 15, None)]
    """
    size = max(1, -(-(stop - start) // num_parts))
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


def numbers_of(scored: Scored) -> NDArray[np.float64]:
    """[n, k] all numbers of scores, to be held against others of the same rows."""
    if isinstance(scored, Ranked):
        return np.concatenate([scored.items, np.nan_to_num(scored.scores, neginf=0.0)], axis=1)
    parts = scored if isinstance(scored, tuple) else (scored,)
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
