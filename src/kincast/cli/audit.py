"""Audit: look for leaks of the future in a trained model, or in tables of RelBench's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument, VersionOption

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.graph.snapshot import Snapshot
    from kincast.report import Report

MAX_OTHERS = 2


def audit(
    task: TaskArgument = None,
    version: VersionOption = None,
    relbench: Annotated[
        Path | None,
        typer.Option("--relbench", metavar="DIR", help="Audit tables of RelBench's format instead of a project."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="SPAN",
            help="With --relbench: how far labels look ahead.",
            show_default="from its manifest, else the distance of the training instants",
        ),
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look for leaks of the future.

    Replays batches, makes the future different, probes columns. Exit code 1 when a check failed, or could not run.
    """
    from kincast.cli.check import show_report
    from kincast.errors import ProjectError

    console = Console(as_json=as_json, quiet=quiet)
    if relbench is not None:
        if version is not None:
            raise ProjectError("--version is of a project, --relbench is without one", hint="leave one of them out")
        from kincast.sample.audit.relbench import audit_relbench

        found = audit_relbench(relbench, task, window)
    elif window is not None:
        raise ProjectError("--window goes with --relbench", hint="a task's query says its window")
    else:
        found = _of_project(console, project, task, version)
    show_report(console, found)
    console.result(found.as_dict())
    if not found.passed:
        raise typer.Exit(1)


def _of_project(console: Console, project: Path, task: str | None, wanted: str | None) -> Report:
    from kincast.cli.outcome import labels_of
    from kincast.cli.workspace import Workspace

    workspace = Workspace.open(project)

    from kincast.monitor.audit import audit_version
    from kincast.predict.online import Predictor

    name, _ = workspace.project.task(task)
    version = workspace.version(name, wanted)
    snapshot = workspace.snapshot(version.info.snapshot_id)
    with workspace.timed(f"audit {name}"), console.progress() as progress:
        predictor = Predictor.load(version, snapshot, workspace.project.work / "features", progress)
        labels = labels_of(workspace, version, predictor.task, snapshot)
        found = audit_version(
            predictor, labels, _others(workspace, snapshot), progress, features=workspace.project.feature_settings
        )
    workspace.note(f"audit/{name}", found.as_dict())
    return found


def _others(workspace: Workspace, snapshot: Snapshot) -> list[Snapshot]:
    """The newest other snapshots of the same schema."""
    from kincast.graph.open import list_snapshots

    found: list[Snapshot] = []
    for info in reversed(list_snapshots(workspace.project.snapshots)):
        if info.id != snapshot.id and info.problem is None and len(found) < MAX_OTHERS:
            other = workspace.snapshot(info.id)
            found += [other] if other.schema.digest == snapshot.schema.digest else []
    return found
