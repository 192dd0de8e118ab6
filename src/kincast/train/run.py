"""Run: one task from its query to a saved version: training, baselines, metrics."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kincast import __version__
from kincast.graph.snapshot import Snapshot
from kincast.model.certainty import Certainty
from kincast.model.link import LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import LINKS
from kincast.model.score import Scored
from kincast.model.threads import limit_threads
from kincast.progress import Progress, silent
from kincast.project import Project, TaskSettings
from kincast.query.encode import Lists
from kincast.query.labels import Labels
from kincast.registry.version import Cohort, Metrics, Version, VersionInfo, save_version
from kincast.train.calibrate import check_method
from kincast.train.candidate import CandidateSource, LinkTrainer
from kincast.train.certain import FITTED, Certain, take_scores
from kincast.train.checkpoint import remove_checkpoint
from kincast.train.cohort import cohort_columns, cohorts_of
from kincast.train.contender import Field, contenders
from kincast.train.loop import Fit, Trainer
from kincast.train.popular import link_heuristics
from kincast.train.prepare import (
    Prepared,
    examples,
    label_folder,
    lists_of,
    new_loader,
    new_network,
    prepare,
    run_folder,
    settled,
    training_examples,
)

SPLITS = {1: "validation", 2: "test"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The network and every baseline on the very same rows, as ``VersionInfo`` keeps it, and what it is wrong by."""

    metrics: Metrics
    baselines: dict[str, Metrics]
    margins: dict[str, Metrics]
    certainty: Certainty
    cohorts: tuple[Cohort, ...]


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
    validation = replace(examples(prepared.labels.of(1)), target=_target(prepared, prepared.labels.of(1)))
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


def compare(
    snapshot: Snapshot,
    prepared: Prepared,
    network: Network | LinkNetwork,
    settings: TaskSettings,
    progress: Progress = silent,
) -> Comparison:
    """Metrics of the network and of every baseline, per split, on the very same rows."""
    labels = prepared.labels
    # What has versions is one entity, whichever of them a label is of.
    versions = snapshot.tables[labels.entity].versions
    entities = labels.rows if versions is None else versions.forward[labels.rows].astype(np.int64)
    seeds, seed = examples(labels).seeds, settings.train.seed
    rivals: dict[str, Scored] = {}
    if labels.kind not in LINKS:
        field = Field(prepared.task, replace(labels, rows=entities), snapshot, seeds, seed, settings.strict)
        rivals = contenders(field, prepared.parts, progress)
    metrics: Metrics = {}
    baselines: dict[str, Metrics] = {}
    margins: dict[str, Metrics] = {}
    certain = Certain(prepared, settings)
    cohorts: list[Cohort] = []
    for split, split_name in SPLITS.items():
        chosen = labels.split == split
        part, own_seeds = labels.of(split), seeds.take(np.flatnonzero(chosen))
        loader = new_loader(snapshot, prepared, settings, split)
        raw, spreads, _ = loader.answer(network, prepared.objective, own_seeds, progress)
        theirs = {name: take_scores(scores, chosen) for name, scores in rivals.items()}
        if loader.items is not None:
            rules = link_heuristics(loader.items, loader.items.length_us)
            theirs = {name: rule(own_seeds) for name, rule in rules.items()}
        rows, target = entities[chosen], _target(prepared, part)
        step = f"compare on the {split_name} period"
        progress(step, 0, 1 + len(theirs))
        if split == FITTED:
            certain.fit(target, raw, spreads, rows)
        own = certain.certainty.calibrated(raw)
        measured = prepared.judge.measure(target, own, rows)
        metrics[split_name] = measured.intervals() | certain.measure(target, raw, spreads, rows, split)
        for done, (baseline, scores) in enumerate(theirs.items(), start=1):
            progress(step, done, 1 + len(theirs))
            rival = prepared.judge.measure(target, scores, rows)
            baselines.setdefault(baseline, {})[split_name] = rival.intervals()
            margins.setdefault(baseline, {})[split_name] = measured.margins(rival)
        progress(step, 1 + len(theirs), 1 + len(theirs))
        if split != FITTED:
            groups = cohorts_of(prepared.task, snapshot, labels, entities, settings.cohorts)
            cohorts += certain.of_cohorts(groups, target, raw, spreads, rows)
    return Comparison(metrics, baselines, margins, certain.certainty, tuple(cohorts))


def _check(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings) -> None:
    """Refuse before training what could not be done after it."""
    check_method(prepared.objective, settings.train.calibration)
    cohort_columns(prepared.task, snapshot, settings.cohorts)


def _target(prepared: Prepared, labels: Labels) -> Any:
    return lists_of(labels) if prepared.parts else examples(labels).target


def _features(snapshot: Snapshot, prepared: Prepared, fit: Fit, comparison: Comparison) -> dict[str, Any]:
    """What was fitted beside the weights, as plain JSON values."""
    return {
        "spec": prepared.features.spec.as_dict(),
        "objective": prepared.objective.as_dict(),
        "epochs": fit.epochs,
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
