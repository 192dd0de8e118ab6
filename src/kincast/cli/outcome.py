"""Outcome: what a version had predicted for the test period, and what happened then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kincast.cli.workspace import Workspace
    from kincast.graph.snapshot import Snapshot
    from kincast.query.labels import Labels
    from kincast.query.task import Task
    from kincast.registry.version import Version

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The test rows of one class target.

    Attributes:
        happened: [n] 1 where the positive class, or of several the likeliest, came true.
        scores: [n] its probability.
        uncalibrated: [n] the same before calibration.
    """

    happened: Floats
    scores: Floats
    uncalibrated: Floats


def outcome_of(workspace: Workspace, version: Version) -> Outcome:
    """The test rows of a binary or multiclass task, on the snapshot the version was trained on.

    Raises:
        SnapshotError: that snapshot is gone or damaged.
    """
    import numpy as np

    from kincast.predict.online import Predictor
    from kincast.sample.batch import Seeds

    project = workspace.project
    snapshot = workspace.snapshot(version.info.snapshot_id)
    predictor = Predictor.load(version, snapshot, project.work / "features", readahead=project.features.readahead)
    test = labels_of(workspace, version, predictor.task, snapshot).of(2)
    seeds = Seeds(test.entity, test.rows, test.as_of_us, test.visible_us)
    raw = predictor.raw_scores(seeds)[0]
    scores = predictor.certainty.calibrated(raw)
    assert isinstance(raw, np.ndarray)
    assert isinstance(scores, np.ndarray)
    if raw.ndim == 1:
        return Outcome(test.target, scores, raw)
    happened = (scores.argmax(axis=1) == test.target).astype(np.float64)
    return Outcome(happened, scores.max(axis=1), raw[np.arange(len(raw)), scores.argmax(axis=1)])


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
