"""Prepare: what training a task needs: labels, features, objective, network and loaders."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kincast.errors import DataError, ProjectError
from kincast.feature.fit import fit_features
from kincast.feature.spec import FeatureSpec
from kincast.feature.store import FeatureStore, open_features
from kincast.graph.snapshot import Snapshot
from kincast.model.aggregate import AggregateSpec, Aggregator, fit_aggregates
from kincast.model.build import build_network, items_of, past_of, settle_lags
from kincast.model.history import LabelHistory, fit_history, make_history
from kincast.model.joint import JointObjective, constant_loss
from kincast.model.link import LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import LINKS, Objective, fit_objective, target_of
from kincast.model.score import InputLoader
from kincast.progress import Progress, silent
from kincast.project import Project, TaskSettings
from kincast.query.compile import compile_task, length_of
from kincast.query.labels import Labels, target_labels, task_labels
from kincast.query.print import print_node
from kincast.query.several import one_of, side_by_side
from kincast.query.task import Task, TaskKind
from kincast.registry.pretrained import Pretrained
from kincast.sample.batch import Seeds
from kincast.sample.negative import item_path
from kincast.sample.strategy import settle_fanouts
from kincast.train.freeze import frozen_alike
from kincast.train.hidden import supervised, without_hidden
from kincast.train.judge import JointJudge, Judge, judge_of
from kincast.train.loop import Examples
from kincast.train.start import find_start

CLASSES = (TaskKind.BINARY, TaskKind.MULTICLASS)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything training needs.

    Attributes:
        task: the checked query.
        labels: of all splits.
        features: encoded, with statistics of the training period.
        objective: fitted on the training labels.
        judge: how the task is judged.
        parts: of a query of several targets, the labels of each, by its text.
        seen: rows of the items seen in training; empty unless links are predicted.
        history: past labels, which the network and trees read as facts; None without.
        aggregates: what trees read; None for links.
        start: the pre-trained network that training begins with, whose inputs are read; None without.
    """

    task: Task
    labels: Labels
    features: FeatureStore
    objective: Objective | JointObjective
    judge: Judge | JointJudge
    parts: dict[str, Labels] = field(default_factory=dict)
    seen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    history: LabelHistory | None = None
    aggregates: AggregateSpec | None = None
    start: Pretrained | None = None


def prepare(project: Project, name: str, snapshot: Snapshot, progress: Progress = silent) -> Prepared:
    """Labels, features and objective of a task.

    Raises:
        QueryError: the query does not fit the schema.
        ProjectError: a setting does not suit the kind of task.
        DataError: the rows do not give labels to learn from.
    """
    Thread(target=import_module, args=("torch._dynamo",), daemon=True).start()  # optimisers import it, for a second
    _, settings = project.task(name)
    task = compile_task(settings.query, snapshot.schema, project.targets)
    check_settings(task, settings)
    labels, parts = _labels(project, name, task, snapshot, progress)
    labels = frozen_alike(labels, settings.train.seed)
    train = labels.of(0)
    if len(train.rows) == 0:
        raise DataError("there is no training label", where=settings.query, hint="kincast explain shows the anchors")
    start = find_start(project, settings, task, labels, project.features, snapshot.schema)
    features = features_of(project, settings, task, train, snapshot, progress, start)
    objective, priors = objective_of(train, parts, settings)
    judge = judge_of(task, objective, labels.classes, priors)
    seen = np.zeros(0, np.int64)
    if task.kind is TaskKind.KNOWLEDGE:
        seen = np.arange(snapshot.tables[task.entity].num_rows, dtype=np.int64)
    elif task.kind in LINKS and train.lists is not None:
        seen = np.unique(train.lists.items.astype(np.int64))
    history = history_of(settings, task, labels, snapshot, features)
    aggregates = None
    if task.kind not in LINKS:
        aggregates = fit_aggregates(snapshot, task.entity, features.spec.until_us, task.hidden)
    return Prepared(task, labels, features, objective, judge, parts, seen, history, aggregates, start)


