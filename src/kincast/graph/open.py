"""Open: snapshots that are there: the current one, one by id, all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kincast.errors import SnapshotError
from kincast.graph.history import is_id, read_current
from kincast.graph.hold import Hold
from kincast.graph.manifest import MANIFEST_FILE, check_hashes, check_sizes, read_manifest
from kincast.graph.snapshot import Snapshot
from kincast.graph.verify import check_once


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One version in a folder of versions.

    Attributes:
        id: 16 hexadecimal digits.
        created_us: when its manifest was written, microseconds UTC.
        num_rows: of all tables.
        num_edges: of all links.
        size_bytes: of all files.
        is_current: True for the version that opens by default.
        problem: what is wrong with it; None when its files have the right lengths.
    """

    id: str
    created_us: int
    num_rows: int
    num_edges: int
    size_bytes: int
    is_current: bool
    problem: str | None = None


def open_snapshot(root: Path, id: str | None = None, verify: bool | None = None) -> Snapshot:
    """Open a version for reading; while the object lives the version is not removed.

    Args:
        root: folder of all versions.
        id: which one; the current one when None.
        verify: whether to read every file and hold it against its hash: always, never (only lengths are checked), or,
            by default, when a file was written or replaced since that was last done, at least once a day.

    Raises:
        SnapshotError: there is none, or a file of it is missing, damaged or of another format.
    """
    name = read_current(root) if id is None else id
    folder = root / name
    if not is_id(name) or not folder.is_dir():
        if id is None and is_id(name) and read_current(root) != name:
            return open_snapshot(root, verify=verify)  # another became current and this one was removed meanwhile
        names = ", ".join(info.id for info in list_snapshots(root)) or "none; run: kincast build"
        raise SnapshotError(f"there is no snapshot {name}", where=str(root), hint=f"there are {names}")
    hold = Hold(folder)
    manifest = read_manifest(folder)
    if manifest.id != name:
        raise SnapshotError(f"holds snapshot {manifest.id}", where=str(folder), hint="run: kincast build")
    check = check_once if verify is None else check_hashes if verify else check_sizes
    check(folder, manifest)
    return Snapshot(folder, manifest, hold)


def list_snapshots(root: Path) -> list[SnapshotInfo]:
    """All versions in a folder, oldest first; damaged ones carry their problem."""
    try:
        current = read_current(root)
    except SnapshotError:
        current = ""
    folders = [path for path in root.glob("*") if is_id(path.name) and path.is_dir()]
    infos = [_info(folder, folder.name == current) for folder in folders]
    return sorted(infos, key=lambda info: (info.created_us, info.id))


def _info(folder: Path, is_current: bool) -> SnapshotInfo:
    path = folder / MANIFEST_FILE
    created_us = path.stat().st_mtime_ns // 1000 if path.exists() else 0
    try:
        manifest = read_manifest(folder)
        check_sizes(folder, manifest)
    except SnapshotError as error:
        return SnapshotInfo(folder.name, created_us, 0, 0, 0, is_current, str(error))
    num_rows, num_edges = sum(manifest.num_rows.values()), sum(manifest.num_edges.values())
    return SnapshotInfo(folder.name, created_us, num_rows, num_edges, manifest.size_bytes, is_current)
