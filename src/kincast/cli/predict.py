"""Predict: every entity as of an instant, with the user's own keys, to a file or back into the database."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, AsOfOption, JsonOption, ProjectOption, QuietOption, TaskArgument, VersionOption

if TYPE_CHECKING:
    import pyarrow as pa

    from kincast.predict.answer import Predictions
    from kincast.predict.batch import BatchResult

MAX_SHOWN_CLASSES = 4  # with more, their scores are in the file but not on the screen


def predict(  # over budget: an argument for each option
    task: TaskArgument = None,
    as_of: AsOfOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Parquet or CSV file.")] = None,
    to_source: Annotated[str | None, typer.Option(metavar="TABLE", help="Write this table of the database.")] = None,
    coverage: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Intervals or sets that hold the truth so often, as 0.9.")
    ] = None,
    why: Annotated[int, typer.Option("--why", metavar="N", help="Reasons to give for each, at most.", min=0)] = 0,
    version: VersionOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict for every entity as of an instant.

    Predictions and embeddings go into the project's store, and to a file or table of the database where asked.
    """
    from kincast.cli.workspace import Workspace
    from kincast.clock import format_instant, parse_instant

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.predict.batch import predict_all

    name, _ = workspace.project.task(task)
    as_of_us = parse_instant(as_of) if as_of else None
    found = workspace.version(name, version)
    snapshot = workspace.snapshot()
    with workspace.timed(f"predict {name}"), console.progress() as progress:
        started = time.perf_counter()
        result = predict_all(
            workspace.project,
            found,
            snapshot=snapshot,
            as_of_us=as_of_us,
            coverage=coverage,
            why=why,
            progress=progress,
        )
        seconds = time.perf_counter() - started
    rows = result.as_table()
    publish_result(workspace.project.store, name, found.info.id, snapshot.id, result)
    if output is not None:
        write_rows(rows, output)
    if to_source is not None:
        workspace.source().write(to_source, rows)
    show_rows(console, rows, limit=5)
    places = [str(output)] if output else []
    places += [f"table {to_source} of {workspace.source().url}"] if to_source else []
    until = format_instant(result.predictions.as_of_us)
    when = instants_in_words(result.predictions)
    console.say(f"{amount(rows.num_rows, 'prediction')} {when} by version {found.info.id}")
    if why:
        console.say(f"predicted and explained {len(result.predictions) / seconds:,.0f} rows a second")
    console.say(f"written to the project's store{''.join(f' and to {place}' for place in places)}")
    console.result({"version": found.info.id, "as_of": until, "rows": rows.num_rows, "written": places})


def instants_in_words(predictions: Predictions) -> str:
    """As of when predictions are: of one instant, or each of its own row."""
    from kincast.clock import format_instant

    until = format_instant(predictions.as_of_us)
    one = (predictions.instants_us[:1] == predictions.instants_us).all()
    return f"as of {until}" if one else f"each as of its row's own time, the last {until},"


def publish_result(root: Path, task: str, version_id: str, snapshot_id: str, result: BatchResult) -> None:
    """Switch the stores ``TASK.predictions`` and ``TASK.embeddings`` to new rows.

    Args:
        root: folder of the project's stores.
        task: name of the task.
        version_id: what predicted.
        snapshot_id: what it predicted from.
        result: predictions and embeddings.
    """
    from kincast.store.rows import Stamp, publish

    keys = result.predictions.keys
    stamp = Stamp(version_id, snapshot_id, result.predictions.as_of_us, time.time_ns() // 1000)
    publish(root, f"{task}.predictions", keys, result.as_records(), stamp)
    publish(root, f"{task}.embeddings", keys, result.embeddings, stamp)


def show_rows(console: Console, rows: pa.Table, limit: int) -> None:
    """Print the first rows as a table, numbers with four digits; of many classes only the chosen one's score."""
    shown = rows.slice(0, limit).to_pylist()
    scores = [name for name in rows.column_names if name.startswith("score_")]
    names = rows.column_names
    if len(scores) > MAX_SHOWN_CLASSES:
        names = [*(name for name in names if name not in scores), "score"]
        shown = [row | {"score": row[f"score_{row['class']}"]} for row in shown]
    cells = [tuple(_cell(row[name]) for name in names) for row in shown]
    console.table(names, cells)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write rows as Parquet, or as CSV where the name ends so; whole or not at all.

    Raises:
        StorageError: the disk refused.
    """
    import pyarrow.csv
    import pyarrow.parquet

    from kincast.atomic import PARTIAL, storage_errors

    partial = path.with_name(f"{PARTIAL}{path.name}-{os.getpid()}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() == ".csv":
                pyarrow.csv.write_csv(_flat(rows), partial)
            else:
                pyarrow.parquet.write_table(rows, partial)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _flat(rows: pa.Table) -> pa.Table:
    """Lists as text, since CSV has none: their parts with semicolons between them."""
    import pyarrow as pa

    for place, field in enumerate(rows.schema):
        if pa.types.is_list(field.type):
            texts = [None if parts is None else "; ".join(map(str, parts)) for parts in rows[place].to_pylist()]
            rows = rows.set_column(place, field.name, pa.array(texts, pa.string()))
    return rows
