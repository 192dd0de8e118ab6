"""Dead letters: changes that a rule rejected: listed, and tried again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

app = typer.Typer(help="List the changes that a rule rejected, and try them again.", no_args_is_help=True)


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option("--limit", "-n", help="Show so many at most.", min=1)] = 20,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the changes that a rule rejected, newest first."""
    from kincast.cli.workspace import Workspace
    from kincast.graph.deadletter import DeadLetters

    console = Console(as_json=as_json, quiet=quiet)
    letters = DeadLetters(Workspace.open(project).project.snapshots).read()
    if not letters:
        console.say("there are no dead letters")
    else:
        counts = Counter((letter.rule, letter.table or "–") for letter in letters)
        rows = [(rule, table, f"{count:,}") for (rule, table), count in counts.most_common()]
        console.table(("rule", "table", "letters"), rows)
        shown = [
            (one.id, one.rule, one.table or "–", _short(one.text or json.dumps(one.row, ensure_ascii=False)))
            for one in letters[::-1][:limit]
        ]
        console.table(("id", "rule", "table", "as it came"), shown)
    console.result([asdict(letter) for letter in letters[::-1][:limit]])


@app.command("replay")
def replay(project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Judge the dead letters again by the card of the current snapshot, and keep those that pass."""
    from kincast.cli.workspace import Workspace
    from kincast.graph.deadletter import DeadLetters
    from kincast.graph.delta import DeltaLog

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    schema, root = workspace.snapshot().schema, workspace.project.snapshots
    with DeltaLog(root) as log:
        done = DeadLetters(root).replay(log, schema)
    console.say(f"{amount(done.kept, 'letter')} kept as changes, {done.left:,} still rejected")
    console.result(asdict(done))


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
