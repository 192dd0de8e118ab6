"""Plan: what training a task will cost, and which fanouts fit its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ModeOption, ProjectOption, QuietOption, TaskArgument
from kincast.train.search.mode import RunMode

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.train.plan import Cost, TrainingPlan
    from kincast.train.search.plan import ModelPlan


def plan(
    task: TaskArgument = None,
    mode: ModeOption = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write a model plan there, for kincast train --plan.")
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what training will cost, or suggest a model plan."""
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    if mode is not None or write is not None:
        return write_plan(console, workspace, task, mode, write)

    from kincast.train.plan import make_plan
    from kincast.train.prepare import prepare

    name, settings = workspace.project.task(task)
    snapshot = workspace.snapshot()
    with console.progress() as progress:
        prepared = prepare(workspace.project, name, snapshot, progress)
        found = make_plan(name, settings, snapshot, prepared, progress)
    show_plan(console, found)
    console.result(found.as_dict())
    return None


def write_plan(
    console: Console, workspace: Workspace, task: str | None, mode: RunMode | None, path: Path | None
) -> None:
    """Print a suggested model plan, or write it to a file that is not there yet."""
    import yaml

    from kincast.atomic import replace_text
    from kincast.errors import ProjectError

    if path is not None and path.exists():
        raise ProjectError("is already there", where=str(path), hint="choose another name, or remove it")
    name, _ = workspace.project.task(task)
    text = suggested_plan(console, workspace, name, mode or RunMode.NORMAL).to_yaml()
    if path is None:
        console.say(text.rstrip())
    else:
        replace_text(path, text)
        console.say(f"plan: {path}; next: kincast train {name} --plan {path}")
    console.result(yaml.safe_load(text))


def suggested_plan(console: Console, workspace: Workspace, name: str, mode: RunMode) -> ModelPlan:
    """The model plan that a task's labels and links suggest."""
    from kincast.train.prepare import labels_of
    from kincast.train.search.suggest import suggest_model_plan

    _, _, task = workspace.task(name)
    snapshot = workspace.snapshot()
    with console.progress() as progress:
        labels = labels_of(workspace.project, name, task, snapshot, progress)
    return suggest_model_plan(task, snapshot, mode, labels=labels)


def show_plan(console: Console, found: TrainingPlan) -> None:
    """Print degrees with fanouts, costs, and the lines to put into the project file."""
    columns = ("link", "mean", "p50", "p90", "p99", "most", "now", "suggested", "why")
    rows = [
        (
            link.name,
            f"{link.mean:,.1f}",
            *(f"{value:,}" for value in (link.p50, link.p90, link.p99, link.most)),
            _fanout(link.now),
            _fanout(link.suggested),
            link.why,
        )
        for link in found.links
    ]
    console.table(columns, rows, title="rows that one row leads to, and fanouts per hop")
    title = f"{found.task}: {found.num_labels:,} training labels, measured on batches of {found.batch_size:,} seeds"
    old, new = _cells(found.now), _cells(found.suggested)
    costs = [(name, old[name], new[name]) for name in old]
    console.table(("cost", "now", "suggested"), costs, title=title)
    if found.overrides:
        console.say(f"in kincast.yaml, below tasks.{found.task}.model:")
        console.say("  fanout_overrides:")
        for name, hops in found.overrides.items():
            console.say(f"    {name}: [{', '.join(map(str, hops))}]")
    else:
        console.say("the fanouts of the settings fit the rows")


def _fanout(hops: tuple[int, ...]) -> str:
    return ", ".join("all" if hop < 0 else str(hop) for hop in hops)


def _cells(cost: Cost) -> dict[str, str]:
    return {
        "rows per seed, p50 / p99 / most": f"{cost.rows_p50:,} / {cost.rows_p99:,} / {cost.rows_most:,}",
        "edges per seed, p50 / p99": f"{cost.edges_p50:,} / {cost.edges_p99:,}",
        "features per seed": _size(cost.bytes_per_seed),
        "memory, all files mapped in": _size(cost.ram_bytes),
        "disk": _size(cost.ssd_bytes),
        "sampling a batch": _seconds(cost.sample_s),
        "gathering a batch": _seconds(cost.gather_s),
        "a training step": _seconds(cost.step_s),
        "batches per epoch": f"{cost.num_batches:,}",
        "an epoch": _seconds(cost.epoch_s),
    }


def _size(num_bytes: int) -> str:
    """``1.5 MB`` of a number of bytes.

    >>> _size(1_500_000)
    '1.5 MB'
    """
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
