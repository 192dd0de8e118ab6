"""Place: where a question finds its rows: a project's snapshot, or one of any source in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from kincast.atomic import replace_text, storage_errors
from kincast.card import read_card, write_card
from kincast.errors import ProjectError, SnapshotError
from kincast.graph.build import build_snapshot
from kincast.graph.open import open_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent
from kincast.project import PROJECT_FILE, Project, read_project
from kincast.source.base import Fingerprinted, Source
from kincast.source.infer import infer_schema
from kincast.source.open import open_source, without_password

ORIGIN_FILE = "origin.json"


def place_of(where: Path | str, progress: Progress = silent, *, fresh: bool = False) -> Project:
    """The project in a folder, or else one without tasks for a source, in a folder of its own below the user's cache.

    The schema of a source is inferred. Its snapshot is made anew when its files have changed; of a server that cannot
    be told, so there only when asked for.

    Args:
        where: folder with kincast.yaml, or what ``kincast init`` takes.
        progress: told what is read.
        fresh: read the source again whatever is there.

    Raises:
        SourceError: there is nothing there, or it is of no known kind.
        StorageError: the disk refused.
    """
    if "://" not in str(where) and (Path(where) / PROJECT_FILE).is_file():
        return read_project(Path(where))
    source = open_source(str(where))
    url = str(where) if "://" in str(where) else str(Path(where).resolve())
    folder = cache_folder() / hashlib.sha256(without_password(url).encode()).hexdigest()[:16]
    project = Project(folder=folder, source=url)
    known = {"source": without_password(url), "files": _fingerprint(source)}
    if fresh or not project.card_path.is_file() or _origin(folder) != known:
        _read(source, project, progress)
        replace_text(folder / ORIGIN_FILE, json.dumps(known | {"read_us": time.time_ns() // 1_000}))
    return project


def snapshot_of(project: Project, progress: Progress = silent) -> Snapshot:
    """The current snapshot of a project, built where there is none.

    Raises:
        ProjectError: it has no schema card.
        SnapshotError: it has no snapshot, and one has to begin where its stream of changes does.
        SourceError: the source cannot be read.
    """
    if project.snapshots.is_dir():
        return open_snapshot(project.snapshots)
    if project.live is not None:
        raise SnapshotError("there is no snapshot yet", where=str(project.snapshots), hint="kincast build")
    if not project.card_path.exists():
        where, hint = str(project.card_path), f"kincast init {project.source}"
        raise ProjectError("there is no schema card", where=where, hint=hint)
    source = open_source(project.source, project.folder)
    return build_snapshot(source, read_card(project.card_path), project.snapshots, progress)


def read_at_us(project: Project) -> int | None:
    """When the source of a place in the cache was read, in microseconds; None of a project of the user's."""
    try:
        return int(json.loads((project.folder / ORIGIN_FILE).read_text(encoding="utf-8"))["read_us"])
    except (OSError, ValueError, KeyError):
        return None


def cache_folder() -> Path:
    """Where snapshots of sources without a project are kept: ``kincast`` below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "kincast"


def _read(source: Source, project: Project, progress: Progress) -> None:
    """Infer the schema and build the snapshot, in a folder that only its owner can look into."""
    with storage_errors(project.folder):
        project.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    inferred = infer_schema(source, progress)
    build_snapshot(source, inferred.schema, project.snapshots, progress)
    write_card(project.card_path, inferred.schema, inferred.evidence)


def _origin(folder: Path) -> dict[str, str | None] | None:
    """What the place was read from; None where that cannot be told."""
    try:
        values = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
        return {"source": values["source"], "files": values["files"]}
    except (OSError, ValueError, KeyError):
        return None


def _fingerprint(source: Source) -> str | None:
    return source.fingerprint() if isinstance(source, Fingerprinted) else None
