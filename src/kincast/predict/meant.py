"""Meant: which number of a prediction is to be explained: the one that is named, or the first thing one would ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kincast.errors import ProjectError
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.aim import ALL, Aims
from kincast.model.joint import JointObjective
from kincast.model.objective import LINKS, Objective
from kincast.model.ranked import Ranked
from kincast.model.score import Scored
from kincast.query.task import Task, TaskKind

WORDS = {TaskKind.MULTICLASS: "class", TaskKind.MULTILABEL: "label", TaskKind.RANKING: "label"}


@dataclass(frozen=True, slots=True)
class Meant:
    """Which number of each row is explained.

    Attributes:
        aims: the same for the model.
        words: [n] what it is, such as ``{"class": "shop"}``; empty where a prediction is one number.
        noun: what is measured: a probability, a value or a score.
    """

    aims: Aims
    words: list[dict[str, Any]]
    noun: str


def meant(
    task: Task,
    snapshot: Snapshot | LiveSnapshot,
    objective: Objective | JointObjective,
    classes: tuple[str, ...],
    scored: Scored,
    *,
    of: Any = None,
    target: str | None = None,
) -> Meant:
    """The number that is named; else the likeliest class or label, the sum of a forecast, the best item.

    Args:
        task: what is predicted.
        snapshot: says which row an item is.
        objective: of the version.
        classes: of the version.
        scored: the scores of the rows.
        of: a class or label by its name, a step by its number from 1, an item by its key.
        target: one of several by its text; the first when None.

    Raises:
        ProjectError: there is no such target, class, label, step or item; or there is nothing to name.
    """
    part, kind = 0, task.kind
    more: dict[str, Any] = {}
    if isinstance(objective, JointObjective):
        names = [one.name for one in objective.parts]
        if target is not None and target not in names:
            raise ProjectError(
                f"there is no target '{target}'", where=task.query_line, hint=f"one of: {'; '.join(names)}"
            )
        part = 0 if target is None else names.index(target)
        kind, classes, more = objective.parts[part].kind, objective.parts[part].classes, {"target": names[part]}
    elif target is not None:
        raise ProjectError("the query has one target only", where=task.query_line, hint="leave the target out")
    if kind in LINKS:
        return _item(task, snapshot, scored, of)
    scores = scored[part] if isinstance(scored, tuple) else scored
    assert isinstance(scores, np.ndarray)
    num = len(scores)
    if kind is TaskKind.FORECASTING:
        step = _step(task, of)
        words: dict[str, Any] = {"step": "all" if step == ALL else step + 1}
        return Meant(Aims(np.full(num, step), part), [more | words] * num, "value")
    if kind not in WORDS:
        if of is not None:
            raise ProjectError(f"of {kind.words} there is one number only", where=task.query_line, hint="name nothing")
        noun = "value" if kind is TaskKind.REGRESSION else "probability"
        return Meant(Aims(np.full(num, ALL), part), [dict(more) for _ in range(num)], noun)
    if of is not None and str(of) not in classes:
        shown = ", ".join(classes[:10])
        raise ProjectError(f"there is no {WORDS[kind]} '{of}'", where=task.query_line, hint=f"such as {shown}")
    places = scores.argmax(axis=1) if of is None else np.full(num, classes.index(str(of)))
    said = [more | {WORDS[kind]: classes[place]} for place in places.tolist()]
    return Meant(Aims(places.astype(np.int64), part), said, "probability")


def _step(task: Task, of: Any) -> int:
    if of is None or of == "all":
        return ALL
    try:
        step = int(of)
    except (TypeError, ValueError):
        step = 0
    if not 1 <= step <= task.steps:
        raise ProjectError(f"there is no step '{of}'", where=task.query_line, hint=f"1 to {task.steps}, or all")
    return step - 1


def _item(task: Task, snapshot: Snapshot | LiveSnapshot, scored: Scored, of: Any) -> Meant:
    assert isinstance(scored, Ranked)
    assert task.item_table is not None
    if of is None:
        places = scored.items[:, 0] if scored.items.shape[1] else np.full(len(scored), -1)
        if (places < 0).any():
            raise ProjectError("there is no item to rank at the instant", where=task.query_line)
    else:
        places = np.repeat(snapshot.rows_of(task.item_table, [of]), len(scored))
        if (places < 0).any():
            raise ProjectError(f"there is no item {of}", where=task.item_table, hint="name one by its key")
    keys = [plain_key(row) for row in snapshot.keys_of(task.item_table, places).to_pylist()]
    return Meant(Aims(places.astype(np.int64)), [{"item": key} for key in keys], "score")


def plain_key(row: dict[str, Any]) -> Any:
    """A key as JSON has it: a number, text, or the list of its parts."""
    parts = [value if type(value) in (int, str) else str(value) for value in row.values()]
    return parts[0] if len(parts) == 1 else parts
