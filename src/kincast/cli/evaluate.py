"""Evaluate: a model against each baseline on the test period, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption, TaskArgument, VersionOption

if TYPE_CHECKING:
    from kincast.registry.version import Interval, VersionInfo


def evaluate(
    task: TaskArgument = None,
    version: VersionOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a model against each baseline on the test period."""
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    name, _ = workspace.project.task(task)
    info = workspace.version(name, version).info
    show_metrics(console, info, "test")
    show_certainty(console, info)
    console.result(info.as_dict())


def show_metrics(console: Console, info: VersionInfo, split: str) -> None:
    """Print one row for the model, each baseline and each published figure; one column per metric that stands for all.

    Args:
        console: where to.
        info: the version.
        split: ``train``, ``validation`` or ``test``.
    """
    from kincast.query.task import TaskKind
    from kincast.train.metric import headline, is_error

    measured = info.metrics.get(split, {})
    metrics = headline(TaskKind(info.kind), info.decides, measured)
    rows = [(info.model_words, *(cell(measured[metric]) for metric in metrics), "")]
    sign = 1 if metrics and is_error(metrics[0]) else -1
    rivals = {name: splits.get(split, {}) for name, splits in info.baselines.items()}
    for name, theirs in sorted(rivals.items(), key=lambda item: _rank(item[1], metrics, sign)):
        cells = (cell(theirs[metric]) if metric in theirs else "–" for metric in metrics)
        margin = info.margins.get(name, {}).get(split, {}).get(metrics[0]) if metrics else None
        rows.append((name, *cells, _lead(margin, -sign) if margin else "–"))
    for name, quoted in info.published.items() if split == "test" else ():
        rows.append((f"{name} (quoted)", *(str(quoted.get(metric, "–")) for metric in metrics), ""))
    title = f"{info.task}, {split} period, with 95 % intervals; leads are paired, row by row"
    console.table((info.task, *metrics, "the model's lead"), rows, title=title)


def show_certainty(console: Console, info: VersionInfo) -> None:
    """Print what probabilities and intervals of the test period are worth, and how each cohort fares.

    Args:
        console: where to.
        info: the version.
    """
    from kincast.query.task import TaskKind
    from kincast.train.metric import SMALL, headline, worst_of
    from kincast.train.reliability import UNCALIBRATED

    measured = info.metrics.get("test", {})
    rows = [
        (name, cell(measured[before]), cell(value))
        for name, value in measured.items()
        if (before := f"{name} {UNCALIBRATED}") in measured
    ]
    if rows:
        console.table(("probabilities", "as scored", "calibrated"), rows)
    for name, value in measured.items():
        if " at " in name and "step" not in name:
            console.say(f"{name}: {cell(value)}")
    if not info.cohorts:
        return
    metric = headline(TaskKind(info.kind), info.decides, info.cohorts[0].metrics)[0]
    cells = [
        (c.by, c.name, f"{c.rows:,}{' (few)' if c.rows < SMALL else ''}", cell(c.metrics[metric])) for c in info.cohorts
    ]
    console.table(("cohort", "", "rows", metric), cells)
    worst = worst_of(info.cohorts, metric)
    if worst is not None:
        console.say(f"worst cohort: {worst.by}, {worst.name}, {metric} {cell(worst.metrics[metric])}")


def _rank(measured: Mapping[str, Interval], metrics: Sequence[str], sign: int) -> tuple[bool, float]:
    """Best first by the first metric, what was not measured last."""
    value = measured[metrics[0]].value if metrics and metrics[0] in measured else math.nan
    return math.isnan(value), 0.0 if math.isnan(value) else sign * value


def _lead(margin: Interval, sign: int) -> str:
    """By how much the model is better (worse if negative) in the first metric."""
    from kincast.registry.version import Interval

    low, high = sorted((sign * margin.low, sign * margin.high))
    return cell(Interval(sign * margin.value, low, high))


def cell(measured: Interval) -> str:
    """A value with its interval, in as many digits as tell; a dash where it was not measured."""
    if math.isnan(measured.value):
        return "–"
    digits = 4 if abs(measured.value) < 10 else 2
    text = f"{measured.value:,.{digits}f}"
    if math.isnan(measured.low) or math.isnan(measured.high):
        return text
    return f"{text} [{measured.low:,.{digits}f}, {measured.high:,.{digits}f}]"