def features_of(
    project: Project,
    settings: TaskSettings,
    task: Task,
    train: Labels,
    snapshot: Snapshot,
    progress: Progress = silent,
    start: Pretrained | None = None,
) -> FeatureStore:
    """Encoded features, with statistics of the period of the training labels, or those that a start was made with."""
    if start is not None:
        spec = FeatureSpec.from_dict(start.features)
    else:
        until_us = int(train.visible_us.max()) if not _is_timeless(task) else snapshot.max_time_us
        spec = fit_features(snapshot, until_us - settings.strict, task.hidden, project.feature_settings)
    folder, readahead = project.work / "features", project.features.readahead
    return open_features(snapshot, spec, folder, progress, readahead=readahead)


def history_of(
    settings: TaskSettings, task: Task, labels: Labels, snapshot: Snapshot, features: FeatureStore
) -> LabelHistory | None:
    """The past labels that the models of a task read; those of a table of the user's cannot be made anew."""
    if settings.labels is not None or task.targets or not settings.model.label_history:
        return None
    step = None if task.window is None else settings.split.step or length_of(task.window)
    spec = fit_history(task, labels, step, settings.model.label_history)
    if spec is None:
        return None
    return make_history(task, snapshot, spec, int(labels.visible_us.max()), features.spec.storage)


def labels_of(project: Project, name: str, task: Task, snapshot: Snapshot, progress: Progress = silent) -> Labels:
    """The labels a task is trained on; those that are made stay, block by block, until a training ends.

    Raises:
        DataError: the rows or the user's table do not give labels to learn from.
        StorageError: the disk refused.
    """
    return _labels(project, name, task, snapshot, progress)[0]


def new_network(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings) -> Network | LinkNetwork:
    """A network with the weights that the run's seed gives."""
    torch.manual_seed(settings.train.seed)
    spec, model = prepared.features.spec, settle_lags(settings.model, prepared.task)
    history = None if prepared.history is None else prepared.history.spec
    return build_network(prepared.task, spec, model, prepared.objective, len(prepared.seen), history)


def new_loader(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings, split: int = 2) -> InputLoader:
    """What turns the task's seeds into inputs.

    Args:
        snapshot: the rows.
        prepared: labels and features.
        settings: of the task.
        split: whose seeds; links without a time are hidden from the splits that may not see them.
    """
    plan, task, strict = settings.train, prepared.task, settings.strict
    model = settle_lags(settings.model, task)
    items = None
    if task.kind in LINKS:
        if task.kind is TaskKind.STATIC_LINK:
            snapshot = without_hidden(snapshot, item_path(task), prepared.labels, split, plan.seed)
        assert isinstance(prepared.judge, Judge)
        top, repeats = prepared.judge.top, model.repeats
        items = items_of(task, snapshot, prepared.features, prepared.seen, strict, top, repeats=repeats)
    past = past_of(task, snapshot, model, strict)
    rest = (plan.seed, plan.num_threads, strict, past, items, prepared.history)
    return InputLoader(snapshot, prepared.features, model, *rest)


def new_aggregator(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings) -> Aggregator:
    """What makes the aggregates that trees read."""
    assert prepared.aggregates is not None
    spec, history = prepared.aggregates, prepared.history
    return Aggregator(snapshot, prepared.features, spec, history, strict=settings.strict)


def examples(labels: Labels) -> Examples:
    """Labels as seeds and targets."""
    seeds = Seeds(labels.entity, labels.rows, labels.as_of_us, labels.visible_us)
    return Examples(seeds, target_of(labels), labels.weight)


def training_examples(prepared: Prepared, settings: TaskSettings) -> Examples:
    """What is learnt from: the training labels, without the links that the graph shows while training."""
    labels = prepared.labels
    if prepared.task.kind is TaskKind.STATIC_LINK:
        labels = supervised(labels, settings.train.seed)
    found = examples(labels.of(0))
    return replace(found, target=lists_of(labels.of(0))) if prepared.parts else found


def lists_of(labels: Labels) -> Any:
    """All targets of a query of several: [n, targets], NaN where one has no value."""
    assert labels.lists is not None
    return labels.lists.as_matrix()


