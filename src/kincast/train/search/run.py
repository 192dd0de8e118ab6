"""Run: try the plans of a search one after another, and keep the one that is best on the validation period."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kincast import __version__
from kincast.errors import DataError, ProjectError, TrainError
from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent
from kincast.project import FeatureSettings, TaskSettings
from kincast.query.task import TaskKind
from kincast.sample.edge import edge_types
from kincast.sample.strategy import link_samplings, plan_of
from kincast.train.loop import Fit
from kincast.train.metric import is_error
from kincast.train.prepare import Prepared, examples, new_loader, new_network, settled
from kincast.train.search.plan import ModelPlan
from kincast.train.search.propose import num_plans, propose
from kincast.train.search.record import Record
from kincast.train.search.resolve import fixed_plan, resolve
from kincast.train.search.share import Shared
from kincast.train.search.trial import State, Trial, best_of, front_of, is_hopeless

LEAST_BATCH = 16  # seeds; with fewer, memory is short for another reason
TIMED_ROWS = 1_024
TIMED_PASSES = 3
Train = Callable[[Prepared, TaskSettings, Callable[[Fit], bool], bool, Progress], Fit]
"""(prepared, settings, whether to stop after the epochs so far, whether to resume, progress) → what training found."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        settings: of the best trial, with numbers for everything.
        prepared: what it was trained on.
        fit: its weights.
        plan: the same as a plan of one value each, which gives the same weights again.
        trials: all of them.
        metric: of the validation period, which selected it.
    """

    settings: TaskSettings
    prepared: Prepared
    fit: Fit
    plan: ModelPlan
    trials: tuple[Trial, ...]
    metric: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values for the version."""
        wrong = is_error(self.metric)
        best = best_of(self.trials, is_error=wrong)
        return {
            "metric": self.metric,
            "best": best.number if best else None,
            "front": front_of(self.trials, is_error=wrong),
            "trials": [trial.as_dict() for trial in self.trials],
        }


