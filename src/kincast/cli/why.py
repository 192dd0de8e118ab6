"""Why: what moved the prediction of a row, or, without a key, the predictions of the test period on average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, AsOfOption, JsonOption, ProjectOption, QuietOption, VersionOption

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.predict.reason import ColumnReason, Why
    from kincast.registry.version import Version

MOST_LETTERS = 40  # of a value on the screen


def why(  # over budget: each argument is an option of the command
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of a task in kincast.yaml.")],
    key: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="The row, all parts of its key; none for an overview.")
    ] = None,
    of: Annotated[
        str | None, typer.Option("--of", metavar="NAME", help="A class or label, the number of a step, an item's key.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="TEXT", help="One of several targets.")] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Reasons of each sort, at most.", min=1)] = 5,
    rows: Annotated[int, typer.Option("--rows", metavar="N", help="Rows of an overview, at most.", min=1)] = 200,
    as_of: AsOfOption = None,
    version: VersionOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what moved a prediction.

    Which linked rows, which links and which columns, and by how much. Without a KEY: what moves the predictions of the
    test period on average, which the report shows too.
    """
    from kincast.cli.workspace import Workspace
    from kincast.clock import parse_instant

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    found = workspace.version(name, version)
    if not key:
        _overview(console, workspace, found, rows, top)
        return

    from kincast.predict.online import Predictor

    folder, readahead = workspace.project.work / "features", workspace.project.features.readahead
    with console.progress() as progress:
        predictor = Predictor.load(found, workspace.snapshot(), folder, progress, readahead=readahead)
    instant = parse_instant(as_of) if as_of else None
    wanted = key[0] if len(key) == 1 else tuple(key)
    (told,) = predictor.why([wanted], instant, of=of, target=target, top=top)
    show_why(console, name, told)
    console.result({"version": found.info.id, "task": name, **told.as_dict()})


def show_why(console: Console, task: str, told: Why) -> None:
    """Print what moved a number: exact changes first, then what adds up."""
    from kincast.predict.reason import signed

    of = "".join(f", {word} {value}" for word, value in told.of.items())
    console.say(f"{task} of {told.key} as of {told.as_of}{of}: {told.noun} {told.score:.4g}")
    console.say(f"read of {told.num_rows:,} rows; with average rows in all places it would be {told.average:.4g}\n")
    if told.links:
        lines = [(link.link, f"{link.rows:,}", signed(link.change)) for link in told.links]
        console.table(("link", "rows", "change"), lines, title="what all rows along a link change, against none")
    if told.rows:
        title = f"what a linked row changes, against none in its place ({told.num_tried:,} were tried)"
        cells = [(row.name, signed(row.change), "; ".join(map(_words, row.columns))) for row in told.rows]
        console.table(("row", "change", "columns that add most"), cells, title=title)
    if told.own:
        cells = [(one.column, _shown(one.value), signed(one.change or 0.0)) for one in told.own]
        console.table(("own column", "value", "change"), cells, title="what a column changes, against its average")
    if told.past_change is not None:
        title = f"past values change it by {signed(told.past_change)}, against none known; those that add most"
        cells = [(one.column, _shown(one.value), signed(one.amount)) for one in told.past]
        console.table(("past value", "value", "amount"), cells, title=title)
    if told.item:
        cells = [(one.column, "" if one.value is None else _shown(one.value), signed(one.amount)) for one in told.item]
        console.table(("of the item", "value", "amount"), cells, title="what the item adds by itself")
    totals = [(f"{one.table}.{one.column}", f"{one.rows:,}", signed(one.amount)) for one in told.columns]
    totals.append(("all others", "", signed(told.rest)))
    title = f"what columns add over all rows, from {told.average:.4g} to {told.score:.4g}, by integrated gradients"
    console.table(("column", "rows", "amount"), totals, title=title)


def _overview(console: Console, workspace: Workspace, version: Version, rows: int, top: int) -> None:
    """Show, and note for the report, what moves the predictions of rows spread over the test period."""
    import numpy as np

    from kincast.cli.outcome import labels_of
    from kincast.predict.online import Predictor
    from kincast.predict.overview import overview
    from kincast.sample.batch import Seeds

    snapshot = workspace.snapshot(version.info.snapshot_id)
    folder, readahead = workspace.project.work / "features", workspace.project.features.readahead
    with console.progress() as progress:
        predictor = Predictor.load(version, snapshot, folder, progress, readahead=readahead)
        test = labels_of(workspace, version, predictor.task, snapshot).of(2)
        chosen = np.unique(np.linspace(0, len(test) - 1, min(rows, len(test))).astype(np.int64))
        seeds = Seeds(test.entity, test.rows[chosen], test.as_of_us[chosen])
        found: dict[str, Any] = {"version": version.info.id, **overview(predictor, seeds, progress)}
    workspace.note(f"why/{version.info.task}", found)
    console.say(f"{version.info.task}: {found['rows']:,} rows of the test period, mean sizes; a {found['noun']}\n")
    cells = [(f"{one['table']}.{one['column']}", f"{one['size']:.4g}") for one in found["columns"][:top]]
    console.table(("column", "adds"), cells, title="over all rows of a neighbourhood, by integrated gradients")
    cells = [(one["link"], f"{one['size']:.4g}") for one in found["links"][:top]]
    console.table(("link", "changes"), cells, title="all rows along a link, against none")
    console.result(found)


def _words(one: ColumnReason) -> str:
    from kincast.predict.reason import signed

    return f"{one.column} {_shown(one.value)} {signed(one.amount)}"


def _shown(value: object) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
