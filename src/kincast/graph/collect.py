"""Collect: old versions are removed, never the current one, one that is kept, or one that is being read."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kincast.atomic import storage_errors
from kincast.graph.hold import alone
from kincast.graph.open import SnapshotInfo, list_snapshots
from kincast.graph.publish import REMOVED, root_lock
from kincast.graph.verify import STAMP, stamp_path


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of the versions.

    Attributes:
        removed: those that were removed, or would be.
        kept: id → why it was kept, for all others.
        freed_bytes: size of those removed.
    """

    removed: tuple[str, ...]
    kept: dict[str, str]
    freed_bytes: int


def collect(root: Path, keep: int, needed: Collection[str] = (), dry_run: bool = False) -> Collected:
    """Remove versions; builders wait meanwhile, readers of other versions notice nothing.

    A version is renamed in one step and then deleted; what a crash leaves of it goes with the next build or collection.

    Args:
        root: folder of all versions.
        keep: how many of the newest to keep, beside the current one.
        needed: ids to keep besides, such as those that model versions were trained on.
        dry_run: only say what would be done.

    Raises:
        StorageError: the disk refused.
    """
    with storage_errors(root), root_lock(root):
        infos = list_snapshots(root)
        newest = {info.id for info in infos[max(len(infos) - keep, 0) :]} if keep else set()
        removed: list[SnapshotInfo] = []
        kept: dict[str, str] = {}
        for info in infos:
            why = _reason(info, newest, needed)
            if why is None and not _remove(root, info.id, dry_run):
                why = "it is being read"
            if why is None:
                removed.append(info)
            else:
                kept[info.id] = why
        if not dry_run:
            for path in root.glob(f"{STAMP}*"):
                if not (root / path.name.removeprefix(STAMP)).is_dir():
                    path.unlink(missing_ok=True)
    return Collected(tuple(info.id for info in removed), kept, sum(info.size_bytes for info in removed))


def _reason(info: SnapshotInfo, newest: Collection[str], needed: Collection[str]) -> str | None:
    if info.is_current:
        return "it is the current one"
    if info.id in needed:
        return "a model version was trained on it"
    return "it is among the newest" if info.id in newest else None


def _remove(root: Path, id: str, dry_run: bool) -> bool:
    """False when somebody reads it."""
    folder, aside = root / id, root / f"{REMOVED}{id}"
    with alone(folder) as free:
        if free and not dry_run:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            shutil.rmtree(aside)
            stamp_path(folder).unlink(missing_ok=True)
        return free
