"""Check: read the database and say what is wrong with its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.graph.snapshot import Snapshot
    from kincast.report import Report


def check(project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Check the rows: keys, links, times.

    Exit code 1 when something must be repaired.
    """
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.source.check import check_tables

    schema = workspace.schema()
    with workspace.timed("check"), console.progress() as progress, workspace.fresh_tables(schema, progress) as tables:
        found = check_tables(tables)
    workspace.note("check", found.as_dict())
    show_report(console, found)
    console.result(found.as_dict())
    if not found.passed:
        raise typer.Exit(1)


def giveaways(workspace: Workspace, task: str, snapshot: Snapshot) -> Report:
    """Columns and aggregates that alone nearly tell the label of a task.

    Raises:
        DataError: the rows give no labels for it.
    """
    from kincast.query.compile import compile_task
    from kincast.train.giveaway import find_giveaways
    from kincast.train.prepare import labels_of

    _, settings = workspace.project.task(task)
    checked = compile_task(settings.query, snapshot.schema, workspace.project.targets)
    labels = labels_of(workspace.project, task, checked, snapshot)
    return find_giveaways(snapshot, checked, labels, settings.split, strict=settings.strict)


def show_report(console: Console, report: Report) -> None:
    """Print what is worth a look, worst first, and count the rest."""
    from kincast.report import Verdict

    unremarkable = 0
    for one in report.worst_first():
        if one.verdict is Verdict.OK:
            unremarkable += 1
            continue
        samples = f" ({', '.join(one.samples)})" if one.samples else ""
        console.verdict(one.verdict.value, f"{one.where}: {one.message}{samples}")
    console.say(f"{report.subject}: {report.verdict.value}; {amount(unremarkable, 'check')} found nothing to say")
