"""Run: one query from its text to an explanation, an evaluation or predictions, training what is not there yet."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

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
    from kincast.cli.evaluate import show_metrics
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
    version = _version(console, workspace, name)
    if task.query.mode is Mode.EVALUATE:
        show_metrics(console, version.info, "test")
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


def _version(console: Console, workspace: Workspace, name: str) -> Version:
    """The champion of the task, else its newest version of the current snapshot, else one trained now."""
    from kincast.cli.train import train_version
    from kincast.errors import VersionError

    try:
        version = workspace.version(name)
    except VersionError:
        return train_version(console, workspace, name)
    is_champion = workspace.registry().get(name, "champion") is not None
    if is_champion or version.info.snapshot_id == workspace.snapshot().id:
        return version
    return train_version(console, workspace, name)


def _predict(console: Console, workspace: Workspace, version: Version, task: Task, as_of: str | None) -> None:
    from kincast.cli.predict import show_rows
    from kincast.clock import format_instant, parse_instant
    from kincast.predict.batch import predict_all
    from kincast.query.labels import prediction_seeds

    snapshot = workspace.snapshot()
    as_of_us = parse_instant(as_of) if as_of else None
    keys: list[Any] | None = None
    if task.query.entity.keys is not None:
        with snapshot.open_tables() as tables:
            rows, _ = prediction_seeds(task, tables, as_of_us)
        columns = snapshot.keys_of(task.entity, rows).columns
        keys = list(zip(*(column.to_pylist() for column in columns), strict=True))
        keys = [key[0] for key in keys] if len(columns) == 1 else keys
    with console.progress() as progress:
        result = predict_all(
            workspace.project, version, snapshot=snapshot, as_of_us=as_of_us, keys=keys, progress=progress
        )
    rows = result.predictions.as_table()
    until = format_instant(result.predictions.as_of_us)
    show_rows(console, rows, limit=SHOWN_ROWS if keys is None else len(keys))
    console.say(f"{amount(rows.num_rows, 'prediction')} as of {until} by version {version.info.id}")
    console.result({"version": version.info.id, "as_of": until, "predictions": rows.to_pylist()})