class Search:
    """A search that goes on where its record ends.

    Args:
        plan: what is tried.
        shared: what all trials have in common.
        train: trains one.
        folder: where the record lies.
        budget_s: no epoch begins when the trials have taken so many seconds; None for no end.
    """

    def __init__(
        self, plan: ModelPlan, shared: Shared, train: Train, folder: Path, budget_s: float | None = None
    ) -> None:
        self.plan, self.shared, self.train, self.budget_s = plan, shared, train, budget_s
        self.space = plan.space()
        self.metric = shared.prepared.judge.of_epochs
        self.is_error = is_error(self.metric)
        self.num_trials = min(plan.training_job.num_experiments, num_plans(self.space))
        self.is_alone = self.num_trials == 1
        self.seed = self._settings({})[0].train.seed
        self.record = Record(folder, _key(plan, shared))
        self.trials: list[Trial] = []
        self.began = 0.0  # on the monotonic clock, as if what was resumed had just been tried
        self.stopped: State | None = None

    def run(self, *, resume: bool = False, progress: Progress = silent) -> Found:
        """Try plans until there were enough or the time is over.

        Args:
            resume: go on with the record of the same search.
            progress: told what is done.

        Raises:
            ProjectError: a value of the plan does not suit the task.
            TrainError: no trial gave a model.
            StorageError: the disk refused.
        """
        self._check()
        if not resume:
            self.record.remove()
        self.trials = self.record.read()
        best = best_of(self.trials, is_error=self.is_error)
        fit = self.record.fit(best) if best else None
        if best and fit is None:
            self.trials, best = [], None
        self.began = time.monotonic() - sum(trial.seconds for trial in self.trials)
        while len(self.trials) < self.num_trials and not (self.trials and self._is_over()):
            places = propose(self.space, self.trials, self.seed, is_error=self.is_error)
            trial, found = self._try(places, resume, progress)
            self.trials.append(trial)
            best = best_of(self.trials, is_error=self.is_error)
            fit = found if best is trial else fit
            self.record.add(self.trials, best, fit)
        if best is None or fit is None:
            notes = "; ".join(dict.fromkeys(trial.note for trial in self.trials if trial.note))
            raise TrainError(f"none of {len(self.trials)} trials gave a model: {notes}", hint="change the plan")
        return self._found(best, fit)

    def _found(self, best: Trial, fit: Fit) -> Found:
        settings, features = self._settings(best.places)
        stop = len(best.epochs) if best.state == "stopped" else settings.train.stop_after
        settings = _with_train(settings, batch_size=best.batch_size, stop_after=stop)
        prepared = self.shared.of(settings, features)
        settings = settled(settings, self.shared.snapshot, prepared)
        plan = fixed_plan(settings, features, self.plan)
        return Found(settings, prepared, fit, plan, tuple(self.trials), self.metric)

    def _check(self) -> None:
        """Refuse what could only fail hours later: values that the task cannot have."""
        edges = edge_types(self.shared.snapshot.schema)
        for name, values in self.space.items():
            for place in range(len(values)):
                settings, features = self._settings({name: place})
                if name.startswith("optimization."):
                    self.shared.objective(settings)
                if name == "optimization.start_from":
                    self.shared.start(settings, features)
                model = settled(settings, self.shared.snapshot, self.shared.prepared).model
                link_samplings(edges, *plan_of(model))

    def _settings(self, places: Mapping[str, int]) -> tuple[TaskSettings, FeatureSettings]:
        return resolve(self.plan, places, self.shared.settings, self.shared.project.features)

    def _try(self, places: dict[str, int], resume: bool, progress: Progress) -> tuple[Trial, Fit | None]:
        """Train with the values at those places; batches are halved as long as memory does not suffice."""
        began, note = time.monotonic(), ""
        values = {name: self.space[name][place] for name, place in places.items()}
        trial = Trial(len(self.trials) + 1, places, values, "failed")
        try:
            settings, features = self._settings(places)
        except ProjectError as error:  # each value is sound, but not all of them together
            return replace(trial, note=error.what), None
        if not self.is_alone:
            progress = _prefixed(progress, f"trial {trial.number} of {self.num_trials}")
        fit: Fit | None = None
        while fit is None:
            size, self.stopped = settings.train.batch_size, None
            try:
                fit, latency = self._train(settings, features, resume, progress)
                continue
            except (TrainError, DataError) as error:
                if self.is_alone:
                    raise
                note, is_last = error.what, True
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                note, is_last = f"out of memory with batches of {size}", size < 2 * LEAST_BATCH
                if is_last and self.is_alone:
                    raise TrainError(note, hint="lower model.channels or model.fanout") from None
            if is_last:
                return replace(trial, batch_size=size, note=note, seconds=_since(began)), None
            settings = _with_train(settings, batch_size=size // 2)
            gc.collect()  # what the failed attempt held
        epochs = tuple(epoch[self.metric] for epoch in fit.epochs)
        best = epochs[fit.best_epoch - 1]
        metric, state = best if math.isfinite(best) else None, self.stopped or "complete"
        more: dict[str, Any] = {"state": state, "metric": metric, "best_epoch": fit.best_epoch, "epochs": epochs}
        return replace(trial, **more, batch_size=size, row_us=latency, note=note, seconds=_since(began)), fit

    def _train(
        self, settings: TaskSettings, features: FeatureSettings, resume: bool, progress: Progress
    ) -> tuple[Fit, float | None]:
        """Weights, and microseconds of a prediction where there are others to hold them against."""
        prepared = self.shared.of(settings, features, progress)
        settings = settled(settings, self.shared.snapshot, prepared)
        fit = self.train(prepared, settings, self._has_to_stop, resume, progress)
        timed = not self.is_alone and prepared.task.kind is not TaskKind.KNOWLEDGE
        return fit, row_us(self.shared.snapshot, prepared, settings, fit) if timed else None

    def _has_to_stop(self, fit: Fit) -> bool:
        """True when the trial in hand is given up or the time is over."""
        own = [epoch[self.metric] for epoch in fit.epochs]
        others = [trial.epochs for trial in self.trials if trial.state == "complete"]
        if is_hopeless(own, others, self.plan.training_job.pruning, is_error=self.is_error):
            self.stopped = "pruned"
        elif self._is_over():
            self.stopped = "stopped"
        return self.stopped is not None

    def _is_over(self) -> bool:
        return self.budget_s is not None and time.monotonic() - self.began >= self.budget_s


def is_out_of_memory(error: BaseException) -> bool:
    """True when an error says that memory did not suffice, whoever was asked for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def row_us(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings, fit: Fit) -> float:
    """Microseconds of one prediction within a batch of validation rows, from rows of the snapshot to scores.

    The fastest of a few passes, since whatever else the machine does only adds to it.
    """
    network = new_network(snapshot, prepared, settings)
    network.load_state_dict(fit.weights)
    loader = new_loader(snapshot, prepared, settings, 1)
    seeds = examples(prepared.labels.of(1)).seeds
    seeds = seeds.take(np.arange(min(len(seeds), TIMED_ROWS)))
    seconds = []
    for _ in range(TIMED_PASSES):
        began = time.perf_counter()
        loader.score(network, prepared.objective, seeds)
        seconds.append(time.perf_counter() - began)
    return round(1e6 * min(seconds) / max(len(seeds), 1), 1)


def _with_train(settings: TaskSettings, **changes: Any) -> TaskSettings:
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda step, done, total: progress(f"{prefix}, {step}", done, total)


def _key(plan: ModelPlan, shared: Shared) -> str:
    settings, features = shared.settings.model_dump_json(), shared.project.features.model_dump_json()
    text = replace(plan, reasons={}).to_yaml()
    parts = [text, settings, features, shared.snapshot.id, shared.prepared.features.spec.digest, __version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
