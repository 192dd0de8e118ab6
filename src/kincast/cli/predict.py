"""Predict: every entity as of an instant, with the user's own keys, to a file or back into the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, AsOfOption, JsonOption, ProjectOption, QuietOption, TaskArgument, VersionOption

if TYPE_CHECKING:
    import pyarrow as pa

    from kincast.predict.batch import BatchResult


def predict(
    task: TaskArgument = None,
    as_of: AsOfOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Parquet or CSV file.")] = None,
    to_source: Annotated[str | None, typer.Option(metavar="TABLE", help="Write this table of the database.")] = None,
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
        result = predict_all(workspace.project, found, snapshot=snapshot, as_of_us=as_of_us, progress=progress)
    rows = result.predictions.as_table()
    publish_result(workspace.project.store, name, found.info.id, snapshot.id, result)
    if output is not None:
        write_rows(rows, output)
    if to_source is not None:
        workspace.source().write(to_source, rows)
    show_rows(console, rows, limit=5)
    places = [str(output)] if output else []
    places += [f"table {to_source} of {workspace.source().url}"] if to_source else []
    until = format_instant(result.predictions.as_of_us)
    console.say(f"{amount(rows.num_rows, 'prediction')} as of {until} by version {found.info.id}")
    console.say(f"written to the project's store{''.join(f' and to {place}' for place in places)}")
    console.result({"version": found.info.id, "as_of": until, "rows": rows.num_rows, "written": places})


def publish_result(root: Path, task: str, version_id: str, snapshot_id: str, result: BatchResult) -> None:
    """Switch the stores ``TASK.predictions`` and ``TASK.embeddings`` to new rows.

    Args:
        root: folder of the project's stores.
        task: name of the task.
        version_id: what predicted.
        snapshot_id: what it predicted from.
        result: predictions and embeddings.
    """
    import time

    from kincast.store.rows import Stamp, publish

    keys = result.predictions.keys
    stamp = Stamp(version_id, snapshot_id, result.predictions.as_of_us, time.time_ns() // 1000)
    publish(root, f"{task}.predictions", keys, result.predictions.as_table().drop(keys.column_names), stamp)
    publish(root, f"{task}.embeddings", keys, result.embeddings, stamp)


def show_rows(console: Console, rows: pa.Table, limit: int) -> None:
    """Print the first rows as a table, numbers with four digits."""
    shown = rows.slice(0, limit).to_pylist()
    cells = [tuple(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()) for row in shown]
    console.table(rows.column_names, cells)


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write rows as Parquet, or as CSV where the name ends so; whole or not at all.

    Raises:
        StorageError: the disk refused.
    """
    import pyarrow.csv
    import pyarrow.parquet

    from kincast.atomic import storage_errors

    partial = path.with_name(f".partial-{path.name}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() == ".csv":
                pyarrow.csv.write_csv(rows, partial)
            else:
                pyarrow.parquet.write_table(rows, partial)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
