"""Drift: what changed between the snapshot a model was trained on and a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument, VersionOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kincast.cli.workspace import Workspace
    from kincast.graph.snapshot import Snapshot
    from kincast.registry.version import Version


def drift(
    task: TaskArgument = None,
    new: Annotated[
        str | None, typer.Option("--new", metavar="ID", help="Snapshot.", show_default="the current")
    ] = None,
    version: VersionOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare new rows with those a model learned from.

    Columns, links and predictions; exit code 1 when something has drifted too far.
    """
    from kincast.cli.check import show_report
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.monitor.drift import drift as compare

    name, _ = workspace.project.task(task)
    found = workspace.version(name, version)
    old, fresh = workspace.snapshot(found.info.snapshot_id), workspace.snapshot(new)
    with workspace.timed("drift"):
        result = compare(old, fresh, *(_scores(workspace, found, snapshot) for snapshot in (old, fresh)))
    workspace.note("drift", result.as_dict())
    show_report(console, result)
    console.result(result.as_dict())
    if not result.passed:
        raise typer.Exit(1)


def _scores(workspace: Workspace, version: Version, snapshot: Snapshot) -> dict[str, NDArray[np.float64]]:
    from kincast.predict.batch import predict_all

    return predict_all(workspace.project, version, snapshot=snapshot).predictions.numbers()
