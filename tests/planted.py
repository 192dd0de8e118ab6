"""A planted database as a project with a snapshot and a trained version, small enough for seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import FeatureSettings, Project, TaskSettings
from kincast.registry.version import Version
from kincast.schema import Schema
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.testing.planted import QUERY, planted_database
from kincast.train.run import train_task

SPLIT = {"validation_start": "2024-09-27", "test_start": "2024-10-27", "test_windows": 2}
TRAIN: dict[str, Any] = {"max_epochs": 3, "batch_size": 128, "learning_rate": 0.01, "num_threads": 1}
MODEL = {"channels": 16, "fanout": [8, 4]}

Planted = tuple[Project, Snapshot]
MakePlanted = Callable[..., Planted]


def make_planted(
    folder: Path,
    train: dict[str, object] | None = None,
    edit: Callable[[Schema], Schema] | None = None,
    features: dict[str, object] | None = None,
    **options: Any,
) -> Planted:
    """A project with the task ``buys`` on a planted database, and its snapshot."""
    source = open_source(str(planted_database(folder, **options)))
    schema = infer_schema(source).schema
    schema = edit(schema) if edit else schema
    task = TaskSettings.model_validate({"query": QUERY, "split": SPLIT, "train": TRAIN | (train or {}), "model": MODEL})
    settings = FeatureSettings.model_validate(features or {})
    project = Project(folder=folder, source=source.url, tasks={"buys": task}, features=settings)
    return project, build_snapshot(source, schema, project.snapshots)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The planted database with a signal to learn."""
    return make_planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def planted_with(tmp_path: Path) -> MakePlanted:
    """Planted databases with other options."""

    def make(**options: Any) -> Planted:
        return make_planted(tmp_path, **options)

    return make


@pytest.fixture(scope="session")
def version(planted: Planted) -> Version:
    """A version trained on the planted database."""
    project, snapshot = planted
    return train_task(project, "buys", snapshot=snapshot)
