"""Forget: a row leaves the graph and everything that was made from it, for good."""

from __future__ import annotations

from typing import Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption


def forget(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Table of the schema card.")],
    key: Annotated[list[str], typer.Argument(metavar="KEY...", help="Its key, one word for each key column.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove a row for good, at a person's request.

    It leaves the log, all snapshots, encoded features and published stores; older snapshots are removed. The database
    is not touched: delete the row there too, or the next build brings it back.
    """
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    if not yes:
        typer.confirm(f"Remove {table} {' '.join(key)} and all older snapshots for good?", abort=True, err=True)

    from kincast.operate.forget import forget as forget_row

    with console.progress() as progress:
        done = forget_row(workspace.project, table, key[0] if len(key) == 1 else tuple(key), progress)
    console.say(f"{table} {' '.join(key)} is gone; the snapshot is now {done.snapshot}")
    if done.stores:
        console.say(f"removed with it, to be published again by kincast predict: {', '.join(done.stores)}")
    console.result({"snapshot": done.snapshot, "features": done.num_features, "stores": done.stores})
