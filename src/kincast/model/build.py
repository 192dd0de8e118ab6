"""Build: the network and the loader of a task, the same for training and prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kincast.feature.spec import FeatureSpec
from kincast.feature.store import FeatureStore
from kincast.graph.snapshot import Snapshot
from kincast.model.history import HistorySpec
from kincast.model.item import Items
from kincast.model.joint import JointObjective
from kincast.model.link import LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import Objective
from kincast.model.past import PastEncoder
from kincast.project import ModelSettings
from kincast.query.candidate import allowed_items
from kincast.query.past import PastValues
from kincast.query.task import Task, TaskKind
from kincast.sample.negative import item_path

LEAST_LAGS, MOST_LAGS = 8, 60


def settle_lags(settings: ModelSettings, task: Task) -> ModelSettings:
    """The settings with the number of lags that a task reads."""
    if task.kind is not TaskKind.FORECASTING:
        return settings
    lags = min(max(2 * task.steps, LEAST_LAGS), MOST_LAGS) if settings.lags is None else settings.lags
    return settings.model_copy(update={"lags": lags})


def build_network(
    task: Task,
    spec: FeatureSpec,
    settings: ModelSettings,
    objective: Objective | JointObjective,
    num_seen: int = 0,
    history: HistorySpec | None = None,
) -> Network | LinkNetwork:
    """A network with fresh weights.

    Args:
        task: what is predicted.
        spec: inputs of each table.
        settings: shape; its lags are settled.
        objective: says the heads.
        num_seen: items seen in training.
        history: which past labels it reads as facts; None for none.
    """
    if task.item_table is not None:
        return LinkNetwork(task.schema, spec, settings, task.item_table, num_seen)
    past = None
    if has_past(task, settings) and isinstance(objective, Objective):
        last_year = task.steps if settings.year_over_year else 0
        past = PastEncoder(objective, settings.lags or 0, last_year, settings.channels, settings.activation)
    widths = objective.widths if isinstance(objective, JointObjective) else (objective.num_outputs,)
    if history is None:
        return Network(task.schema, spec, settings, widths, past)
    reading = history.settings(settings, task.schema, task.entity)
    return Network(history.schema(task.schema, task.entity), history.features(spec), reading, widths, past)


def has_past(task: Task, settings: ModelSettings) -> bool:
    """True when past values of the target are read."""
    return task.kind is TaskKind.FORECASTING and bool(settings.lags or settings.year_over_year)


def past_of(task: Task, snapshot: Snapshot, settings: ModelSettings, strict: bool) -> PastValues | None:
    """The past of a forecast's target; None where none is read."""
    if not has_past(task, settings):
        return None
    return past_values(task, snapshot, settings.lags or 0, year_over_year=settings.year_over_year, strict=strict)


def past_values(
    task: Task, snapshot: Snapshot, lags: int, *, year_over_year: bool = False, strict: bool = False
) -> PastValues:
    """The past of a forecast's target over a snapshot; arguments as ``PastValues`` takes them."""
    versions = snapshot.tables[task.entity].versions
    same = None if versions is None else versions.forward
    return PastValues(task, snapshot.open_tables, lags, year_over_year=year_over_year, strict=strict, same=same)


def items_of(
    task: Task,
    snapshot: Snapshot,
    features: FeatureStore,
    seen: NDArray[np.int64],
    strict: bool,
    top: int,
    *,
    repeats: bool = True,
) -> Items:
    """The items of a link task over a snapshot.

    Args:
        task: predicts links.
        snapshot: the rows.
        features: encoded.
        seen: [k] rows of the items seen in training, in the order of training; -1 where one is gone.
        strict: what happens at the very instant is not seen.
        top: how many are ranked for a row.
        repeats: what an entity had before may be ranked again.
    """
    path = item_path(task)
    places = np.zeros(snapshot.tables[snapshot.links[path.item].link.target].num_rows, np.int64)
    places[seen[seen >= 0]] = np.flatnonzero(seen >= 0) + 1
    with snapshot.open_tables() as tables:
        allowed = allowed_items(task, tables)
    return Items(snapshot, features, path, places, allowed, strict, top, repeats)
