"""Room: where the encoded features of questions lie: a few folders, of which the ones not used longest go first."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from kincast.atomic import PARTIAL
from kincast.feature.fit import fit_features
from kincast.feature.store import FeatureStore, open_features
from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent
from kincast.project import FeatureSettings
from kincast.query.task import Task

MAX_FOLDERS = 4
"""Questions of other instants need features of their own; so many are kept."""


def open_features_of(
    snapshot: Snapshot,
    task: Task,
    until_us: int,
    root: Path,
    settings: FeatureSettings | None = None,
    progress: Progress = silent,
) -> FeatureStore:
    """Encoded features with statistics of the rows by an instant, and room for them made first.

    Args:
        snapshot: the rows.
        task: whose hidden columns are left out.
        until_us: later rows are not looked at.
        root: folder of all encoded features of questions.
        settings: how columns become numbers.
        progress: told what is encoded.

    Raises:
        StorageError: the disk refused.
    """
    spec = fit_features(snapshot, until_us, task.hidden, settings)
    own = f"{snapshot.id}-{spec.digest}"
    if (root / own).is_dir():
        os.utime(root / own)
    elif root.is_dir():
        others = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(PARTIAL)]
        others.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in others[: max(len(others) - MAX_FOLDERS + 1, 0)]:
            shutil.rmtree(path, ignore_errors=True)  # whoever reads it has it mapped
    return open_features(snapshot, spec, root, progress)
