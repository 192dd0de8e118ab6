"""Pretrain: a network that learns what comes next along the links of rows, before anybody's labels are looked at."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from kincast import __version__
from kincast.clock import Span, format_instant
from kincast.errors import DataError, ProjectError
from kincast.feature.fit import fit_features
from kincast.feature.store import open_features
from kincast.graph.snapshot import Snapshot
from kincast.model.network import weights_of
from kincast.model.threads import limit_threads
from kincast.progress import Progress, silent
from kincast.project import Project, SplitSettings, TaskSettings
from kincast.query.anchors import time_range
from kincast.query.block import Plan, make_blocks
from kincast.query.compile import compile_task, length_of
from kincast.query.encode import encode
from kincast.query.grid import shifted
from kincast.query.labels import Labels
from kincast.query.pretext import pretext_query
from kincast.query.print import print_node
from kincast.query.several import side_by_side
from kincast.query.task import Task, TaskKind
from kincast.registry.pretrained import Pretrained, save_pretrained
from kincast.train.checkpoint import remove_checkpoint
from kincast.train.judge import judge_of
from kincast.train.prepare import (
    CLASSES,
    Prepared,
    label_folder,
    labels_of,
    new_network,
    objective_of,
    run_folder,
    settled,
)
from kincast.train.run import fit_network
from kincast.train.start import body_of, first_judged_us

USUAL = Span(30, "days")
MOST_INSTANTS = 400
"""Instants at most, the newest: what was usual long before says less."""
HELD_OUT = 0.1
"""Share of the instants, the newest, that decide which epoch is best."""
MOST_CLASSES = 64
"""Classes of a target at most; with more, most of them are too rare to be learnt."""
WITHOUT_LABELS = {
    "loss": None,
    "class_weights": False,
    "majority_ratio": None,
    "weights": "loss",
    "stop_after": None,
    "start_from": None,
    "freeze_body_epochs": 0,
}
"""Settings of a training that belong to a task's own labels, and what they are here."""


def pretrain_task(
    project: Project, name: str, *, snapshot: Snapshot, resume: bool = False, progress: Progress = silent
) -> Pretrained:
    """Pre-train a network for a task of a project, and save it.

    It learns a query of many targets that the schema gives (``kincast.query.pretext``), at instants whose windows end
    before the task is validated. The newest of these instants decide which epoch is best.

    Args:
        project: its settings and folders.
        name: of the task.
        snapshot: the rows.
        resume: go on from the checkpoint of a killed run of the same settings and snapshot.
        progress: told what is done.

    Raises:
        QueryError: the task's query does not fit the schema.
        ProjectError: nothing with a time refers to the entity, or the end lies behind what the task is judged by.
        DataError: no target can be learnt.
        TrainError: training diverged.
        StorageError: the disk refused.
    """
    limit_threads()
    _, settings = project.task(name)
    task = compile_task(settings.query, snapshot.schema, project.targets)
    if task.kind is TaskKind.STATIC_LINK:
        raise ProjectError(f"there is no pre-training for {task.kind.words}", where=f"tasks.{name}", hint="train")
    end_us = _end_us(project, name, task, snapshot)
    pretext = pretext_task(task, settings, facts_of(snapshot, end_us))
    own = _settings(settings, windows_of(task, settings), end_us)
    scratch = f"{name} pretrain"
    runs = project.model_copy(update={"tasks": {scratch: own}})
    prepared = prepare_pretext(runs, scratch, task, pretext, snapshot, progress)
    own = settled(own, snapshot, prepared)
    fit = fit_network(prepared, own, snapshot, run_folder(runs, scratch), resume=resume, progress=progress)
    network = new_network(snapshot, prepared, own)
    network.load_state_dict(fit.weights)
    found = Pretrained(
        name=name,
        entity=pretext.entity,
        end_us=end_us,
        query=pretext.text,
        targets=tuple(prepared.parts),
        schema=snapshot.schema,
        snapshot_id=snapshot.id,
        hidden=tuple(sorted(task.hidden)),
        model=own.model.model_dump(mode="json"),
        feature_settings=project.features.model_dump(mode="json"),
        features=prepared.features.spec.as_dict(),
        code_version=__version__,
        epochs=fit.epochs,
        created_us=time.time_ns() // 1_000,
    )
    saved = save_pretrained(project.pretrained, found, body_of(weights_of(network)))
    remove_checkpoint(run_folder(runs, scratch))
    shutil.rmtree(label_folder(runs, scratch), ignore_errors=True)
    return saved


def facts_of(snapshot: Snapshot, end_us: int) -> list[str]:
    """Tables that have a row with a time by the end."""
    tables = snapshot.tables.values()
    return [table.name for table in tables if table.time_us is not None and (table.time_us[:1] <= end_us).any()]


def pretext_task(task: Task, settings: TaskSettings, facts: Collection[str]) -> Task:
    """What is learnt for a task without labels.

    Args:
        task: what is predicted.
        settings: of the task.
        facts: tables that are asked about.

    Raises:
        ProjectError: there is no such entity, or none of these tables leads to it.
    """
    plan, schema = settings.pretrain, task.schema
    entity = plan.entity or task.entity
    if not schema.has_table(entity):
        hint = f"there are {', '.join(table.name for table in schema)}"
        raise ProjectError(f"there is no table {entity}", where="pretrain.entity", hint=hint)
    where = None
    if entity == task.entity and task.query.where is not None and not task.is_static:
        where = print_node(task.query.where)
    windows, hops = windows_of(task, settings), settings.model.num_hops
    query = pretext_query(schema, entity, windows, facts=facts, hops=hops, hidden=task.hidden, where=where)
    return compile_task(query, schema)


