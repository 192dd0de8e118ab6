"""Report: everything known of the project as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.web.report import TaskPage

REPORT_FILE = "kincast-report.html"
_OF_EVERY_EPOCH = ("epoch", "loss", "seconds", "idle", "rescues")  # what is left is the metric that chose the epoch


def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="HTML file.", show_default=f"DIR/{REPORT_FILE}"),
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write everything known as one HTML file."""
    from kincast.atomic import replace_text
    from kincast.cli.workspace import Workspace
    from kincast.web.report import render_report

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    path = output or workspace.project.folder / REPORT_FILE
    replace_text(path, render_report(collect(workspace)))
    console.say(f"report: {path.resolve()}")
    console.result({"report": str(path.resolve())})


def collect(workspace: Workspace) -> Any:
    """What the commands run so far have found, as the page wants it."""
    import time

    from kincast.errors import SnapshotError
    from kincast.source.open import without_password
    from kincast.web.report import Page

    notes = workspace.notes()
    try:
        snapshot = workspace.snapshot()
        schema, rows, id = snapshot.schema, {n: t.num_rows for n, t in snapshot.tables.items()}, snapshot.id
    except SnapshotError:
        schema, rows, id = workspace.schema(), {}, None
    project = workspace.project
    return Page(
        project=project.folder.resolve().name,
        source=without_password(project.source),
        made_us=time.time_ns() // 1_000_000_000 * 1_000_000,
        schema=schema,
        rows=rows,
        tasks=[_task(workspace, name, settings.query, notes) for name, settings in project.tasks.items()],
        snapshot_id=id,
        check=notes.get("check"),
        drift=notes.get("drift"),
        seconds=notes.get("seconds", {}),
        environment=environment(),
    )


def _task(workspace: Workspace, name: str, query: str, notes: dict[str, Any]) -> TaskPage:
    import contextlib

    from kincast.cli.outcome import outcome_of
    from kincast.clock import format_instant
    from kincast.errors import KincastError, VersionError
    from kincast.query.task import TaskKind
    from kincast.web.report import TaskPage

    explanation, gate, audit = (notes.get(f"{step}/{name}") for step in ("explain", "gate", "audit"))
    try:
        version = workspace.version(name)
    except VersionError:
        return TaskPage(name, query, explanation=explanation, gate=gate, audit=audit)
    outcome = None
    kinds = (TaskKind.BINARY, TaskKind.MULTICLASS)
    if TaskKind(version.info.kind) in kinds and len(version.info.decides) <= 1:
        with contextlib.suppress(KincastError):  # the training snapshot is gone: the page does without these drawings
            outcome = outcome_of(workspace, version)
    calibrations = version.features["certainty"]["calibrations"]
    epochs = version.features.get("epochs", [])
    tuned = next((name for name in (epochs[0] if epochs else {}) if name not in _OF_EVERY_EPOCH), "")
    entries = workspace.registry().history(name)
    versions = [
        {"id": e.id, "aliases": list(e.aliases), "trained": format_instant(e.created_us // 10**6 * 10**6)}
        for e in entries
    ]
    return TaskPage(
        name,
        query,
        explanation=explanation,
        gate=gate,
        version=version.info.as_dict(),
        epochs=[float(epoch[tuned]) for epoch in epochs],
        tuned=tuned,
        target=None if outcome is None else outcome.happened,
        scores=None if outcome is None else outcome.scores,
        uncalibrated=None if outcome is None else outcome.uncalibrated,
        calibration=calibrations[0]["method"] if len(calibrations) == 1 else "",
        versions=versions,
        giveaway=notes.get(f"giveaway/{name}"),
        audit=audit,
        why=notes.get(f"why/{name}"),
    )


def environment() -> dict[str, str]:
    """Versions of what mattered, and the machine."""
    import os
    import platform
    from importlib.metadata import version as version_of

    packages = ("kincast", "torch", "numpy", "duckdb", "lightgbm")
    found = {name: version_of(name) for name in packages}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {**found, "python": platform.python_version(), "machine": machine}
