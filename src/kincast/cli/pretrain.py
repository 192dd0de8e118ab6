"""Pretrain: a network learns from a snapshot without labels, for a task to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument


def pretrain(
    task: TaskArgument = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped pre-training was.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Learn what comes next along links, without labels."""
    from kincast.cli.workspace import Workspace
    from kincast.clock import format_instant
    from kincast.train.pretrain import pretrain_task

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    snapshot = workspace.snapshot()
    with workspace.timed(f"pretrain {name}"), console.progress() as progress:
        found = pretrain_task(workspace.project, name, snapshot=snapshot, resume=resume, progress=progress)
    skill = max(epoch["skill"] for epoch in found.epochs)
    end = format_instant(found.end_us)
    console.say(f"learnt {amount(len(found.targets), 'target')} of {found.entity} from facts up to {end}")
    console.say(f"skill at the newest instants: {skill:.3f}, where 0 is a constant guess and 1 perfect")
    console.say(f"pre-trained network {found.id}; next: kincast train {name} --start-from {name}")
    console.result(found.as_dict())