def windows_of(task: Task, settings: TaskSettings) -> tuple[Span, ...]:
    """How far ahead: as the settings say, or half the task's window and twice the window."""
    if settings.pretrain.windows:
        return settings.pretrain.windows
    if task.window is None:
        return (USUAL,)
    length = length_of(task.window)
    half = (Span(length.count // 2, length.unit),) if length.count > 1 else (length,)
    return (*half, length * 2)


def prepare_pretext(
    project: Project, name: str, task: Task, pretext: Task, snapshot: Snapshot, progress: Progress = silent
) -> Prepared:
    """Labels, features and objective of a pretext, as a training takes them.

    Args:
        project: has the pretext's settings under that name.
        name: of the pretext.
        task: for which it is; its hidden columns are not read.
        pretext: what is learnt.
        snapshot: the rows.
        progress: told what is done.

    Raises:
        DataError: no target can be learnt.
    """
    _, settings = project.task(name)
    end_us = settings.split.end_us
    assert end_us is not None
    parts = _parts(pretext, snapshot, settings, label_folder(project, name), progress)
    labels = side_by_side(list(parts.values()), pretext.query_line)
    spec = fit_features(snapshot, end_us - settings.strict, task.hidden, project.feature_settings)
    readahead = project.features.readahead
    features = open_features(snapshot, spec, project.work / "features", progress, readahead=readahead)
    objective, priors = objective_of(labels.of(0), parts, settings)
    judge = judge_of(pretext, objective, (), priors)
    return Prepared(pretext, labels, features, objective, judge, parts)


def _end_us(project: Project, name: str, task: Task, snapshot: Snapshot) -> int:
    """Up to which instant facts are looked at."""
    _, settings = project.task(name)
    first_us = first_judged_us(labels_of(project, name, task, snapshot))
    wanted = settings.pretrain.end_us
    if wanted is not None and wanted > first_us:
        what = f"{format_instant(wanted)} is later than {format_instant(first_us)}, from which on the task is validated"
        raise ProjectError(what, where=f"tasks.{name}.pretrain.end", hint="leave it out, or name an earlier instant")
    return first_us if wanted is None else wanted


def _settings(settings: TaskSettings, windows: Sequence[Span], end_us: int) -> TaskSettings:
    """The settings of a training without labels; the shape of the network stays the task's."""
    plan = settings.pretrain
    train = {**WITHOUT_LABELS, "max_epochs": plan.max_epochs}
    step = plan.step or min(windows, key=lambda window: window.approx_us)
    split = SplitSettings(family="date_offset", step=step, end=end_us)
    return settings.model_copy(
        update={
            "labels": None,
            "plan": None,
            "split": split,
            "model": settings.model.model_copy(update={"label_history": 0, "post_layers": 0}),
            "train": settings.train.model_copy(update=train),
        }
    )


def instants_of(first_us: int, end_us: int, window: Span, step: Span) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Instants, ascending, of training and of validation, which has the newest.

    All windows end by ``end_us``, and those of training before the first instant of validation.

    Args:
        first_us: of the facts; the first instant is a step later.
        end_us: end of all windows.
        window: the longest.
        step: between instants.
    """
    last, floor = shifted(end_us, -window), shifted(first_us, step)
    found = [last]
    while len(found) < MOST_INSTANTS and (instant := shifted(last, step * -len(found))) >= floor:
        found.append(instant)
    num = max(1, round(HELD_OUT * len(found)))
    validation = found[:num][::-1]
    train = [instant for instant in found[num:][::-1] if shifted(instant, window) <= validation[0]]
    return tuple(train), tuple(validation)


def _parts(
    pretext: Task, snapshot: Snapshot, settings: TaskSettings, folder: Path, progress: Progress
) -> dict[str, Labels]:
    """The labels of each target that can be learnt, by its text."""
    assert pretext.window is not None
    assert settings.split.end_us is not None
    assert settings.split.step is not None
    found: dict[str, Labels] = {}
    with snapshot.open_tables() as tables:
        first_us, _ = time_range(tables, pretext.fact_tables)
        train, held_out = instants_of(first_us, settings.split.end_us, pretext.window[1], settings.split.step)
        for part in pretext.targets:
            table = pa.concat_tables(make_blocks(Plan(part, tables, (*train, *held_out)), folder, progress))
            rows, as_of_us = (table[name].to_numpy().astype(np.int64, copy=False) for name in ("row", "as_of_us"))
            known, split = encode(part, table["target"]), np.isin(as_of_us, held_out).astype(np.int8)
            labels = Labels(part.entity, part.kind, rows, as_of_us, known.target, split, known.classes)
            if _says_something(labels):
                found[print_node(part.query.target)] = labels
    if not found:
        what = f"nothing that comes next can be learnt before {format_instant(settings.split.end_us)}"
        hint = "use shorter windows or a later end, in the block pretrain"
        raise DataError(what, where=pretext.query_line, hint=hint)
    return found


def _says_something(labels: Labels) -> bool:
    """True when targets differ in training and in validation, and are not of too many classes."""
    several = all(len(labels.of(split)) and np.ptp(labels.of(split).target) > 0 for split in (0, 1))
    return several and (labels.kind not in CLASSES or len(labels.classes) <= MOST_CLASSES)
