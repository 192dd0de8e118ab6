"""The ring of stations as a project with its snapshot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import Project, TaskSettings
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.testing.ring import ring_database

QUERY = "PREDICT LIST_DISTINCT(facts.tail) VIA facts.head BY facts.relation RANK TOP 3 FOR EACH stations.name"
TRAIN: dict[str, Any] = {"max_epochs": 10, "patience": 10, "learning_rate": 0.1, "batch_size": 64, "n3": 0.01}
MakeRing = Callable[..., tuple[Project, Snapshot]]


def make_ring(folder: Path, change: str = "", **settings: dict[str, Any]) -> tuple[Project, Snapshot]:
    """A project with the task ``line``.

    Args:
        folder: where it lies; must exist.
        change: SQL that changes the rows first.
        settings: ``model``, ``train`` and ``split`` beyond the usual ones.
    """
    path = ring_database(folder)
    schema = infer_schema(open_source(str(path))).schema
    if change:
        with duckdb.connect(str(path)) as connection:
            connection.execute(change)
    source = open_source(str(path))
    usual = {"split": {"column": "part"}, "model": {"output_channels": 32}, "train": TRAIN}
    blocks = {name: {**usual[name], **settings.get(name, {})} for name in usual}
    task = TaskSettings.model_validate({"query": QUERY, **blocks})
    project = Project(folder=folder, source=source.url, tasks={"line": task})
    return project, build_snapshot(source, schema, project.snapshots)
