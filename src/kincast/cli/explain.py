"""Explain: what a query means, its label SQL, its instants and its label rate, without training."""

from __future__ import annotations

from typing import Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument


def explain(
    task: TaskArgument = None,
    query: Annotated[
        str | None, typer.Option("--query", help='Explain this instead: "PREDICT ... FOR EACH ...".')
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what a query means, without training."""
    from kincast.cli.workspace import Workspace
    from kincast.project import SplitSettings

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.query.compile import compile_task
    from kincast.query.explain import explain as explain_task

    if query is None:
        name, settings, checked = workspace.task(task)
        split = settings.split
    else:
        name, split, checked = None, SplitSettings(), compile_task(query, workspace.schema(), workspace.project.targets)
    with console.progress() as progress, workspace.tables(progress) as tables:
        found = explain_task(checked, tables, split)
    if name is not None:
        workspace.note(f"explain/{name}", found.as_dict())
    console.say(found.as_text())
    console.result(found.as_dict())
