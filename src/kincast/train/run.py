"""Run: one task from its query to a saved version: training, baselines, metrics."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kincast import __version__
from kincast.errors import ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.model.link import LinkNetwork
from kincast.model.network import Network, weights_of
from kincast.model.objective import LINKS
from kincast.model.threads import limit_threads
from kincast.progress import Progress, silent
from kincast.project import Project, TaskSettings
from kincast.query.encode import Lists
from kincast.query.task import TaskKind
from kincast.registry.version import Version, VersionInfo, save_version
from kincast.train.calibrate import check_method
from kincast.train.candidate import CandidateSource, LinkTrainer
from kincast.train.checkpoint import remove_checkpoint
from kincast.train.cohort import cohort_columns
from kincast.train.compare import Comparison, compare, target_of_split
from kincast.train.group import Alone, Group
from kincast.train.knowledge import compare_knowledge, fit_knowledge
from kincast.train.loop import Fit, Trainer
from kincast.train.prepare import (
    Prepared,
    examples,
    label_folder,
    new_loader,
    new_network,
    prepare,
    run_folder,
    training_examples,
)
from kincast.train.search.plan import ModelPlan
from kincast.train.search.read import read_plan
from kincast.train.search.resolve import pinned
from kincast.train.search.run import Found, Search
from kincast.train.search.share import Shared
from kincast.train.start import start

Stop = Callable[[Fit], bool]
Fitting = Callable[..., Fit]
"""What trains a network: ``fit_network``, or ``Cluster.fit`` with the same arguments."""


def train_task(
    project: Project,
    name: str,
    *,
    snapshot: Snapshot,
    plan: ModelPlan | None = None,
    budget_s: float | None = None,
    resume: bool = False,
    fit: Fitting | None = None,
    progress: Progress = silent,
) -> Version:
    """Train one task of a project, compare it with the baselines on the same rows, and save the version.

    What the plan leaves open is searched; the trial that is best on the validation period becomes the version.

    Args:
        project: its settings and folders.
        name: of the task.
        snapshot: the rows.
        plan: what is searched; by default the plan that the task names, or its settings as they are.
        budget_s: no epoch of a search begins when it has taken so many seconds; None for no end.
        resume: go on from the checkpoint of a killed run of the same plan and snapshot.
        fit: what trains each network; in this process by default.
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
    if plan is None:
        plan = ModelPlan() if settings.plan is None else read_plan(project.folder / settings.plan)
    fit = fit or fit_network
    search = new_search(project, name, snapshot, plan, budget_s, fit, progress)
    found = search.run(resume=resume, progress=progress)
    settings, prepared = found.settings, found.prepared
    if prepared.task.kind is TaskKind.KNOWLEDGE:
        weights = {part: tensor.numpy() for part, tensor in found.fit.weights.items()}
        comparison = compare_knowledge(prepared, settings, found.fit, progress)
    else:
        network = final = new_network(snapshot, prepared, settings)
        network.load_state_dict(found.fit.weights)
        if plan.training_job.refit_trainval:
            folder = run_folder(project, name)
            final = refit_network(found, snapshot, folder, fit, resume=resume, progress=progress)
        weights, comparison = weights_of(final), compare(snapshot, prepared, (network, final), settings, progress)
    info = _info(name, snapshot, found, comparison)
    features = _features(snapshot, prepared, found.fit, comparison)
    version = save_version(project.versions, info, weights, features)
    remove_checkpoint(run_folder(project, name))
    search.record.remove()
    shutil.rmtree(label_folder(project, name), ignore_errors=True)
    return version


def _info(name: str, snapshot: Snapshot, found: Found, comparison: Comparison) -> VersionInfo:
    settings, prepared = found.settings, found.prepared
    return VersionInfo(
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
        best_epoch=found.fit.best_epoch,
        published={n: dict(values) for n, values in settings.published.items()},
        decides=prepared.judge.decides,
        plan=found.plan.to_yaml(),
        relation=prepared.task.relation,
        search=found.as_dict() if len(found.trials) > 1 or found.trials[0].note else {},
    )


