"""Score: seeds to inputs by loader threads, and inputs to scores; the one path of training, batch and online use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from kincast.feature.live import LiveFeatures
from kincast.feature.store import FeatureStore
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.history import HISTORY_TABLE, HistoryGraph, LabelHistory
from kincast.model.inputs import Inputs, make_inputs
from kincast.model.network import Network
from kincast.model.objective import Objective
from kincast.progress import Progress, silent
from kincast.project import ModelSettings
from kincast.sample.batch import Batch, Seeds
from kincast.sample.live import LiveGraph, LiveSampler
from kincast.sample.loader import Loader
from kincast.sample.sampler import Sampler
from kincast.sample.strategy import plan_of

SCORE_BATCH = 1024


class InputLoader:
    """Seeds to what a network reads.

    Args:
        snapshot: the rows.
        features: their encoded features.
        settings: fanouts and sampling strategy.
        seed: of the draws.
        num_threads: that sample ahead; by default one less than the processors, at most 4.
        strict: hide facts at the very instant of a seed.
        past: labels that are read as facts; None without.
    """

    def __init__(
        self,
        snapshot: Snapshot | LiveSnapshot,
        features: FeatureStore | LiveFeatures,
        settings: ModelSettings,
        seed: int,
        num_threads: int | None = None,
        strict: bool = False,
        past: LabelHistory | None = None,
    ) -> None:
        self.strict, self.past = strict, past
        self.snapshot, self.features, self.settings, self.seed = snapshot, features, settings, seed
        self.num_threads = num_threads or max(1, min(4, (os.cpu_count() or 2) - 1))
        most = settings.max_rows_per_seed
        base = snapshot.base if isinstance(snapshot, LiveSnapshot) else snapshot
        self._tables = dict(features.tables)
        self.graph: Snapshot | HistoryGraph = base
        view: LiveGraph | None = snapshot if isinstance(snapshot, LiveSnapshot) else None
        if past is not None:
            settings = past.spec.settings(settings, base.schema, past.entity)
            graph = self.graph = past.graph(base)
            self._tables[HISTORY_TABLE] = past.features
            view = past.live(snapshot, graph) if isinstance(snapshot, LiveSnapshot) else None
        plan = plan_of(settings)
        sampler = Sampler(self.graph, *plan, seed, strict, keyed_by="row", max_rows_per_seed=most)
        self._fixed: Sampler = sampler if view is None else LiveSampler(view, sampler)

    def batches(self, seeds: Seeds, batch_size: int, *, redraw: int | None = None) -> Iterator[Inputs]:
        """Inputs of all seeds, in order, prepared ahead.

        Args:
            seeds: all of them.
            batch_size: seeds per batch.
            redraw: another number, other neighbours where they are drawn; None for those that depend on the row alone.
        """
        sampler = self.sampler(redraw)
        threads = self.num_threads if len(seeds) > batch_size else 0
        yield from Loader(sampler, seeds, batch_size, self._prepare, num_threads=threads)

    def score(
        self, network: Network, objective: Objective, seeds: Seeds, progress: Progress = silent
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Scores and embeddings of all seeds.

        Returns:
            scores [n] or [n, classes] as ``Objective.scores`` gives them, and embeddings [n, channels].
        """
        network.eval()
        outputs, embeddings, done = [], [], 0
        with torch.inference_mode():
            for inputs in self.batches(seeds, SCORE_BATCH):
                result = network(inputs)
                outputs.append(result.outputs)
                embeddings.append(result.embeddings.numpy())
                done += inputs.num_seeds
                progress("score", done, len(seeds))
        if not outputs:
            width = self.settings.channels
            return objective.scores(torch.zeros(0, objective.num_outputs)), np.zeros((0, width), np.float32)
        return objective.scores(torch.cat(outputs)), np.concatenate(embeddings)

    def over(self, snapshot: Snapshot | LiveSnapshot, features: FeatureStore | LiveFeatures) -> InputLoader:
        """The same plan over other rows."""
        return InputLoader(snapshot, features, self.settings, self.seed, self.num_threads, self.strict, self.past)

    def with_past(self, past: LabelHistory) -> InputLoader:
        """The same over the same rows, with other past labels."""
        own = (self.settings, self.seed, self.num_threads, self.strict, past)
        return InputLoader(self.snapshot, self.features, *own)

    def sampler(self, redraw: int | None) -> Sampler:
        """What draws neighbours: others for each ``redraw``; with None those of predictions, by the row alone."""
        return self._fixed if redraw is None else self._fixed.redrawn(redraw)

    def _prepare(self, batch: Batch) -> Inputs:
        return make_inputs(batch, self._tables)
