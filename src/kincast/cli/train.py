"""Train: a task and a snapshot become a model version, compared with its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.registry.version import Version


def train(
    task: TaskArgument = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped training was.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a graph neural network and its baselines."""
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    version = train_version(console, workspace, name, resume=resume)
    console.say(_how_it_went(version.features["epochs"]))
    console.say(f"version {version.info.id}, its weights from epoch {version.info.best_epoch}; next: kincast evaluate")
    console.result(version.info.as_dict())


def train_version(console: Console, workspace: Workspace, name: str, *, resume: bool = False) -> Version:
    """Train a task of the workspace, register the version as its challenger, and show how it did."""
    from kincast.cli.check import giveaways, show_report
    from kincast.cli.evaluate import show_metrics
    from kincast.report import Verdict
    from kincast.train.run import train_task

    snapshot = workspace.snapshot()
    suspicious = giveaways(workspace, name, snapshot)
    workspace.note(f"giveaway/{name}", suspicious.as_dict())
    if suspicious.verdict is not Verdict.OK:
        show_report(console, suspicious)
    with workspace.timed(f"train {name}"), console.progress() as progress:
        version = train_task(workspace.project, name, snapshot=snapshot, resume=resume, progress=progress)
    registry = workspace.registry()
    registry.register(version)
    registry.set(name, "challenger", version.info.id)
    show_metrics(console, version.info, "validation")
    return version


def _how_it_went(epochs: Sequence[Mapping[str, float]]) -> str:
    """Epochs, seconds, how much of them the trainer waited for batches, and whether the rate had to be lowered."""
    seconds = sum(epoch["seconds"] for epoch in epochs)
    idle = sum(epoch["seconds"] * epoch["idle"] for epoch in epochs) / max(seconds, 1e-9)
    text = f"{amount(len(epochs), 'epoch')} in {seconds:.1f} s; the trainer waited for batches {idle:.0%} of the time"
    rescues = int(epochs[-1]["rescues"])
    halved = f"; the loss ran away, so the learning rate was halved {amount(rescues, 'time')}"
    return text + halved if rescues else text
