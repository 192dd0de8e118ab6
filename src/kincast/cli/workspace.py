"""Workspace: opens what a command needs: the project, its card, its rows, its snapshot, a version."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kincast.atomic import replace_text, scratch_folder
from kincast.errors import ProjectError, SnapshotError, VersionError
from kincast.progress import Progress, silent
from kincast.project import COMPACT_AFTER_ROWS, PROJECT_FILE, Project, TaskSettings, read_project

if TYPE_CHECKING:
    from kincast.graph.snapshot import Snapshot
    from kincast.query.task import Task
    from kincast.registry.registry import Registry
    from kincast.registry.version import Version
    from kincast.schema import Schema
    from kincast.source.base import Source
    from kincast.source.change import ChangeStream
    from kincast.source.tables import Tables

NOTES_FILE = "notes.json"
_LIVE_HINT = "add live: {stream: postgresql}, or pull, redis, nats, kafka"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A project folder, opened piece by piece as a command asks for the pieces."""

    project: Project

    @staticmethod
    def open(folder: Path) -> Workspace:
        """Read the project file.

        Raises:
            ProjectError: there is none, or it is wrong.
        """
        project = read_project(folder)
        if any(task.model.module for task in project.tasks.values()) and str(folder.resolve()) not in sys.path:
            sys.path.append(str(folder.resolve()))  # modules of the user's may lie beside kincast.yaml
        return Workspace(project)

    def schema(self) -> Schema:
        """The schema card."""
        from kincast.card import read_card

        path = self.project.card_path
        if not path.exists():
            raise ProjectError("there is no schema card", where=str(path), hint=f"kincast init {self.project.source}")
        return read_card(path)

    def source(self) -> Source:
        """The database."""
        from kincast.source.open import open_source

        return open_source(self.project.source, self.project.folder)

    def stream(self, schema: Schema) -> ChangeStream:
        """The stream of changes that the project follows.

        Raises:
            ProjectError: it follows none.
        """
        from kincast.source.stream import open_stream

        live = self.project.live
        if live is None:
            where = str(self.project.folder / PROJECT_FILE)
            raise ProjectError("says nothing of a stream of changes", where=where, hint=_LIVE_HINT)
        return open_stream(live, schema, self.project.source, self.project.folder)

    def snapshot(self, id: str | None = None) -> Snapshot:
        """A snapshot, the current one by default; every file written since it was last read whole is held to its hash.

        Raises:
            SnapshotError: none was built yet, or it is damaged.
        """
        from kincast.graph.open import open_snapshot

        if not self.project.snapshots.is_dir():
            where = str(self.project.snapshots)
            raise SnapshotError("there is no snapshot yet", where=where, hint="kincast build")
        return open_snapshot(self.project.snapshots, id)

    @contextlib.contextmanager
    def tables(self, progress: Progress = silent) -> Iterator[Tables]:
        """Cleaned rows: those of the current snapshot if the card has not changed since, else read afresh."""
        schema = self.schema()
        if self.project.snapshots.is_dir():
            snapshot = self.snapshot()
            if snapshot.schema == schema:
                with snapshot.open_tables() as tables:
                    yield tables
                return
        with self.fresh_tables(schema, progress) as tables:
            yield tables

    @property
    def compact_after_rows(self) -> int | None:
        """Changes beside the snapshot after which whoever takes them in compacts; None for never."""
        live = self.project.live
        return COMPACT_AFTER_ROWS if live is None else live.compact_after_rows

    @contextlib.contextmanager
    def fresh_tables(self, schema: Schema, progress: Progress = silent) -> Iterator[Tables]:
        """Rows read from the source now, into a folder that goes when the block ends."""
        from kincast.source.tables import stage

        with (
            scratch_folder(self.project.work) as folder,
            stage(self.source(), schema, folder / "tables", progress) as tables,
        ):
            yield tables

    def task(self, name: str | None) -> tuple[str, TaskSettings, Task]:
        """Name, settings and checked query of a task of the project."""
        from kincast.query.compile import compile_task

        name, settings = self.project.task(name)
        return name, settings, compile_task(settings.query, self.schema(), self.project.targets)

    def registry(self) -> Registry:
        """Runs, versions and aliases."""
        from kincast.registry.registry import Registry

        return Registry(self.project.tracking_url)

    def version(self, task: str, wanted: str | None = None) -> Version:
        """A model version: by id or alias; else the champion, else the newest of the task.

        Raises:
            VersionError: there is none.
        """
        from kincast.registry.registry import ALIASES
        from kincast.registry.version import load_version

        root = self.project.versions
        registry = self.registry()
        alias = next((name for name in ALIASES if name == (wanted or "champion")), None)
        if wanted is not None and alias is None:
            return load_version(root, wanted)
        named = registry.get(task, alias) if alias and root.is_dir() else None
        if named is not None:
            return load_version(root, named.id)
        if wanted is not None:
            raise VersionError(f"no version of task {task} is '{wanted}'", hint="kincast versions list")
        return self.newest_version(task)

    def newest_version(self, task: str) -> Version:
        """The version of a task trained last.

        Raises:
            VersionError: there is none.
        """
        from kincast.registry.version import list_versions, load_version

        root = self.project.versions
        for id in reversed(list_versions(root)):
            found = load_version(root, id)
            if found.info.task == task:
                return found
        raise VersionError(f"task {task} has no model yet", where=str(root), hint=f"kincast train {task}")

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step took, for the report."""
        start = time.perf_counter()
        yield
        self.note("seconds", {**self.notes().get("seconds", {}), step: round(time.perf_counter() - start, 2)})

    def notes(self) -> dict[str, Any]:
        """What earlier commands noted for the report; empty at first, or where the file is damaged."""
        try:
            notes = json.loads((self.project.work / NOTES_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) else {}

    def note(self, name: str, value: Any) -> None:
        """Keep a finding for the report."""
        text = json.dumps({**self.notes(), name: value}, indent=1, ensure_ascii=False, default=str)
        replace_text(self.project.work / NOTES_FILE, text)
