"""Online: a trained version over a snapshot, answering for single rows at any instant."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from kincast.clock import add, format_instant
from kincast.errors import DataError, KeyNotFoundError, ProjectError, VersionError
from kincast.feature.live import LiveFeatures
from kincast.feature.spec import FeatureSpec
from kincast.feature.store import FeatureStore, Readahead, open_features
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.aggregate import Aggregator
from kincast.model.blend import Blend
from kincast.model.build import build_network, items_of, past_of
from kincast.model.certainty import Bounds, Certainty, checked_coverage
from kincast.model.history import HistorySpec, LabelHistory, make_history
from kincast.model.inputs import Inputs
from kincast.model.joint import JointObjective, read_objective
from kincast.model.network import load_weights
from kincast.model.ranked import Ranked
from kincast.model.score import InputLoader, Scored, Spreads
from kincast.model.threads import limit_threads
from kincast.predict.answer import Part, Predictions
from kincast.predict.meant import Meant, meant
from kincast.predict.reason import Why
from kincast.predict.why import TOP, explain, explainer_of
from kincast.progress import Progress, silent
from kincast.project import ModelSettings, PredictSettings, SplitSettings
from kincast.query.compile import compile_task
from kincast.query.labels import prediction_seeds
from kincast.query.past import step_edges
from kincast.query.task import Task, TaskKind, top_of
from kincast.registry.version import Version, VersionInfo
from kincast.sample.batch import Seeds

USUAL_ROWS, USUAL_BATCH = 256, 32
"""Rows of the entity table whose neighbourhoods say what an average row is, and how many are read at once."""


class Predictor:  # over budget: every way to ask a version, which share one state
    """A version ready to answer; safe to call from several threads.

    Attributes:
        version: the trained version.
        snapshot: the rows it answers from.
        task: its checked query.
    """

    def __init__(self, version: Version, snapshot: Snapshot, features: FeatureStore) -> None:
        limit_threads()
        self.version = version
        self.snapshot: Snapshot | LiveSnapshot = snapshot
        self.task: Task = compile_task(version.info.query, snapshot.schema)
        model = ModelSettings.model_validate(version.info.settings["model"])
        self.objective = read_objective(version.features["objective"])
        keys = [tuple(key) if isinstance(key, list) else key for key in version.features.get("items", ())]
        history = version.features.get("history")
        self._history = None if history is None else HistorySpec.from_dict(history)
        try:
            self.network = build_network(self.task, features.spec, model, self.objective, len(keys), self._history)
        except ProjectError as error:  # a module of the user's
            raise VersionError(error.what, where=str(version.folder), hint=error.hint) from error
        try:
            load_weights(self.network, version.weights())
        except RuntimeError as error:
            what = f"the weights do not fit the network: {str(error).splitlines()[-1].strip()}"
            hint = "Kincast, or the class in model.module, has changed since; put the old one back, or train again"
            raise VersionError(what, where=str(version.folder), hint=hint) from error
        self.network.eval()
        seed = int(version.info.settings["train"]["seed"])
        strict = version.info.settings.get("ties") == "strict"  # versions from before the setting have none
        items = None
        if self.task.item_table is not None:
            seen = snapshot.rows_of(self.task.item_table, keys)
            top = top_of(self.task)
            items = items_of(self.task, snapshot, features, seen, strict, top, repeats=model.repeats)
        past = past_of(self.task, snapshot, model, strict)
        self.loader = InputLoader(snapshot, features, model, seed, strict=strict, past=past, items=items)
        self.features = features
        blend = version.features["blend"]
        self.blend = None if blend is None else Blend.from_dict(self.task.kind, blend)
        self._known: LabelHistory | None = None
        self._aggregator = self._new_aggregator(snapshot, features)
        self.certainty = Certainty.from_dict(version.features["certainty"])
        self.coverage = PredictSettings.model_validate(version.info.settings["predict"]).coverage
        self._lock = threading.Lock()
        self._know(self.default_as_of())
        parts = (self.network, self.objective, self.task, features.spec, self._history, self.loader)
        self.explainer = explainer_of(*parts, self._usual)
        self.freeze_us = SplitSettings.model_validate(version.info.settings["split"]).freeze_us

    @staticmethod
    def load(
        version: Version,
        snapshot: Snapshot,
        features_root: Path,
        progress: Progress = silent,
        *,
        readahead: Readahead = "auto",
    ) -> Predictor:
        """Open a version over a snapshot of the same schema.

        Args:
            version: the trained version.
            snapshot: the rows to answer from; newer than the training snapshot is fine.
            features_root: folder of encoded features; encoded there first where that has not been done.
            progress: told while features are encoded.
            readahead: as ``open_features`` takes it.

        Raises:
            VersionError: the snapshot has another schema than the version.
        """
        if version.info.schema.digest != snapshot.schema.digest:
            raise VersionError(
                f"version {version.info.id} was trained on another schema than snapshot {snapshot.id} has",
                where=str(version.folder),
                hint="train again on the new schema",
            )
        if version.info.kind == TaskKind.KNOWLEDGE:
            from kincast.predict.triple import TriplePredictor

            return TriplePredictor(version, snapshot)
        spec = FeatureSpec.from_dict(version.features["spec"])
        return Predictor(version, snapshot, open_features(snapshot, spec, features_root, progress, readahead=readahead))

    def over(self, view: LiveSnapshot, features: LiveFeatures) -> Predictor:
        """The same version over a live view of the same schema, with its features encoded.

        Raises:
            ProjectError: what it reads beside the graph is computed from a snapshot alone.
        """
        if self.loader.past is not None or self.loader.items is not None:
            what = "past values" if self.loader.past is not None else "the demand of items"
            raise ProjectError(f"{what} are counted in a snapshot only", hint="compact live rows: kincast compact")
        other = copy.copy(self)
        other.snapshot = view
        other.loader = self.loader.over(view, features)
        other._aggregator = other._new_aggregator(view, features)
        return other

    @property
    def info(self) -> VersionInfo:
        """What is known of the version."""
        return self.version.info

    def default_as_of(self) -> int:
        """The latest instant that the facts of the target tables reach."""
        tables = self.task.fact_tables or (self.task.entity,)
        return max(self.snapshot.latest_us(name) for name in tables) or self.snapshot.max_time_us

    def instants_of(self, rows: NDArray[np.int64], as_of_us: int | None) -> NDArray[np.int64]:
        """[n] int64 as-of instant of each row: the one asked for; without one, that of the training.

        A column of a row is learnt as of the row's own time, so it is predicted as of that time too: later facts, and
        rows that have grown old, are nothing the model has ever seen.
        """
        time_us = self.snapshot.tables[self.task.entity].time_us
        if as_of_us is None and self.task.is_static and time_us is not None:
            return np.asarray(time_us[rows], dtype=np.int64)
        return np.full(len(rows), self.default_as_of() if as_of_us is None else as_of_us, np.int64)

    def predict(self, keys: Sequence[Any], as_of_us: int | None = None, coverage: float | None = None) -> Predictions:
        """Scores of the rows with those keys.

        Args:
            keys: scalars, or tuples for composite keys.
            as_of_us: the instant; when None, ``default_as_of``, or each row's own time for a static target.
            coverage: share of intervals and sets that are to hold the truth; when None, that of the version's
                settings, which may be none.

        Raises:
            KeyNotFoundError: a key that no row has, or whose row does not exist at the instant.
        """
        rows = self.rows_at(keys, as_of_us)
        return self.predict_rows(rows, self.instants_of(rows, as_of_us), coverage=coverage)

    def embed(self, keys: Sequence[Any], as_of_us: int | None = None) -> NDArray[np.float32]:
        """Embeddings [n, channels] of the rows with those keys; arguments and errors as ``predict``."""
        rows = self.rows_at(keys, as_of_us)
        return self.answer_rows(rows, self.instants_of(rows, as_of_us))[1]

    def predict_rows(
        self,
        rows: NDArray[np.int64],
        instants: NDArray[np.int64],
        progress: Progress = silent,
        coverage: float | None = None,
    ) -> Predictions:
        """Scores of snapshot rows [n] of the entity table, each as of its instant [n]."""
        return self.answer_rows(rows, instants, progress, coverage)[0]

    def answer_rows(
        self,
        rows: NDArray[np.int64],
        instants: NDArray[np.int64],
        progress: Progress = silent,
        coverage: float | None = None,
    ) -> tuple[Predictions, NDArray[np.float32]]:
        """Predictions and embeddings [n, channels] of snapshot rows [n] of the entity table, each as of its instant."""
        coverage = self.coverage if coverage is None else checked_coverage(coverage)
        scores, spreads, embeddings = self.score_seeds(self.seeds_of(rows, instants), progress)
        bounds = () if coverage is None else self.certainty.bounds(scores, spreads, coverage)
        return self.as_predictions(rows, instants, scores, bounds), embeddings

    def as_predictions(
        self,
        rows: NDArray[np.int64],
        instants: NDArray[np.int64],
        scores: Scored,
        bounds: tuple[Bounds, ...] = (),
    ) -> Predictions:
        """Scores of rows, with their intervals and sets, by the user's own keys."""
        task = self.task
        latest = int(instants.max()) if len(instants) else self.default_as_of()
        item_keys = None
        if isinstance(scores, Ranked) and task.item_table is not None:
            item_keys = self.snapshot.keys_of(task.item_table, scores.items[scores.items >= 0])
        parts: tuple[Part, ...] = ()
        if isinstance(self.objective, JointObjective):
            parts = tuple(Part(part.name, part.kind, part.classes) for part in self.objective.parts)
        return Predictions(
            self.keys_of(rows),
            instants,
            latest,
            scores,
            self.info.classes,
            task.kind,
            top_of(task),
            step_edges(task, instants),
            item_keys,
            parts,
            bounds,
        )

    def seeds_of(self, rows: NDArray[np.int64], instants: NDArray[np.int64]) -> Seeds:
        """Rows [n] of the entity table, each as of its instant [n], seeing what the settings let it see."""
        visible = None if self.freeze_us is None else np.minimum(instants, self.freeze_us)
        return Seeds(self.task.entity, rows, instants, visible)

    def score_seeds(self, seeds: Seeds, progress: Progress = silent) -> tuple[Scored, Spreads, NDArray[np.float32]]:
        """Calibrated scores, spreads and embeddings of seeds: the one way from rows to what is said of them."""
        raw, spreads, embeddings = self.raw_scores(seeds, progress)
        return self.certainty.calibrated(raw), spreads, embeddings

    def raw_scores(self, seeds: Seeds, progress: Progress = silent) -> tuple[Scored, Spreads, NDArray[np.float32]]:
        """The same before calibration."""
        loader, aggregator = self._know(int(seeds.visible.max(initial=0)))
        with torch.inference_mode():
            scores, spreads, embeddings = loader.answer(self.network, self.objective, seeds, progress)
        if self.blend is not None and aggregator is not None:
            assert isinstance(scores, np.ndarray)
            parts, done = [scores[:0]], 0
            for values in aggregator.parts(seeds, loader.num_threads, progress):
                parts.append(self.blend.scores(scores[done : done + len(values)], values))
                done += len(values)
            scores = np.concatenate(parts)
        return scores, spreads, embeddings

    def score_rows(
        self, rows: NDArray[np.int64], instants: NDArray[np.int64], progress: Progress = silent
    ) -> tuple[Scored, NDArray[np.float32]]:
        """Scores and embeddings of snapshot rows [n] of the entity table, each as of its instant [n]."""
        scores, _, embeddings = self.score_seeds(self.seeds_of(rows, instants), progress)
        return scores, embeddings

    def loader_of(self, seeds: Seeds) -> InputLoader:
        """What reads the neighbourhoods of seeds, with all past labels that they may know."""
        return self._know(int(seeds.visible.max(initial=0)))[0]

    def why(
        self,
        keys: Sequence[Any],
        as_of_us: int | None = None,
        *,
        of: Any = None,
        target: str | None = None,
        top: int = TOP,
    ) -> list[Why]:
        """What moved the predictions of the rows with those keys: linked rows, links and columns, and by how much.

        Args:
            keys: as of ``predict``.
            as_of_us: as of ``predict``.
            of: which number of a prediction: a class or label by its name, a step by its number from 1, an item by
                its key; when None, the likeliest class or label, the sum of all steps, or the best item.
            target: one of several by its text; the first when None.
            top: how many reasons of each sort.

        Raises:
            KeyNotFoundError: as ``predict``.
            ProjectError: there is no such class, label, step, item or target.
        """
        rows = self.rows_at(keys, as_of_us)
        seeds = self.seeds_of(rows, self.instants_of(rows, as_of_us))
        loader = self.loader_of(seeds)
        scored, _ = loader.score(self.network, self.objective, seeds)
        return explain(self.explainer, loader, seeds, self.meant_by(scored, of=of, target=target), top)

    def meant_by(self, scored: Scored, *, of: Any = None, target: str | None = None) -> Meant:
        """Which number of each of the rows that were scored is explained; arguments as of ``why``."""
        said = (self.task, self.snapshot, self.objective, self.info.classes, scored)
        found = meant(*said, of=of, target=target)
        alone = self.blend is None and all(one.method == "none" for one in self.certainty.calibrations)
        return found if alone else replace(found, noun=f"{found.noun} by the network alone")

    def _usual(self) -> Iterator[Inputs]:
        """What is read of some rows of the entity table at the end of the training period."""
        entity, until_us = self.snapshot.tables[self.task.entity], self.features.spec.until_us
        rows = np.arange(entity.num_rows)
        if entity.time_us is not None:
            rows = np.flatnonzero(np.asarray(entity.time_us[rows]) <= until_us)
        if entity.end_us is not None:
            rows = rows[np.asarray(entity.end_us[rows]) > until_us]
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), USUAL_ROWS)).astype(np.int64))]
        instants = self.instants_of(rows, None if self.task.is_static else until_us)
        seeds = self.seeds_of(rows, instants)
        yield from self.loader_of(seeds).batches(seeds, USUAL_BATCH)

    def _know(self, until_us: int) -> tuple[InputLoader, Aggregator | None]:
        """What reads all past labels that are known by an instant; made anew when there are more of them."""
        spec = self._history
        if spec is None or isinstance(self.snapshot, LiveSnapshot):
            return self.loader, self._aggregator
        # A window that began after the last fact is no label; without this bound a far instant would ask for thousands.
        until_us = min(until_us, add(self.default_as_of(), spec.end))
        with self._lock:
            if self._known is None or spec.later(self._known.until_us, until_us):
                self._known = make_history(self.task, self.snapshot, spec, until_us, self.features.spec.storage)
                self.loader = self.loader.knowing(self._known)
                self._aggregator = self._new_aggregator(self.snapshot, self.features)
            return self.loader, self._aggregator

    def _new_aggregator(
        self, snapshot: Snapshot | LiveSnapshot, features: FeatureStore | LiveFeatures
    ) -> Aggregator | None:
        """What makes the aggregates that a blend reads."""
        if self.blend is None:
            return None
        return Aggregator(snapshot, features, self.blend.aggregates, self._known, strict=self.loader.strict)

    def entity_rows(self, as_of_us: int | None) -> tuple[NDArray[np.int64], int]:
        """All rows of a snapshot that the query asks about at an instant, and the instant.

        Raises:
            DataError: the rows are live ones, which a query cannot be asked of.
        """
        if isinstance(self.snapshot, LiveSnapshot):
            hint = "compact them into a snapshot first: kincast compact"
            raise DataError("live rows are predicted by their keys only", where=self.task.entity, hint=hint)
        with self.snapshot.open_tables() as tables:
            return prediction_seeds(self.task, tables, as_of_us)

    def keys_of(self, rows: NDArray[np.int64]) -> pa.Table:
        """The user's keys of rows [n] of the entity table."""
        return self.snapshot.keys_of(self.task.entity, rows)

    def rows_at(self, keys: Sequence[Any], as_of_us: int | None) -> NDArray[np.int64]:
        """[n] int64 snapshot rows of those keys, existing at their instants; arguments and errors as ``predict``."""
        entity = self.snapshot.tables[self.task.entity]
        rows = self.snapshot.rows_of(self.task.entity, keys)
        absent = rows < 0
        reason = "have no row"
        if len(rows) and not absent.any():
            instants = self.instants_of(rows, as_of_us)
            rows = self.snapshot.versions_at(self.task.entity, rows, instants)
            absent = rows < 0
            if entity.time_us is not None:
                absent |= entity.time_us[rows] > instants
            if entity.end_us is not None:
                absent |= entity.end_us[rows] <= instants
            reason = f"do not exist as of {format_instant(int(instants.max()))}"
        if absent.any():
            missing = [keys[place] for place in np.flatnonzero(absent).tolist()]
            samples = ", ".join(map(str, missing[:3]))
            what = f"{len(missing)} of {len(keys)} keys {reason}: {samples}"
            raise KeyNotFoundError(what, where=self.task.entity, keys=missing)
        return rows
