"""Live prediction: a trained version over the newest view of a snapshot and its log."""

from __future__ import annotations

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
from kincast.predict.answer import Predictions
from kincast.predict.online import Predictor
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
        self._base: Predictor | None = None
        self._live = Live(root, self._prepare)

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

    def predict(self, keys: Sequence[Any], as_of_us: int | None = None) -> Predictions:
        """Scores of the rows with those keys; as ``Predictor.predict``."""
        return self._now.predict(keys, as_of_us)

    def embed(self, keys: Sequence[Any], as_of_us: int | None = None) -> NDArray[np.float32]:
        """Embeddings [n, channels] of the rows with those keys; as ``Predictor.embed``."""
        return self._now.embed(keys, as_of_us)

    def refresh(self) -> LiveSnapshot:
        """Take in what has come since."""
        return self._live.refresh()

    def start(self, interval_s: float = INTERVAL_S) -> None:
        """Renew the view in a thread, until ``stop``."""
        self._live.start(interval_s)

    def stop(self) -> None:
        """End the thread."""
        self._live.stop()

    def _prepare(self, view: LiveSnapshot) -> None:
        """Make ready to answer from a view before anyone asks."""
        if self._base is None or self._base.snapshot.id != view.base.id:
            self._base = Predictor.load(
                self._version, view.base, self._features_root, self._progress, readahead=self._readahead
            )
            self._encoder = LiveEncoder(self._base.features)
        self._now = self._base.over(view, self._encoder.encode(view))
