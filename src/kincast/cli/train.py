"""Train: a task and a snapshot become a model version, compared with its baselines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ModeOption, ProjectOption, QuietOption, TaskArgument
from kincast.train.search.mode import RunMode

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.registry.version import Version, VersionInfo
    from kincast.train.run import Fitting
    from kincast.train.search.plan import ModelPlan


def train(  # over budget: each argument is an option of the command
    task: TaskArgument = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Search this model plan, and keep what is best.")
    ] = None,
    mode: ModeOption = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Of a search, such as 10m, 2h or '90 minutes'.")
    ] = None,
    start_from: Annotated[
        str | None, typer.Option("--start-from", metavar="NAME", help="Begin as this pre-trained network.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped training was.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="ADDRESS", help="Train on this Ray cluster; 'local' starts one here."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that train together on a cluster.")] = 2,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a graph neural network and its baselines."""
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, settings = workspace.project.task(task)
    if start_from is not None:
        own = settings.model_copy(update={"train": settings.train.model_copy(update={"start_from": start_from})})
        tasks = {**workspace.project.tasks, name: own}
        workspace = Workspace(workspace.project.model_copy(update={"tasks": tasks}))
    budget_s = None if budget is None else seconds_of(budget)
    found = _plan_of(console, workspace, name, plan, mode)
    options: dict[str, Any] = {"plan": found, "budget_s": budget_s, "resume": resume}
    if cluster is None:
        version = train_version(console, workspace, name, **options)
    else:
        from kincast.train.cluster import Cluster

        with Cluster(cluster, workers) as together:
            version = train_version(console, workspace, name, fit=together.fit, **options)
    console.say(_how_it_went(version.features["epochs"]))
    console.say(f"version {version.info.id}, its weights from epoch {version.info.best_epoch}; next: kincast evaluate")
    console.result(version.info.as_dict())


def train_version(
    console: Console,
    workspace: Workspace,
    name: str,
    *,
    plan: ModelPlan | None = None,
    budget_s: float | None = None,
    resume: bool = False,
    fit: Fitting | None = None,
) -> Version:
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
        version = train_task(
            workspace.project,
            name,
            snapshot=snapshot,
            plan=plan,
            budget_s=budget_s,
            resume=resume,
            fit=fit,
            progress=progress,
        )
    registry = workspace.registry()
    registry.register(version)
    registry.set(name, "challenger", version.info.id)
    show_trials(console, version.info)
    show_metrics(console, version.info, "validation")
    return version


def _plan_of(
    console: Console, workspace: Workspace, name: str, path: Path | None, mode: RunMode | None
) -> ModelPlan | None:
    """The plan of a file or of a mode; None where neither is named."""
    from kincast.cli.plan import suggested_plan
    from kincast.errors import ProjectError
    from kincast.train.search.read import read_plan

    if path is not None and mode is not None:
        raise ProjectError("a plan says itself how long it is searched", hint="give --plan or --mode")
    if path is not None:
        return read_plan(path)
    return None if mode is None else suggested_plan(console, workspace, name, mode)


def show_trials(console: Console, info: VersionInfo) -> None:
    """Print the trials that a version was chosen from; nothing where there was no search."""
    if not info.search:
        return
    metric, best, front = info.search["metric"], info.search["best"], info.search["front"]
    rows = []
    for trial in info.search["trials"]:
        number = trial["number"]
        marks = [mark for mark, there in (("best", number == best), ("front", number in front)) if there]
        words = [*marks, *([] if trial["state"] == "complete" else [trial["state"]]), trial["note"]]
        tried = ", ".join(f"{name.rpartition('.')[2]} {_word(value)}" for name, value in trial["values"].items())
        figures = (_figure(trial["metric"], 4), str(len(trial["epochs"])), _figure(trial["seconds"], 1))
        rows.append((str(number), *figures, _figure(trial["row_us"], 0), ", ".join(filter(None, words)), tried))
    columns = ("trial", metric, "epochs", "seconds", "µs a row", "", "values")
    title = "trials: the best validation metric wins; on the front, no other is better without being slower"
    console.table(columns, rows, title=title)


def seconds_of(text: str) -> float:
    """A length of time in seconds.

    >>> seconds_of("10m"), seconds_of("2 hours")
    (600.0, 7200.0)

    Raises:
        ProjectError: it is none.
    """
    from kincast.clock import parse_span

    short = re.fullmatch(r"\s*(\d{1,9})\s*([smh])\s*", text)
    units = {"s": "seconds", "m": "minutes", "h": "hours"}
    return parse_span(f"{short[1]} {units[short[2]]}" if short else text).approx_us / 1e6


def _word(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _how_it_went(epochs: Sequence[Mapping[str, float]]) -> str:
    """Epochs, seconds, how much of them the trainer waited for batches, and whether the rate had to be lowered."""
    seconds = sum(epoch["seconds"] for epoch in epochs)
    idle = sum(epoch["seconds"] * epoch["idle"] for epoch in epochs) / max(seconds, 1e-9)
    text = f"{amount(len(epochs), 'epoch')} in {seconds:.1f} s; the trainer waited for batches {idle:.0%} of the time"
    rescues = int(epochs[-1]["rescues"])
    halved = f"; the loss ran away, so the learning rate was halved {amount(rescues, 'time')}"
    return text + halved if rescues else text
