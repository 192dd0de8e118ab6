"""Run: one task from its query to a saved version: training, baselines, metrics."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from kincast import __version__
from kincast.graph.snapshot import Snapshot
from kincast.model.objective import LINKS
from kincast.model.threads import limit_threads
from kincast.progress import Progress, silent
from kincast.project import Project, TaskSettings
from kincast.query.encode import Lists
from kincast.registry.version import Version, VersionInfo, save_version
from kincast.train.calibrate import check_method
from kincast.train.candidate import CandidateSource, LinkTrainer
from kincast.train.checkpoint import remove_checkpoint
from kincast.train.cohort import cohort_columns
from kincast.train.compare import Comparison, compare, target_of_split
from kincast.train.loop import Fit, Trainer
from kincast.train.prepare import (
    Prepared,
    examples,
    label_folder,
    new_loader,
    new_network,
    prepare,
    run_folder,
    settled,
    training_examples,
)


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
        ProjectError: a setting does not suit the kind of task.
        TrainError: training diverged.
        StorageError: the disk refused.
    """
    limit_threads()
    _, settings = project.task(name)
    prepared = prepare(project, name, snapshot, progress)
    _check(snapshot, prepared, settings)
    settings = settled(settings, snapshot, prepared)
    project = project.model_copy(update={"tasks": {**project.tasks, name: settings}})
    fit = fit_network(project, name, snapshot, prepared, resume=resume, progress=progress)
    network = new_network(snapshot, prepared, settings)
    network.load_state_dict(fit.weights)
    comparison = compare(snapshot, prepared, network, settings, progress)
    info = VersionInfo(
        task=name,
        query=prepared.task.text,
        kind=prepared.task.kind.value,
        entity=prepared.task.entity,
        classes=prepared.labels.classes,
        schema=snapshot.schema,
        snapshot_id=snapshot.id,
        settings=json.loads(
            settings.model_dump_json(include={"ties", "split", "model", "train", "predict"}, by_alias=True)
        ),
        metrics=comparison.metrics,
        baselines=comparison.baselines,
        margins=comparison.margins,
        cohorts=comparison.cohorts,
        code_version=__version__,
        created_us=time.time_ns() // 1_000,
        best_epoch=fit.best_epoch,
        published={n: dict(values) for n, values in settings.published.items()},
        decides=prepared.judge.decides,
    )
    features = _features(snapshot, prepared, fit, comparison)
    weights = {n: tensor.numpy() for n, tensor in fit.weights.items()}
    version = save_version(project.versions, info, weights, features)
    remove_checkpoint(run_folder(project, name))
    shutil.rmtree(label_folder(project, name), ignore_errors=True)
    return version


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
    trainer = new_trainer(
        snapshot, prepared, settings, run_folder(project, name), _fingerprint(snapshot, settings, prepared)
    )
    validation = replace(examples(prepared.labels.of(1)), target=target_of_split(prepared, 1))
    return trainer.run(training_examples(prepared, settings), validation, resume=resume, progress=progress)


def new_trainer(
    snapshot: Snapshot,
    prepared: Prepared,
    settings: TaskSettings,
    folder: Path = Path(),
    fingerprint: str = "",
) -> Trainer:
    """What trains the network of a task from its first weights; arguments as ``Trainer`` takes them."""
    network = new_network(snapshot, prepared, settings)
    loaders = (new_loader(snapshot, prepared, settings, 0), new_loader(snapshot, prepared, settings, 1))
    rest = (prepared.objective, prepared.judge, loaders, settings.train, folder, fingerprint)
    if prepared.task.kind not in LINKS:
        return Trainer(network, *rest)
    trainer, (loader, _) = LinkTrainer(network, *rest), loaders
    pool = training_examples(prepared, settings).target
    assert isinstance(pool, Lists)
    assert isinstance(loader.snapshot, Snapshot)
    assert loader.items is not None
    trainer.items = loader.items
    trainer.source = CandidateSource(loader.snapshot, loader.items, pool, settings.train)
    return trainer


def _check(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings) -> None:
    """Refuse before training what could not be done after it."""
    check_method(prepared.objective, settings.train.calibration)
    cohort_columns(prepared.task, snapshot, settings.cohorts)


def _features(snapshot: Snapshot, prepared: Prepared, fit: Fit, comparison: Comparison) -> dict[str, Any]:
    """What was fitted beside the weights, as plain JSON values."""
    return {
        "spec": prepared.features.spec.as_dict(),
        "objective": prepared.objective.as_dict(),
        "epochs": fit.epochs,
        "blend": None if comparison.blend is None else comparison.blend.as_dict(),
        "trees": [] if comparison.trees is None else list(comparison.trees.texts),
        "certainty": comparison.certainty.as_dict(),
        "history": None if prepared.history is None else prepared.history.spec.as_dict(),
        **_item_keys(snapshot, prepared),
    }


def _item_keys(snapshot: Snapshot, prepared: Prepared) -> dict[str, Any]:
    """The keys of the items seen in training, in the order of their vectors."""
    if prepared.task.item_table is None:
        return {}
    keys = snapshot.keys_of(prepared.task.item_table, prepared.seen).to_pydict().values()
    texts = [[value if type(value) is int else str(value) for value in column] for column in keys]
    return {"items": texts[0] if len(texts) == 1 else [list(key) for key in zip(*texts, strict=True)]}


def _fingerprint(snapshot: Snapshot, settings: TaskSettings, prepared: Prepared) -> str:
    parts: list[Any] = [snapshot.id, __version__, settings.model_dump_json(), prepared.features.spec.digest]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