def new_search(
    project: Project,
    name: str,
    snapshot: Snapshot,
    plan: ModelPlan,
    budget_s: float | None = None,
    fit: Fitting | None = None,
    progress: Progress = silent,
) -> Search:
    """The search for the plan of a task; its checkpoints lie in the project's work folder until the end.

    Raises:
        ProjectError: a setting does not suit the kind of task, such as refitting links without a time, whose graph
            differs from split to split.
    """
    settings, plan = pinned(project, project.task(name)[1], plan)
    prepared = prepare(project, name, snapshot, progress)
    _check(snapshot, prepared, settings, plan)
    shared = Shared(project, settings, snapshot, prepared, plan.training_job.tune_metric)
    folder = run_folder(project, name)

    def train(prepared: Prepared, settings: TaskSettings, stop: Stop, resume: bool, progress: Progress) -> Fit:
        return (fit or fit_network)(prepared, settings, snapshot, folder, stop=stop, resume=resume, progress=progress)

    return Search(plan, shared, train, folder / "search", budget_s)


def fit_network(
    prepared: Prepared,
    settings: TaskSettings,
    snapshot: Snapshot,
    folder: Path,
    *,
    stop: Stop = lambda fit: False,
    resume: bool = False,
    progress: Progress = silent,
    group: Group | None = None,
) -> Fit:
    """Train the network of a task, with a checkpoint in a folder, in a group of processes or alone."""
    if prepared.task.kind is TaskKind.KNOWLEDGE:
        if group is not None and not isinstance(group, Alone):
            what = f"{prepared.task.kind.words} is trained in one process"
            raise ProjectError(what, where=prepared.task.query_line, hint="leave out the workers")
        fingerprint = _fingerprint(snapshot, settings, prepared)
        return fit_knowledge(prepared, settings, folder, fingerprint, stop=stop, resume=resume, progress=progress)
    trainer = new_trainer(snapshot, prepared, settings, folder, _fingerprint(snapshot, settings, prepared))
    trainer.group = group or Alone()
    validation = None
    if (prepared.labels.split == 1).any():
        validation = replace(examples(prepared.labels.of(1)), target=target_of_split(prepared, 1))
    train = training_examples(prepared, settings)
    return trainer.run(train, validation, stop=stop, resume=resume, progress=progress)


def refit_network(
    found: Found, snapshot: Snapshot, folder: Path, fit: Fitting, *, resume: bool = False, progress: Progress = silent
) -> Network | LinkNetwork:
    """The network found, learnt anew from training and validation labels for as many epochs as were best.

    Features, objective and label history stay those of the training period: what was searched is what is learnt.
    """
    prepared, settings, labels = found.prepared, found.settings, found.prepared.labels
    split = np.where(labels.split == 1, 0, labels.split).astype(np.int8)
    both = replace(prepared, labels=replace(labels, split=split))
    train = settings.train.model_copy(update={"stop_after": found.fit.best_epoch})
    settings = settings.model_copy(update={"train": train})
    learnt = fit(both, settings, snapshot, folder, resume=resume, progress=progress)
    network = new_network(snapshot, prepared, settings)
    network.load_state_dict(learnt.weights)
    return network


def new_trainer(
    snapshot: Snapshot,
    prepared: Prepared,
    settings: TaskSettings,
    folder: Path = Path(),
    fingerprint: str = "",
) -> Trainer:
    """What trains the network of a task from its first weights; arguments as ``Trainer`` takes them."""
    network = new_network(snapshot, prepared, settings)
    if prepared.start is not None:
        start(network, prepared.start)
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


def _check(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings, plan: ModelPlan) -> None:
    """Refuse before training what could not be done after it."""
    check_method(prepared.objective, settings.train.calibration)
    cohort_columns(prepared.task, snapshot, settings.cohorts)
    timeless = prepared.task.kind in (TaskKind.STATIC_LINK, TaskKind.KNOWLEDGE)
    if plan.training_job.refit_trainval and timeless:
        hint = "training_job: {refit_trainval: false}"
        raise ProjectError("links without a time are not learnt from the validation labels", where="plan", hint=hint)


def _features(snapshot: Snapshot, prepared: Prepared, fit: Fit, comparison: Comparison) -> dict[str, Any]:
    """What was fitted beside the weights, as plain JSON values."""
    return {
        "spec": prepared.features.spec.as_dict(),
        "objective": prepared.objective.as_dict(),
        "epochs": fit.epochs,
        "blend": None if comparison.blend is None else comparison.blend.as_dict(),
        "certainty": comparison.certainty.as_dict(),
        "history": None if prepared.history is None else prepared.history.spec.as_dict(),
        "relations": list(prepared.labels.relations),
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
    plan = settings.model_dump_json(exclude={"train": {"num_threads"}})  # which changes nothing
    parts: list[Any] = [snapshot.id, __version__, plan, prepared.features.spec.digest]
    parts += [prepared.judge.of_epochs, len(prepared.labels.of(0))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
