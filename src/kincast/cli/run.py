"""Run: one query from its text to an explanation, an evaluation or predictions, training what is not there yet."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, AsOfOption, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.query.task import Task
    from kincast.query.tree import Query
    from kincast.registry.version import Version

SHOWN_ROWS = 10


def run(
    text: Annotated[str, typer.Argument(metavar="QUERY", help='"[EXPLAIN | EVALUATE] PREDICT ... FOR EACH ...".')],
    as_of: AsOfOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do what one query says.

    EXPLAIN says what it means, without training. EVALUATE shows its model on the test period. Otherwise the rows it
    asks for are predicted. The settings are those of the task in kincast.yaml that has this query, else the usual
    ones. A model is trained where the current snapshot has none for it; the snapshot is built where there is none.
    """
    from kincast.cli.build import build_current
    from kincast.cli.evaluate import show_certainty, show_metrics
    from kincast.cli.explain import explain_task
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.query.compile import compile_task
    from kincast.query.tree import Mode

    task = compile_task(text, workspace.schema(), workspace.project.targets)
    name, workspace = with_task(workspace, task)
    if task.query.mode is Mode.EXPLAIN:
        explain_task(console, workspace, name, task)
        return
    if not workspace.project.snapshots.is_dir():
        build_current(console, workspace)
    version = _version(console, workspace, name, task)
    if task.query.mode is Mode.EVALUATE:
        show_metrics(console, version.info, "test")
        show_certainty(console, version.info)
        console.result(version.info.as_dict())
        return
    _predict(console, workspace, version, task, as_of)


def with_task(workspace: Workspace, task: Task) -> tuple[str, Workspace]:
    """The name of the task that has a query, and the workspace with it.

    Two queries are the same when their canonical texts are, whatever stands in front and whichever keys they name.
    """
    import hashlib

    from kincast.errors import QueryError
    from kincast.project import TaskSettings
    from kincast.query.compile import compile_task
    from kincast.query.print import print_query

    text = print_query(_for_all(task.query))
    project = workspace.project
    for name, settings in project.tasks.items():
        try:
            known = compile_task(settings.query, task.schema, project.targets)
        except QueryError:  # another task's mistake is none of this query's
            continue
        if print_query(_for_all(known.query)) == text:
            return name, workspace
    name = f"query-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    tasks = {**project.tasks, name: TaskSettings(query=text)}
    return name, dataclasses.replace(workspace, project=project.model_copy(update={"tasks": tasks}))


def _for_all(query: Query) -> Query:
    from kincast.query.tree import Mode

    return dataclasses.replace(query, mode=Mode.PREDICT, entity=dataclasses.replace(query.entity, keys=None))


def _version(console: Console, workspace: Workspace, name: str, task: Task) -> Version:
    """The champion, else the newest version of the current snapshot, if trained on this very query; else a new one."""
    from kincast.cli.train import train_version
    from kincast.errors import VersionError
    from kincast.query.compile import compile_task
    from kincast.query.print import print_query

    def fits(version: Version) -> bool:
        known = compile_task(version.info.query, version.info.schema)
        return print_query(_for_all(known.query)) == print_query(_for_all(task.query))

    try:
        champion, newest = workspace.version(name), workspace.newest_version(name)
    except VersionError:
        return train_version(console, workspace, name)
    if fits(champion) and workspace.registry().get(name, "champion") is not None:
        return champion
    if fits(newest) and newest.info.snapshot_id == workspace.snapshot().id:
        return newest
    return train_version(console, workspace, name)


def _predict(console: Console, workspace: Workspace, version: Version, task: Task, as_of: str | None) -> None:
    """Predict for the rows that the query asks for: all, or those of its keys that pass its filter."""
    from kincast.cli.predict import instants_in_words, show_rows
    from kincast.clock import format_instant, parse_instant
    from kincast.predict.online import Predictor
    from kincast.query.labels import prediction_seeds
    from kincast.query.task import TaskKind

    project, snapshot = workspace.project, workspace.snapshot()
    as_of_us = parse_instant(as_of) if as_of else None
    with console.progress() as progress:
        folder, readahead = project.work / "features", project.features.readahead
        predictor = Predictor.load(version, snapshot, folder, progress, readahead=readahead)
        with snapshot.open_tables() as tables:
            asks = task.kind is TaskKind.KNOWLEDGE  # of rows and relations, not of rows
            rows, _ = predictor.entity_rows(as_of_us) if asks else prediction_seeds(task, tables, as_of_us)
        found = predictor.predict_rows(rows, predictor.instants_of(rows, as_of_us), progress)
    table = found.as_table()
    show_rows(console, table, limit=SHOWN_ROWS if task.query.entity.keys is None else table.num_rows)
    when = instants_in_words(found)
    console.say(f"{amount(table.num_rows, 'prediction')} {when} by version {version.info.id}")
    until = format_instant(found.as_of_us)
    console.result({"version": version.info.id, "as_of": until, "predictions": table.to_pylist()})
