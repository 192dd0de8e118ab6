"""Outcome: what a version had predicted for the test period, and what happened then."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kincast.cli.workspace import Workspace
    from kincast.graph.snapshot import Snapshot
    from kincast.query.labels import Labels
    from kincast.query.task import Task
    from kincast.registry.version import Version


def outcome_of(workspace: Workspace, version: Version) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Targets [n] and scores [n] of the test rows of a binary task, on the snapshot the version was trained on.

    Raises:
        SnapshotError: that snapshot is gone or damaged.
    """
    import torch

    from kincast.model.score import numbers_of
    from kincast.predict.online import Predictor
    from kincast.sample.batch import Seeds

    project = workspace.project
    snapshot = workspace.snapshot(version.info.snapshot_id)
    predictor = Predictor.load(version, snapshot, project.work / "features", readahead=project.features.readahead)
    labels = labels_of(workspace, version, predictor.task, snapshot)
    test = labels.of(2)
    seeds = Seeds(test.entity, test.rows, test.as_of_us, test.visible_us)
    with torch.inference_mode():
        scores, _ = predictor.loader.score(predictor.network, predictor.objective, seeds)
    return test.target, numbers_of(scores)[:, 0]


def labels_of(workspace: Workspace, version: Version, task: Task, snapshot: Snapshot) -> Labels:
    """The labels of all splits that a version was trained and judged on."""
    from kincast.project import SplitSettings
    from kincast.query.labels import target_labels, task_labels
    from kincast.query.several import side_by_side

    _, settings = workspace.project.task(version.info.task)
    split = SplitSettings.model_validate(version.info.settings["split"])
    with snapshot.open_tables() as tables:
        if task.targets:
            return side_by_side(target_labels(task, tables, split), task.query_line)
        return task_labels(task, tables, split, workspace.project.own_labels(settings))
