"""Run: one task from its query to a saved version: labels, features, training, baselines, metrics."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kincast import __version__
from kincast.errors import DataError, TrainError
from kincast.feature.fit import fit_features
from kincast.feature.store import FeatureStore, open_features
from kincast.graph.snapshot import Snapshot
from kincast.model.history import LabelHistory, fit_history, make_history
from kincast.model.network import Network, network_of
from kincast.model.objective import Objective, fit_objective
from kincast.model.score import InputLoader
from kincast.model.threads import limit_threads
from kincast.progress import Progress, silent
from kincast.project import Project, TaskSettings
from kincast.query.compile import compile_task, length_of
from kincast.query.labels import Labels, task_labels
from kincast.query.print import print_node
from kincast.query.task import Task
from kincast.registry.version import Metrics, Version, VersionInfo, save_version
from kincast.sample.batch import Seeds
from kincast.sample.strategy import settle_fanouts
from kincast.train.aggregate import make_aggregates
from kincast.train.boost import boosted_scores
from kincast.train.checkpoint import remove_checkpoint
from kincast.train.heuristic import HEURISTICS
from kincast.train.history import label_history
from kincast.train.loop import Examples, Fit, Trainer
from kincast.train.metric import measure

Floats = NDArray[np.float64]
SPLITS = {1: "validation", 2: "test"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything training needs.

    Attributes:
        task: the checked query.
        labels: of all splits.
        features: encoded, with statistics of the training period.
        objective: fitted on the training labels.
        past: labels that the network reads as facts; None without.
    """

    task: Task
    labels: Labels
    features: FeatureStore
    objective: Objective
    past: LabelHistory | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The network and every baseline on the very same rows, as ``VersionInfo`` keeps it."""

    metrics: Metrics
    baselines: dict[str, Metrics]
    margins: dict[str, Metrics]


def train_task(
    project: Project, name: str, *, snapshot: Snapshot, resume: bool = False, progress: Progress = silent
) -> Version:
    """Train one task of a project, compare it with the baselines on the same rows, and save the version.

    Args:
        project: its settings and folders.
        name: of the task.
        snapshot: the rows.
        resume: go on from the checkpoint of a killed run of the same plan and snapshot.
        progress: told what is done.

    Raises:
        QueryError: the query does not fit the schema.
        DataError: the rows do not give labels to learn from.
        TrainError: the kind of task is not trainable yet, or training diverged.
        StorageError: the disk refused.
    """
    limit_threads()
    _, settings = project.task(name)
    prepared = prepare(project, name, snapshot, progress)
    settings = _settled(settings, snapshot, prepared)
    project = project.model_copy(update={"tasks": {**project.tasks, name: settings}})
    fit = fit_network(project, name, snapshot, prepared, resume=resume, progress=progress)
    network = new_network(snapshot, prepared, settings)
    network.load_state_dict(fit.weights)
    loader = new_loader(snapshot, prepared, settings)
    comparison = compare(snapshot, prepared, network, loader, settings, progress)
    info = VersionInfo(
        task=name,
        query=prepared.task.text,
        kind=prepared.task.kind.value,
        entity=prepared.task.entity,
        classes=prepared.labels.classes,
        schema=snapshot.schema,
        snapshot_id=snapshot.id,
        settings=json.loads(settings.model_dump_json(include={"ties", "split", "model", "train"}, by_alias=True)),
        metrics=comparison.metrics,
        baselines=comparison.baselines,
        margins=comparison.margins,
        code_version=__version__,
        created_us=time.time_ns() // 1_000,
        best_epoch=fit.best_epoch,
        published={n: dict(values) for n, values in settings.published.items()},
    )
    features = {
        "spec": prepared.features.spec.as_dict(),
        "objective": prepared.objective.as_dict(),
        "past": None if prepared.past is None else prepared.past.spec.as_dict(),
        "epochs": fit.epochs,
    }
    weights = {n: tensor.numpy() for n, tensor in fit.weights.items()}
    version = save_version(project.versions, info, weights, features)
    remove_checkpoint(_run_folder(project, name))
    shutil.rmtree(_label_folder(project, name), ignore_errors=True)
    return version


def prepare(project: Project, name: str, snapshot: Snapshot, progress: Progress = silent) -> Prepared:
    """Labels, features and objective of a task."""
    _, settings = project.task(name)
    task = compile_task(settings.query, snapshot.schema, project.targets)
    if task.targets:
        names = ", ".join(print_node(target) for target in task.query.targets)
        raise TrainError(f"several targets in one model are not trainable yet: {names}", hint="write a task for each")
    if task.kind not in HEURISTICS:
        hint = "its labels can be made and looked at: kincast explain"
        raise TrainError(f"{task.kind.words} is not trainable yet", where=task.query_line, hint=hint)
    labels = labels_of(project, name, task, snapshot, progress)
    train = labels.of(0)
    if len(train.rows) == 0:
        raise DataError("there is no training label", where=settings.query, hint="kincast explain shows the anchors")
    until_us = int(train.visible_us.max())
    spec = fit_features(snapshot, until_us - settings.strict, task.hidden, project.feature_settings)
    folder, readahead = project.work / "features", project.features.readahead
    features = open_features(snapshot, spec, folder, progress, readahead=readahead)
    objective = fit_objective(task.kind, train.target, len(labels.classes), class_weights=settings.train.class_weights)
    return Prepared(task, labels, features, objective, past_of(settings, task, labels, snapshot, features))


def past_of(
    settings: TaskSettings, task: Task, labels: Labels, snapshot: Snapshot, features: FeatureStore
) -> LabelHistory | None:
    """The past labels that the network of a task reads; those of a table of the user's cannot be made anew."""
    if settings.labels is not None or task.window is None:
        return None
    step = settings.split.step or length_of(task.window)
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
    _, settings = project.task(name)
    own, folder = project.own_labels(settings), _label_folder(project, name)
    with snapshot.open_tables() as tables:
        return task_labels(task, tables, settings.split, own, folder, progress)


