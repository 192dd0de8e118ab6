"""Live prediction: a trained version over the newest view of a snapshot and its log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.errors import KincastError
from kincast.feature.live import LiveEncoder
from kincast.feature.store import Readahead
from kincast.graph.follow import INTERVAL_S, Live
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.predict.answer import Predictions
from kincast.predict.online import Predictor
from kincast.predict.reason import Why
from kincast.predict.why import TOP
from kincast.progress import Progress, silent
from kincast.registry.version import Version, VersionInfo


class LivePredictor:
    """Answers as ``Predictor`` does, from rows that were appended a moment ago; safe to call from several threads.

    Args:
        version: the trained version.
        root: folder of all versions of the snapshot, with the log beside them.
        features_root: folder of encoded features.
        progress: told while the features of a snapshot are encoded.
        readahead: as of ``open_features``.

    Raises:
        SnapshotError: there is no snapshot, or it or the log is damaged.
        VersionError: the snapshot has another schema than the version.
    """

    def __init__(
        self,
        version: Version,
        root: Path,
        features_root: Path,
        progress: Progress = silent,
        *,
        readahead: Readahead = "auto",
    ) -> None:
        self._version, self._features_root, self._progress = version, features_root, progress
        self._readahead: Readahead = readahead
        self._bases: list[tuple[Snapshot, Predictor, LiveEncoder]] = []  # in the order they were opened
        self._lock = threading.Lock()
        self._live = Live(root, self._prepare, self._load)

    @property
    def info(self) -> VersionInfo:
        """What is known of the version."""
        return self._version.info

    @property
    def snapshot(self) -> LiveSnapshot:
        """The view it answers from."""
        return self._live.view

    @property
    def problem(self) -> KincastError | None:
        """Why the view could not be renewed lately; None when it could."""
        return self._live.problem

    def default_as_of(self) -> int:
        """The latest instant that the facts of the target tables reach."""
        return self._now.default_as_of()

    def predict(self, keys: Sequence[Any], as_of_us: int | None = None, coverage: float | None = None) -> Predictions:
        """Scores of the rows with those keys; as ``Predictor.predict``."""
        return self._now.predict(keys, as_of_us, coverage)

    def embed(self, keys: Sequence[Any], as_of_us: int | None = None) -> NDArray[np.float32]:
        """Embeddings [n, channels] of the rows with those keys; as ``Predictor.embed``."""
        return self._now.embed(keys, as_of_us)

    def why(
        self,
        keys: Sequence[Any],
        as_of_us: int | None = None,
        *,
        of: Any = None,
        target: str | None = None,
        top: int = TOP,
    ) -> list[Why]:
        """What moved the predictions of the rows with those keys; as ``Predictor.why``."""
        return self._now.why(keys, as_of_us, of=of, target=target, top=top)

    def refresh(self) -> LiveSnapshot:
        """Take in what has come since."""
        return self._live.refresh()

    def start(self, interval_s: float = INTERVAL_S) -> None:
        """Renew the view in a thread, until ``stop``."""
        self._live.start(interval_s)

    def stop(self) -> None:
        """End the thread."""
        self._live.stop()

    def _load(self, base: Snapshot) -> None:
        """Make ready to answer from views of a snapshot, while those of the one before are still answered from."""
        progress, readahead = self._progress, self._readahead
        predictor = Predictor.load(self._version, base, self._features_root, progress, readahead=readahead)
        with self._lock:
            self._bases.append((base, predictor, LiveEncoder(predictor.features)))

    def _prepare(self, view: LiveSnapshot) -> None:
        """Make ready to answer from a view before anyone asks."""
        with self._lock:
            place = next(i for i, (base, _, _) in enumerate(self._bases) if base is view.base)
            del self._bases[:place]
            _, predictor, encoder = self._bases[0]
        self._now = predictor.over(view, encoder.encode(view))
