"""Collect: old versions are removed, never the current one, one that is kept, or one that is being read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from kincast.atomic import storage_errors
from kincast.graph.hold import alone
from kincast.graph.open import SnapshotInfo, list_snapshots
from kincast.graph.publish import REMOVED, root_lock, take_over
from kincast.graph.verify import STAMP, stamp_path

Needed = Callable[[], Collection[str]]


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


def collect(root: Path, keep: int, needed: Needed = frozenset, dry_run: bool = False) -> Collected:
    """Remove versions; builders wait meanwhile, readers of other versions notice nothing.

    A version is renamed in one step and then deleted; what a crash leaves of it goes with the next build or collection.

    Args:
        root: folder of all versions.
        keep: how many of the newest to keep, beside the current one.
        needed: gives the ids to keep besides, such as those that model versions were trained on. It is asked again
            once nobody reads a version any more: whoever did may have made it needed.
        dry_run: only say what would be done.

    Raises:
        StorageError: the disk refused.
    """
    if not root.is_dir():
        return Collected((), {}, 0)
    with storage_errors(root), root_lock(root):
        infos = list_snapshots(root)
        newest = {info.id for info in infos[max(len(infos) - keep, 0) :]} if keep else set()
        removed: list[SnapshotInfo] = []
        kept: dict[str, str] = {}
        for info in infos:
            why = _reason(info, newest) or _remove(root, info.id, needed, dry_run)
            if why is None:
                removed.append(info)
            else:
                kept[info.id] = why
        if not dry_run:
            _clear(root)
    return Collected(tuple(info.id for info in removed), kept, sum(info.size_bytes for info in removed))


def remove_others(root: Path, id: str) -> None:
    """Remove every version but one, even one that is read or that a model was trained on, and what killed builds left.

    Raises:
        StorageError: the disk refused.
    """
    with storage_errors(root), root_lock(root):
        for info in list_snapshots(root):
            if info.id != id:
                (root / info.id).rename(root / f"{REMOVED}{info.id}")
        take_over(root)
        _clear(root)


def _clear(root: Path) -> None:
    """Delete versions that were moved aside, and the stamps of versions that are gone."""
    for left in root.glob(f"{REMOVED}*"):
        shutil.rmtree(left, ignore_errors=True)
    for path in root.glob(f"{STAMP}*"):
        if not (root / path.name.removeprefix(STAMP)).is_dir():
            path.unlink(missing_ok=True)


def _reason(info: SnapshotInfo, newest: Collection[str]) -> str | None:
    if info.is_current:
        return "it is the current one"
    return "it is among the newest" if info.id in newest else None


def _remove(root: Path, id: str, needed: Needed, dry_run: bool) -> str | None:
    """Why it was not removed after all; None when it was."""
    folder, aside = root / id, root / f"{REMOVED}{id}"
    with alone(folder) as free:
        if id in needed():
            return "a model version was trained on it"
        if not free:
            return "it is being read"
        if not dry_run:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            shutil.rmtree(aside)
            stamp_path(folder).unlink(missing_ok=True)
    return None
