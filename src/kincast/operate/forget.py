"""Forget: a row leaves everything that Kincast made from it: log, snapshots, encoded features, published stores."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kincast.atomic import storage_errors
from kincast.errors import StorageError
from kincast.graph.forget import forget_row
from kincast.progress import Progress, silent
from kincast.project import Project
from kincast.store.rows import open_store


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was done.

    Attributes:
        snapshot: id of the version without the row.
        num_features: folders of encoded features that were removed; they are made again when needed.
        stores: published predictions and embeddings that were removed, because they may have the row's key.
    """

    snapshot: str
    num_features: int
    stores: tuple[str, ...]


def forget(project: Project, table: str, key: Any, progress: Progress = silent) -> Forgotten:
    """Remove a row for good, and everything made from versions that had it.

    The database itself is not touched, and a build reads from there: the row has to go from it first.

    Args:
        project: its folders.
        table: whose row it is.
        key: a scalar, or a tuple for a composite key.
        progress: told about each step.

    Raises:
        KeyNotFoundError: no row has that key.
        DataError: the table has no key.
        StorageError: another process writes to the log, or the disk refused.
    """
    snapshot = forget_row(project.snapshots, table, key, progress)
    names = snapshot.schema.table(table).key
    features = [path for path in _folders(project.work / "features") if not path.name.startswith(snapshot.id)]
    stores = [path for path in _folders(project.store) if _may_have(path, names)]
    for path in (*features, *stores):
        with storage_errors(path):
            shutil.rmtree(path)
    return Forgotten(snapshot.id, len(features), tuple(sorted(path.name for path in stores)))


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def _may_have(folder: Path, names: tuple[str, ...]) -> bool:
    """True when a store's rows have such keys, or it cannot be read."""
    try:
        return open_store(folder.parent, folder.name, verify=False).key_names == names
    except StorageError:
        return True
