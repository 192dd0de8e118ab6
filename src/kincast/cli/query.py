"""Query: what can be done with a query alone: run it, write its labels to a file, format its text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kincast.cli.code import FAILED
from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption
from kincast.cli.run import run

app = typer.Typer(
    help="Run a query, write its labels to a file, or format its text.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


app.command("run")(run)


@app.command("labels")
def labels(
    text: Annotated[str, typer.Argument(metavar="QUERY", help='"PREDICT ... FOR EACH ...".')],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Parquet or CSV file.")],
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the labels of a query to a file.

    They carry your own keys. Change them, add weights or columns, and name the file as 'labels' of a task.
    """
    from kincast.cli.predict import write_rows
    from kincast.cli.run import with_task
    from kincast.cli.workspace import Workspace
    from kincast.errors import QueryError

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.query.compile import compile_task
    from kincast.query.export import export_labels
    from kincast.query.labels import make_labels

    task = compile_task(text, workspace.schema(), workspace.project.targets)
    if task.targets:
        more = task.query.more[0].at
        hint = "write one file for each target"
        raise QueryError("a label file is of one target", text=text, start=more.start, end=more.end, hint=hint)
    name, workspace = with_task(workspace, task)
    split = workspace.project.tasks[name].split
    with console.progress() as progress, workspace.tables(progress) as tables:
        found = export_labels(task, make_labels(task, tables, split, progress=progress), tables)
    write_rows(found, output)
    console.say(f"{amount(found.num_rows, 'label')} written to {output}")
    console.result({"rows": found.num_rows, "columns": found.column_names, "written": str(output)})


@app.command("format")
def format_query(
    file: Annotated[
        str, typer.Argument(metavar="[FILE | -]", help="A file with one query; - is standard input.")
    ] = "-",
    write: Annotated[bool, typer.Option("--write", "-w", help="Write it back to the file.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say, by the exit code, whether it is as it should be.")
    ] = False,
) -> None:
    """Print a query in its canonical form; comments are left out."""
    from kincast.errors import ProjectError
    from kincast.query.format import format_text

    path = Path(file)
    try:
        text = sys.stdin.read() if file == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ProjectError(f"cannot be read: {reason}", where=file) from None
    found = format_text(text)
    if found.num_comments:
        print(f"kincast: {found.num_comments} comments are left out", file=sys.stderr)
    if check:
        if found.text != text:
            print(f"kincast: {file} would be changed", file=sys.stderr)
            raise typer.Exit(FAILED)
        return
    if write and file != "-":
        if found.text != text:
            from kincast.atomic import replace_text

            replace_text(path, found.text)
        return
    print(found.text, end="")
