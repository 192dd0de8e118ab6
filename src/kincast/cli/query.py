"""Query: what can be done with the text of a query alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kincast.cli.code import FAILED

app = typer.Typer(
    help="Work on the text of a query.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


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
