"""Contender: the baselines of every kind of task, on the very rows that the network is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kincast.errors import TrainError
from kincast.graph.snapshot import Snapshot
from kincast.model.aggregate import Aggregates
from kincast.model.build import past_values
from kincast.model.objective import LINKS, LISTS, many_hot
from kincast.model.score import Scored
from kincast.query.labels import Labels
from kincast.query.several import one_of
from kincast.query.task import Task, TaskKind
from kincast.sample.batch import Seeds
from kincast.train.blend import LIGHTGBM
from kincast.train.boost import boosted_columns, fit_trees
from kincast.train.heuristic import HEURISTICS, forecast_heuristics, label_heuristics, season_of
from kincast.train.history import label_history, list_history

MAX_BOOSTED_LABELS = 30
"""Labels that LightGBM learns, the most frequent; the others keep their shares."""
Floats = NDArray[np.float64]
Contenders = dict[str, Scored]
JOINT_NAMES = {"global mean": "constant", "global shares": "constant", "global median": "median"}
"""Baselines of several targets, whose names depend on the kind of a single one."""


@dataclass(frozen=True, slots=True)
class Field:
    """What baselines are made from.

    Attributes:
        task: what is predicted.
        labels: of all splits; their rows name entities, whichever version of a row a label is of.
        snapshot: the rows.
        seeds: the labels' rows and instants.
        aggregates: of the seeds.
        known: scores of baselines that are trained already, by name.
        seed: of random draws.
        strict: hide facts at the very instant.
    """

    task: Task
    labels: Labels
    snapshot: Snapshot
    seeds: Seeds
    aggregates: Aggregates
    known: Mapping[str, Floats]
    seed: int
    strict: bool


def contenders(field: Field, parts: Mapping[str, Labels]) -> Contenders:
    """Baseline → its scores of all labels, for every kind but links, whose baselines are rules of their own.

    Args:
        field: what they are made from.
        parts: of a query of several targets, the labels of each by name; empty for a single one.
    """
    if field.labels.kind in LINKS:
        raise TrainError("links have baselines of their own")
    if parts:
        return _of_several(field, list(parts.values()))
    if field.labels.kind is TaskKind.FORECASTING:
        return _of_forecast(field)
    if field.labels.kind in LISTS:
        return _of_labels(field)
    return _of_one(field.task, field.labels, field.aggregates, field.known, field.seed)


def _of_one(task: Task, labels: Labels, aggregates: Aggregates, known: Mapping[str, Floats], seed: int) -> Contenders:
    history = label_history(task, labels)
    found: Contenders = {baseline: rule(labels, history) for baseline, rule in HEURISTICS[labels.kind].items()}
    return {**found, **(known or {LIGHTGBM: fit_trees(labels, aggregates, seed=seed).score(aggregates.values)})}


def _of_several(field: Field, parts: list[Labels]) -> Contenders:
    """The baselines that all targets have, each target's on the rows that have it."""
    columns: list[dict[str, Floats]] = []
    for place, part in enumerate(parts):
        own, known = one_of(field.labels, place, part)
        features = replace(field.aggregates, values=field.aggregates.values[known])
        scores = _of_one(field.task, own, features, {}, field.seed)
        whole: dict[str, Floats] = {}
        for name, found in scores.items():
            assert isinstance(found, np.ndarray)
            filled = np.full((len(known), *found.shape[1:]), np.nan)
            filled[known] = found
            whole[JOINT_NAMES.get(name, name).replace("entity shares", "entity mean")] = filled
        columns.append(whole)
    shared = [name for name in columns[0] if all(name in column for column in columns)]
    return {name: tuple(column[name] for column in columns) for name in shared}


def _of_forecast(field: Field) -> Contenders:
    task, labels = field.task, field.labels
    assert task.step_length is not None
    assert labels.lists is not None
    season = season_of(task.step_length)
    lags = max(season, 2 * task.steps, 8)
    values = past_values(task, field.snapshot, lags, strict=field.strict)
    past = values.read(field.seeds.rows, field.seeds.as_of_us, field.seeds.visible)
    found: Contenders = dict(forecast_heuristics(labels, past, season))
    target = labels.lists.as_matrix()
    found[LIGHTGBM] = boosted_columns(
        TaskKind.REGRESSION, target, labels.split, field.aggregates, past.astype(np.float64), seed=field.seed
    )
    return found


def _of_labels(field: Field) -> Contenders:
    labels = field.labels
    assert labels.lists is not None
    history = list_history(field.task, labels)
    found = label_heuristics(labels, history)
    dense = many_hot(labels.lists, len(labels.classes)).astype(np.float64)
    frequent = np.sort(np.argsort(-dense[labels.split == 0].sum(axis=0), kind="stable")[:MAX_BOOSTED_LABELS])
    more = np.column_stack([history.num_known, history.last[:, frequent], history.counts[:, frequent]])
    scores = found["entity shares"].copy()
    scores[:, frequent] = boosted_columns(
        TaskKind.BINARY, dense[:, frequent], labels.split, field.aggregates, more.astype(np.float64), seed=field.seed
    )
    return {**found, LIGHTGBM: scores}
