"""Version: list model versions, promote one through the gate, roll back; and the version of Kincast itself."""

from __future__ import annotations

from typing import Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument

app = typer.Typer(help="List model versions, promote one, or roll back.", no_args_is_help=True, rich_markup_mode=None)


def version(as_json: JsonOption = False) -> None:
    """Print the version of Kincast."""
    import platform

    from kincast import __version__

    console = Console(as_json=as_json)
    console.say(f"kincast {__version__}")
    console.result({"kincast": __version__, "python": platform.python_version()})


@app.command("list")
def list_versions(
    task: TaskArgument = None, project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List the versions of a task, newest first, with their aliases."""
    from kincast.cli.workspace import Workspace
    from kincast.clock import format_instant

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    entries = workspace.registry().history(name)
    rows = [(e.id, ", ".join(e.aliases) or "–", format_instant(e.created_us // 10**6 * 10**6)) for e in entries]
    if rows:
        console.table(("version", "aliases", "trained"), rows)
    else:
        console.say(f"task {name} has no model yet; next: kincast train {name}")
    console.result([{"id": e.id, "aliases": e.aliases, "metrics": e.metrics} for e in entries])


@app.command("promote")
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Id, or 'challenger'.")] = "challenger",
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Name of the task; needless where there is one.")
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a version the champion if it passes the gate. Exit code 1 when it does not."""
    from kincast.cli.check import show_report
    from kincast.cli.workspace import Workspace
    from kincast.operate.gate import promote as promote_version

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    candidate = workspace.version(name, version)
    found = promote_version(workspace.registry(), workspace.project.versions, candidate)
    workspace.note(f"gate/{name}", found.as_dict())
    show_report(console, found)
    console.say(f"{candidate.info.id} is {'now' if found.passed else 'NOT'} the champion of {name}")
    console.result(found.as_dict())
    if not found.passed:
        raise typer.Exit(1)


@app.command("rollback")
def rollback(
    task: TaskArgument = None, project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Make the previous champion champion again."""
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    champion = workspace.registry().rollback(name)
    console.say(f"{champion.id} is the champion of {name} again")
    console.result({"task": name, "champion": champion.id})
