"""Explain: what a task's query means, its label SQL, its instants and its label rate, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.query.task import Task


def explain(
    task: TaskArgument = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what a query means, without training.

    Of a query that is no task yet: kincast query run "EXPLAIN PREDICT ...".
    """
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _, checked = workspace.task(task)
    explain_task(console, workspace, name, checked)


def explain_task(console: Console, workspace: Workspace, name: str, task: Task) -> None:
    """Show what a task of the workspace means, and note it for the report."""
    from kincast.query.explain import explain as explain_query
    from kincast.query.labels import read_labels

    settings = workspace.project.tasks[name]
    with console.progress() as progress, workspace.tables(progress) as tables:
        path = workspace.project.own_labels(settings)
        own = None if path is None else read_labels(task, tables, path, settings.split)
        found = explain_query(task, tables, settings.split, settings.train, own, strict=settings.strict)
    workspace.note(f"explain/{name}", found.as_dict())
    console.say(found.as_text())
    console.result(found.as_dict())