def fit_network(
    project: Project,
    name: str,
    snapshot: Snapshot,
    prepared: Prepared,
    *,
    resume: bool = False,
    progress: Progress = silent,
) -> Fit:
    """Train the network of a task; the checkpoint lies in the project's work folder until the end."""
    _, settings = project.task(name)
    network = new_network(snapshot, prepared, settings)
    loader = new_loader(snapshot, prepared, settings)
    fingerprint = _fingerprint(snapshot, settings, prepared)
    folder = _run_folder(project, name)
    trainer = Trainer(network, prepared.objective, loader, settings.train, folder, fingerprint)
    train, validation = (examples(prepared.labels.of(split)) for split in (0, 1))
    return trainer.run(train, validation, resume=resume, progress=progress)


def new_network(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings) -> Network:
    """A network with the weights that the run's seed gives."""
    torch.manual_seed(settings.train.seed)
    spec, past = prepared.features.spec, None if prepared.past is None else prepared.past.spec
    num_outputs = prepared.objective.num_outputs
    return network_of(snapshot.schema, prepared.task, spec, settings.model, num_outputs, past)


def new_loader(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings) -> InputLoader:
    """What turns the task's seeds into inputs."""
    plan = settings.train
    own = (plan.seed, plan.num_threads, settings.strict, prepared.past)
    return InputLoader(snapshot, prepared.features, settings.model, *own)


def examples(labels: Labels) -> Examples:
    """Labels as seeds and targets."""
    return Examples(Seeds(labels.entity, labels.rows, labels.as_of_us, labels.visible_us), labels.target)


def compare(
    snapshot: Snapshot,
    prepared: Prepared,
    network: Network,
    loader: InputLoader,
    settings: TaskSettings,
    progress: Progress = silent,
) -> Comparison:
    """Metrics of the network and of every baseline, per split, on the very same rows."""
    labels = prepared.labels
    # What has versions is one entity, whichever of them a label is of.
    versions = snapshot.tables[labels.entity].versions
    entities = labels.rows if versions is None else versions.forward[labels.rows].astype(np.int64)
    history = label_history(prepared.task, replace(labels, rows=entities))
    contenders = {baseline: rule(labels, history) for baseline, rule in HEURISTICS[labels.kind].items()}
    seeds = examples(labels).seeds
    aggregates = make_aggregates(snapshot, seeds, prepared.task.hidden, progress, strict=settings.strict)
    progress("train LightGBM", 0, 1)
    contenders["LightGBM"] = boosted_scores(labels, aggregates, history, seed=settings.train.seed)
    progress("train LightGBM", 1, 1)
    found = Comparison({}, {baseline: {} for baseline in contenders}, {baseline: {} for baseline in contenders})
    for split, split_name in SPLITS.items():
        part = labels.split == split
        own, _ = loader.score(network, prepared.objective, examples(labels.of(split)).seeds, progress)
        rows, target = entities[part], labels.target[part]
        step = f"compare on the {split_name} period"
        progress(step, 0, 1 + len(contenders))
        measured = measure(labels.kind, target, own, rows)
        found.metrics[split_name] = measured.intervals()
        for done, (baseline, scores) in enumerate(contenders.items(), start=1):
            progress(step, done, 1 + len(contenders))
            theirs = measure(labels.kind, target, scores[part], rows)
            found.baselines[baseline][split_name] = theirs.intervals()
            found.margins[baseline][split_name] = measured.margins(theirs)
        progress(step, 1 + len(contenders), 1 + len(contenders))
    return found


def _settled(settings: TaskSettings, snapshot: Snapshot, prepared: Prepared) -> TaskSettings:
    """The settings with numbers for what follows from the rows of the training period."""
    until_us = int(prepared.labels.of(0).visible_us.max())
    return settings.model_copy(update={"model": settle_fanouts(settings.model, snapshot, until_us)})


def _fingerprint(snapshot: Snapshot, settings: TaskSettings, prepared: Prepared) -> str:
    parts: list[Any] = [snapshot.id, __version__, settings.model_dump_json(), prepared.features.spec.digest]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _run_folder(project: Project, task: str) -> Path:
    return project.work / "runs" / "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in task)


def _label_folder(project: Project, task: str) -> Path:
    """Where the blocks of labels lie until the task is trained."""
    return _run_folder(project, task) / "labels"
