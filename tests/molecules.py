"""The planted molecules as a project with a snapshot, and how their batches are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import Project, TaskSettings
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.testing.molecules import molecule_database

HOPS = 4
BACK = "atoms.molecule_id->molecules.molecule_id"
SHARED: dict[str, Any] = {
    "channels": 16,
    "neighbourhood": "shared",
    "through": ["bonds"],
    "fanout": [-1] * HOPS,
    "fanout_overrides": {BACK: [0] * HOPS},
    "aggregations": ["sum"],
}
TRAIN = {"max_epochs": 12, "batch_size": 32, "learning_rate": 0.01, "num_threads": 1}


def make_molecules(folder: Path, model: dict[str, Any], num: int = 300) -> tuple[Project, Snapshot]:
    """A project with the task ``active``, and its snapshot."""
    source = open_source(str(molecule_database(folder, num)))
    query = "PREDICT molecules.active FOR EACH molecules.molecule_id"
    task = TaskSettings.model_validate({"query": query, "model": model, "train": TRAIN})
    project = Project(folder=folder, source=source.url, tasks={"active": task})
    return project, build_snapshot(source, infer_schema(source).schema, project.snapshots)
