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
from numpy.typing import NDArray

from kincast import __version__
from kincast.graph.snapshot import Snapshot
from kincast.model.boost import BLENDED, Blend, Trees
from kincast.model.link import LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import LINKS
from kincast.model.ranked import Ranked
from kincast.model.score import Scored
from kincast.model.threads import limit_threads
from kincast.progress import Progress, silent
from kincast.project import Project, TaskSettings
from kincast.query.encode import Lists
from kincast.query.labels import Labels
from kincast.registry.version import Metrics, Version, VersionInfo, save_version
from kincast.train.boost import fit_trees, fit_weights
from kincast.train.candidate import CandidateSource, LinkTrainer
from kincast.train.checkpoint import remove_checkpoint
from kincast.train.contender import LIGHTGBM, NETWORK, Field, contenders
from kincast.train.loop import Fit, Trainer
from kincast.train.popular import link_heuristics
from kincast.train.prepare import (
    Prepared,
    examples,
    label_folder,
    lists_of,
    new_aggregator,
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
    """The model and every baseline on the very same rows, as ``VersionInfo`` keeps it.

    Attributes:
        metrics: of the model: the network, or its blend with trees.
        baselines: name → metrics; of a blend, the network alone too.
        margins: name → the model's metrics minus the baseline's.
        blend: how network and trees became one; None where the network stands alone.
        trees: of the blend.
    """

    metrics: Metrics
    baselines: dict[str, Metrics]
    margins: dict[str, Metrics]
    blend: Blend | None = None
    trees: Trees | None = None


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
        settings=json.loads(settings.model_dump_json(include={"ties", "split", "model", "train"}, by_alias=True)),
        metrics=comparison.metrics,
        baselines=comparison.baselines,
        margins=comparison.margins,
        code_version=__version__,
        created_us=time.time_ns() // 1_000,
        best_epoch=fit.best_epoch,
        published={n: dict(values) for n, values in settings.published.items()},
        decides=prepared.judge.decides,
    )
    features = {
        "spec": prepared.features.spec.as_dict(),
        "objective": prepared.objective.as_dict(),
        "epochs": fit.epochs,
        "history": None if prepared.history is None else prepared.history.spec.as_dict(),
        "blend": None if comparison.blend is None else comparison.blend.as_dict(),
        "trees": [] if comparison.trees is None else list(comparison.trees.texts),
        **_item_keys(snapshot, prepared),
    }
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
    """Metrics of the model and of every baseline, per split, on the very same rows."""
    labels, seed = prepared.labels, settings.train.seed
    entities = _entities(snapshot, labels)
    own = _network_scores(snapshot, prepared, network, settings, progress)
    rivals: dict[str, Scored] = {}
    blend, trees = None, None
    if labels.kind not in LINKS:
        seeds, whole = examples(labels).seeds, replace(labels, rows=entities)
        threads = settings.train.num_threads or 2
        aggregates = new_aggregator(snapshot, prepared, settings).of(seeds, threads, progress)
        progress("train LightGBM", 0, 1)
        if labels.kind in BLENDED and not prepared.parts:
            trees = fit_trees(whole, aggregates, seed=seed)
        field = Field(prepared.task, whole, snapshot, seeds, aggregates, trees, seed, settings.strict)
        rivals = contenders(field, prepared.parts)
        progress("train LightGBM", 1, 1)
    if trees is not None and settings.train.blend:
        blend = _blend(prepared, own[1], rivals[LIGHTGBM])
    found = Comparison({}, {}, {}, blend, None if blend is None else trees)
    for split, split_name in SPLITS.items():
        chosen = labels.split == split
        part = labels.of(split)
        theirs = {name: _take(scores, chosen) for name, scores in rivals.items()}
        if labels.kind in LINKS:
            loader = new_loader(snapshot, prepared, settings, split)
            assert loader.items is not None
            rules = link_heuristics(loader.items, loader.items.length_us)
            theirs = {name: rule(examples(part).seeds) for name, rule in rules.items()}
        scores = own[split]
        if blend is not None:
            theirs = {NETWORK: scores, **theirs}
            scores = blend.scores(labels.kind, _plain(scores), _plain(theirs[LIGHTGBM]))
        rows, target = entities[chosen], _target(prepared, part)
        step = f"compare on the {split_name} period"
        progress(step, 0, 1 + len(theirs))
        measured = prepared.judge.measure(target, scores, rows)
        found.metrics[split_name] = measured.intervals()
        for done, (baseline, rival_scores) in enumerate(theirs.items(), start=1):
            progress(step, done, 1 + len(theirs))
            rival = prepared.judge.measure(target, rival_scores, rows)
            found.baselines.setdefault(baseline, {})[split_name] = rival.intervals()
            found.margins.setdefault(baseline, {})[split_name] = measured.margins(rival)
        progress(step, 1 + len(theirs), 1 + len(theirs))
    return found


def _entities(snapshot: Snapshot, labels: Labels) -> NDArray[np.int64]:
    """[n] rows that tell entities apart: what has versions is one, whichever of them a label is of."""
    versions = snapshot.tables[labels.entity].versions
    return labels.rows if versions is None else versions.forward[labels.rows].astype(np.int64)


def _network_scores(
    snapshot: Snapshot,
    prepared: Prepared,
    network: Network | LinkNetwork,
    settings: TaskSettings,
    progress: Progress,
) -> dict[int, Scored]:
    """The network's scores of each split that is judged."""
    found = {}
    for split in SPLITS:
        loader = new_loader(snapshot, prepared, settings, split)
        found[split], _ = loader.score(network, prepared.objective, examples(prepared.labels.of(split)).seeds, progress)
    return found


def _blend(prepared: Prepared, network: Scored, trees: Scored) -> Blend | None:
    """Network and trees as one, with weights that fit the validation period."""
    labels = prepared.labels
    held = labels.split == 1
    if not held.any() or prepared.aggregates is None:
        return None
    weights = fit_weights(labels.kind, labels.target[held], _plain(network), _plain(trees)[held])
    of_network, of_trees, shift = weights.tolist()
    return Blend(of_network, of_trees, shift, prepared.aggregates)


def _plain(scores: Scored) -> NDArray[np.float64]:
    assert isinstance(scores, np.ndarray)
    return scores


def _target(prepared: Prepared, labels: Labels) -> Any:
    return lists_of(labels) if prepared.parts else examples(labels).target


def _take(scores: Scored, chosen: NDArray[np.bool_]) -> Scored:
    """Scores of some rows."""
    if isinstance(scores, Ranked):
        return scores.take(chosen)
    return tuple(part[chosen] for part in scores) if isinstance(scores, tuple) else scores[chosen]


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
