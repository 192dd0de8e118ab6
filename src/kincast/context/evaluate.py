"""Evaluate: answers in context for the test period of a task, beside the constant and the entity's own mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kincast.context.ask import ground_of
from kincast.context.infer import MAX_ROWS, RULES, Found, infer, plain_interval
from kincast.context.learner import Learner
from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent
from kincast.project import Project
from kincast.query.compile import compile_task
from kincast.query.labels import task_labels
from kincast.registry.version import Interval
from kincast.train.compare import entities_of
from kincast.train.freeze import frozen_alike
from kincast.train.heuristic import HEURISTICS
from kincast.train.history import label_history
from kincast.train.metric import METRICS, measure

IN_CONTEXT = "in context"


@dataclass(frozen=True, slots=True)
class Judged:
    """How good answers in context are on a test period.

    Attributes:
        query: of the task.
        metrics: ``in context`` and the names of the rules → metric → value with its interval, the one that decides
            first.
        found: what the answers were learnt from.
        num_rows: labels of the test period.
    """

    query: str
    metrics: dict[str, dict[str, Interval]]
    found: Found
    num_rows: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {
            method: {name: plain_interval(interval) for name, interval in intervals.items()}
            for method, intervals in self.metrics.items()
        }
        return {"query": self.query, "test_rows": self.num_rows, "metrics": values, **self.found.as_dict()}


def evaluate(
    project: Project,
    name: str,
    snapshot: Snapshot,
    *,
    max_rows: int = MAX_ROWS,
    learner: Learner | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Judged:
    """Answer for every label of a task's test period, from labels of its training and validation periods.

    One context serves the whole period, as one trained model would; what is known of a row at its instant counts, past
    labels of the test period too, from the end of their windows on.

    Args:
        project: its settings and folders.
        name: of the task.
        snapshot: the rows.
        max_rows: as of ``ask``.
        learner: as of ``ask``.
        seed: as of ``ask``.
        progress: told what is done.

    Raises:
        QueryError: the query does not fit the schema.
        ProjectError: as ``ask``.
        DataError: the rows do not give labels for each split.
    """
    _, settings = project.task(name)
    task = compile_task(settings.query, snapshot.schema, project.targets)
    parts = (project, snapshot, task)
    ground = ground_of(*parts, max_rows=max_rows, learner=learner, strict=settings.strict, seed=seed)
    with snapshot.open_tables() as tables:
        labels = task_labels(task, tables, settings.split, project.own_labels(settings), None, progress)
    labels = frozen_alike(labels, seed)
    labels = replace(labels, split=np.where(labels.split == 2, 2, 0).astype(np.int8))
    scores, found = infer(ground, labels, progress)
    test, whole = labels.split == 2, replace(labels, rows=entities_of(snapshot, labels))
    history = label_history(task, whole)
    rivals = {rule: HEURISTICS[task.kind][rule](whole, history)[test] for rule in RULES[task.kind]}
    target, groups = labels.target[test], whole.rows[test]
    metrics = {
        method: measure(METRICS[task.kind], target, said, groups).intervals()
        for method, said in {IN_CONTEXT: scores, **rivals}.items()
    }
    return Judged(task.query_line, metrics, found, int(test.sum()))