def settled(settings: TaskSettings, snapshot: Snapshot, prepared: Prepared) -> TaskSettings:
    """The settings with numbers for what follows from the rows of the training period."""
    until_us = int(prepared.labels.of(0).visible_us.max())
    model = settle_lags(settle_fanouts(settings.model, snapshot, until_us), prepared.task)
    return settings.model_copy(update={"model": model})


def run_folder(project: Project, task: str) -> Path:
    """Where a task's run keeps what it needs to go on."""
    return project.work / "runs" / "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in task)


def label_folder(project: Project, task: str) -> Path:
    """Where the blocks of labels lie until the task is trained."""
    return run_folder(project, task) / "labels"


def _labels(
    project: Project, name: str, task: Task, snapshot: Snapshot, progress: Progress
) -> tuple[Labels, dict[str, Labels]]:
    """The labels, and those of each of several targets."""
    _, settings = project.task(name)
    own, folder = project.own_labels(settings), label_folder(project, name)
    with snapshot.open_tables() as tables:
        if not task.targets:
            return task_labels(task, tables, settings.split, own, folder, progress), {}
        if own is not None:
            raise ProjectError("a label file is of one target", where=f"tasks.{name}.labels", hint="leave it out")
        parts = target_labels(task, tables, settings.split, folder, progress)
    names = [print_node(part.query.target) for part in task.targets]
    return side_by_side(parts, task.query_line), dict(zip(names, parts, strict=True))


def objective_of(
    train: Labels, parts: dict[str, Labels], settings: TaskSettings
) -> tuple[Objective | JointObjective, tuple[float, ...]]:
    """The objective, and of several targets the share of the most frequent class of each.

    Raises:
        ProjectError: a setting does not suit the kind of task.
        DataError: the loss does not suit the targets.
    """
    if not parts:
        return fit_objective(train, settings.train, output_channels=settings.model.output_channels), ()
    plan, found, scales, priors = settings.train, [], [], []
    if plan.loss is not None:
        raise ProjectError("several targets have their usual losses", hint="leave train.loss out")
    for place, (name, part) in enumerate(parts.items()):
        own, _ = one_of(train, place, part)
        classes = own.kind in CLASSES
        kept = plan if classes else plan.model_copy(update={"class_weights": False})
        objective = fit_objective(own, kept)
        found.append(objective.named(name, part.classes))
        scales.append(constant_loss(own.kind, own.target))
        priors.append(float(np.bincount(own.target.astype(np.int64)).max() / len(own)) if classes else 0.0)
    return JointObjective(tuple(found), tuple(scales)), tuple(priors)


def check_settings(task: Task, settings: TaskSettings) -> None:
    """Refuse settings that do not suit the kind of task.

    Raises:
        ProjectError: there is one.
    """
    if settings.train.majority_ratio is not None and (task.kind not in CLASSES or task.targets):
        what = f"majority_ratio is for one binary or multiclass target, not for {task.kind.words}"
        raise ProjectError(what, where="train.majority_ratio", hint="leave it out")
    if task.kind is TaskKind.KNOWLEDGE:
        check_knowledge(settings)


def check_knowledge(settings: TaskSettings) -> None:
    """Refuse settings that facts of several relations are not learnt with.

    Raises:
        ProjectError: there is one.
    """
    model, train = settings.model, settings.train
    if model.scorer != "distmult" and model.output_channels % 2:
        what = f"the scorer {model.scorer} needs a real and an imaginary part of each number"
        raise ProjectError(what, where="model.output_channels", hint=f"use {model.output_channels + 1}")
    if train.negatives not in (None, "all", "uniform"):
        what = f"facts of several relations are not told apart from '{train.negatives}'"
        raise ProjectError(what, where="train.negatives", hint="use all or uniform")
    given = {"labels": settings.labels, "cohorts": settings.cohorts, "model.label_history": model.label_history}
    for name, value in given.items():
        if value:
            raise ProjectError(f"{name} is not for knowledge graph completion", where=name, hint="leave it out")


def _is_timeless(task: Task) -> bool:
    """True for links and facts without a time, whose instants are no instants."""
    return task.kind in (TaskKind.STATIC_LINK, TaskKind.KNOWLEDGE)
