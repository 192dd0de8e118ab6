"""Ask: one question from its text to an answer, with nothing trained and nothing saved of what was learnt."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import format_instant, parse_instant
from kincast.context.infer import MAX_ROWS, Found, Ground, infer
from kincast.context.known import known_labels, with_asked
from kincast.context.learner import Learner, check_learner
from kincast.context.place import place_of, snapshot_of
from kincast.errors import DataError, ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.model.blend import BLENDED
from kincast.predict.answer import Predictions
from kincast.progress import Progress, silent
from kincast.project import Project
from kincast.query.compile import compile_task
from kincast.query.labels import Labels, prediction_seeds
from kincast.query.task import Task
from kincast.query.tree import Mode

_TRAIN = "train a model: kincast train, or kincast query run in a project"
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question was answered with.

    Attributes:
        query: as it was understood.
        predictions: of the rows asked for.
        found: what they were learnt from, and how good that was on labels held out.
        snapshot: id of the rows.
        left_out: how many of the keys asked for are of rows that do not exist at the instant, or not pass the filter.
        seconds: it took, from the snapshot on.
    """

    query: str
    predictions: Predictions
    found: Found
    snapshot: str
    left_out: int
    seconds: float

    def as_table(self) -> pa.Table:
        """As ``Predictions.as_table``."""
        return self.predictions.as_table()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, but for keys and instants, which are as in the table."""
        return {
            "query": self.query,
            "as_of": format_instant(self.predictions.as_of_us),
            "snapshot": self.snapshot,
            "predictions": self.as_table().to_pylist(),
            "left_out": self.left_out,
            "trained": False,
            **self.found.as_dict(),
            "seconds": round(self.seconds, 2),
        }


def ask(
    where: Project | Path | str,
    query: str,
    *,
    as_of: str | None = None,
    limit: int | None = None,
    max_rows: int = MAX_ROWS,
    learner: Learner | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Answer:
    """Answer a predictive query from labels that are known by now; nothing is trained that stays.

    Args:
        where: a project, the folder of one, or any source that ``kincast init`` takes: its schema is then inferred, and
            its snapshot kept in the user's cache folder until the files change.
        query: for some keys, ``FOR customers.customer_id IN (1, 2, 3)``, or for all, ``FOR EACH``.
        as_of: date or date-time, UTC; by default the latest of the target's facts.
        limit: rows that are answered at most, in the order of the rows.
        max_rows: labels that are learnt from at most.
        learner: ``package.module:Class`` or what makes a fresh object, in the form of scikit-learn's; None for trees.
        seed: of all draws.
        progress: told what is done.

    Raises:
        QueryError: the query does not fit the schema.
        ProjectError: the kind of task is not answered in context, or the learner does not do what it must.
        KeyNotFoundError: a key that no row has.
        DataError: there are no labels by then, or no row that is asked for.
    """
    project = where if isinstance(where, Project) else place_of(where, progress)
    snapshot = snapshot_of(project, progress)
    task = compile_task(query, snapshot.schema, project.targets)
    if task.query.mode is not Mode.PREDICT:
        hint = f"leave {task.query.mode} out, or use kincast query run"
        raise ProjectError(f"{task.query.mode} is not answered here", hint=hint)
    ground = ground_of(project, snapshot, task, max_rows=max_rows, learner=learner, seed=seed)
    return answer(ground, None if as_of is None else parse_instant(as_of), limit, progress)


def answer(
    ground: Ground, as_of_us: int | None = None, limit: int | None = None, progress: Progress = silent
) -> Answer:
    """Answer the query of a task; arguments and errors as of ``ask``."""
    start, task, snapshot = time.perf_counter(), ground.task, ground.snapshot
    with snapshot.open_tables() as tables:
        rows, as_of_us = prediction_seeds(task, tables, as_of_us)
        labels = known_labels(task, tables, as_of_us, ground.max_rows, progress)
    keys = task.query.entity.keys
    left_out = 0 if keys is None else len(set(keys)) - len(np.unique(rows))
    if task.is_static:
        rows, labels = _without_answers(rows, labels, asked=keys is not None)
    rows = rows[:limit]
    if not len(rows):
        what = f"no row that is asked for is there at {format_instant(as_of_us)} and passes the filter"
        if task.is_static and keys is None:
            what = f"every row has its value by {format_instant(as_of_us)}, so there is nothing to predict"
        raise DataError(what, where=task.query_line, hint="name rows with FOR ... IN, or ask as of another instant")
    instants = _instants_of(ground, rows, as_of_us)
    scores, found = infer(ground, with_asked(labels, rows, instants), progress)
    keys_of = snapshot.keys_of(task.entity, rows)
    predictions = Predictions(keys_of, instants, int(instants.max()), scores, labels.classes, task.kind)
    return Answer(task.query_line, predictions, found, snapshot.id, left_out, time.perf_counter() - start)


def ground_of(
    project: Project,
    snapshot: Snapshot,
    task: Task,
    *,
    max_rows: int = MAX_ROWS,
    learner: Learner | None = None,
    strict: bool = False,
    seed: int = 0,
) -> Ground:
    """What a question to a project is answered from; the features it encodes lie in a folder of their own.

    Raises:
        ProjectError: the kind of task is not answered in context, or the learner does not suit it.
    """
    folder, threads = project.work / "features" / "questions", min(2, os.cpu_count() or 1)
    ground = Ground(snapshot, task, folder, max_rows, learner, strict, seed, threads, project.feature_settings)
    _check(ground)
    return ground


def _instants_of(ground: Ground, rows: Int64s, as_of_us: int) -> Int64s:
    """[n] instants of the rows: the one asked for; a column of a row is learnt and asked as of the row's own time."""
    time_us = ground.snapshot.tables[ground.task.entity].time_us
    if ground.task.is_static and time_us is not None:
        return np.asarray(time_us[rows], np.int64)
    return np.full(len(rows), as_of_us, np.int64)


def _without_answers(rows: Int64s, labels: Labels, *, asked: bool) -> tuple[Int64s, Labels]:
    """Rows of a column, and labels without those rows: of rows that are named the labels go, of all rows the rows."""
    if asked:
        return rows, labels.where(~np.isin(labels.rows, rows))
    return rows[~np.isin(rows, labels.rows)], labels


def _check(ground: Ground) -> None:
    """Refuse what is not answered in context, before anything is read."""
    task = ground.task
    if task.targets or task.kind not in BLENDED:
        what = "several targets" if task.targets else task.kind.words
        raise ProjectError(f"{what}: not answered without training", where=task.query_line, hint=_TRAIN)
    if ground.max_rows < 1:
        raise ProjectError(f"a context has at least one row, not {ground.max_rows}", where="context")
    check_learner(ground.learner, task.kind)
