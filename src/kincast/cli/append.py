"""Append: rows of a file join the graph at once, beside the snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

_SHOWN = 3


def append(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Table of the schema card.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows as .parquet, .csv or .csv.gz.")],
    deleted: Annotated[bool, typer.Option("--deleted", help="The rows are gone; only their keys are read.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Append rows, or newer versions of rows, to the graph.

    A server that runs sees them within a second; `kincast compact` makes them part of the next snapshot.
    """
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.graph.append import append as append_rows
    from kincast.source.folder import read_rows

    appended = append_rows(workspace.project, table, read_rows(file), deleted)
    rejected = appended.rejected.num_rows
    console.say(f"{amount(appended.num_rows, 'row')} of {table} kept as record {appended.kept.record}")
    if rejected:
        console.say(f"{amount(rejected, 'row')} rejected:")
        for row in appended.rejected.slice(0, _SHOWN).to_pylist():
            console.say(f"  {row.pop('_rule')}: {row}")
    console.result({"record": appended.kept.record, "rows": appended.num_rows, "rejected": rejected})
