"""Report page: everything known of a project as one HTML file that needs nothing else, on paper or on a phone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from kincast.clock import format_instant
from kincast.query.highlight import highlight
from kincast.query.task import TaskKind
from kincast.registry.version import NETWORK_ALONE, model_words
from kincast.report import Verdict
from kincast.schema import Schema
from kincast.train.metric import headline, is_error
from kincast.web.certainty import cell, certainty_of, triple
from kincast.web.chart import Mark, Strip, bars, calibration, calibration_bins, curve, distribution, strips
from kincast.web.picture import schema_picture
from kincast.web.svg import number

METRIC_NAMES = {
    "auroc": "AUROC",
    "ap": "average precision",
    "accuracy": "accuracy",
    "f1": "F1",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "mse": "mean squared error",
    "r2": "R²",
    "ap_macro": "average precision, mean over labels",
    "auroc_macro": "AUROC, mean over labels",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "calibration error",
    "ece_adaptive": "calibration error, adaptive bins",
    "skill": "gain over a constant, mean over targets",
}
BLEND, NETWORK = "Blend of all", "Graph neural network"
"""What the model is called in tables and pictures."""
MOST_BARS = 12


@dataclass(frozen=True, slots=True)
class TaskPage:
    """What the report says of one task; a part that is None or empty says how to get it.

    Attributes:
        name: of the task in the project.
        query: as written.
        explanation: ``Explanation.as_dict()``.
        version: ``VersionInfo.as_dict()`` of the version shown.
        epochs: validation metric after each epoch, the first epoch first.
        tuned: name of that metric.
        target: [n] what happened to the test rows of one class target: whether the positive or likeliest class came.
        scores: [n] what the model had predicted for them.
        uncalibrated: [n] the same before calibration.
        calibration: ``temperature``, ``isotonic`` or ``none``.
        versions: known versions, newest first: ``id``, ``aliases``, ``trained``.
        gate: ``Report.as_dict()`` of the last attempt to promote.
        giveaway: ``Report.as_dict()`` of the columns that alone nearly tell the label.
        audit: ``Report.as_dict()`` of the last look for leaks.
        why: what moves the predictions of the test period on average, as ``overview`` gives it, with its ``version``.
    """

    name: str
    query: str
    explanation: Mapping[str, Any] | None = None
    version: Mapping[str, Any] | None = None
    epochs: Sequence[float] = ()
    tuned: str = ""
    target: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    uncalibrated: NDArray[np.float64] | None = None
    calibration: str = ""
    versions: Sequence[Mapping[str, Any]] = ()
    gate: Mapping[str, Any] | None = None
    giveaway: Mapping[str, Any] | None = None
    audit: Mapping[str, Any] | None = None
    why: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What the report says of a project.

    Attributes:
        project: its name.
        source: path or URL of the database, without a password.
        made_us: when the report was made.
        schema: tables and links.
        rows: rows per table of the snapshot; empty without one.
        tasks: one part each.
        snapshot_id: the snapshot; None without one.
        check: ``Report.as_dict()`` of the data check.
        drift: ``Report.as_dict()`` of the drift report.
        seconds: step → how long it took.
        environment: name → version or description.
    """

    project: str
    source: str
    made_us: int
    schema: Schema
    rows: Mapping[str, int]
    tasks: Sequence[TaskPage]
    snapshot_id: str | None = None
    check: Mapping[str, Any] | None = None
    drift: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The test period: strips for the main metric, a table for all of them.

    Attributes:
        metric: name of the main metric.
        direction: ``higher is better`` or ``lower is better``.
        strips: the drawings, the model first.
        axis: their common scale.
        metrics: names of all metrics.
        rows: name, role and per metric the value and its interval.
        sentence: who wins, by the intervals.
    """

    metric: str
    direction: str
    strips: list[Strip]
    axis: Markup
    metrics: list[str]
    rows: list[tuple[str, str, list[tuple[str, str]]]]
    sentence: str


def render_report(page: Page) -> str:
    """One HTML page: styles and drawings inline, no script, nothing loaded from anywhere.

    Args:
        page: what it says. Names, keys and messages in it may hold anything; they are escaped.
    """
    environment = Environment(
        loader=PackageLoader("kincast.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, instant=format_instant, pieces=highlight)
    environment.filters["metric"] = lambda name: METRIC_NAMES.get(name, name)
    entities = frozenset(str(task.version["entity"]) for task in page.tasks if task.version)
    return environment.get_template("report.html").render(
        page=page,
        picture=schema_picture(page.schema, page.rows, entities),
        parts=[_part(task) for task in page.tasks],
        reports=[r for r in (_findings("Data check", page.check), _findings("Drift", page.drift)) if r],
    )


def _part(task: TaskPage) -> dict[str, Any]:
    names = ("comparison", "curve", "certainty", "calibration", "distribution", "why")
    part: dict[str, Any] = {"task": task, **dict.fromkeys(names)}
    reports = (("Giveaways", task.giveaway), ("Audit", task.audit), ("Gate", task.gate))
    part["findings"] = [found for title, report in reports if (found := _findings(title, report))]
    if task.version is None:
        return part
    part["comparison"] = compare(task.version)
    part["certainty"] = certainty_of(task.version)
    if task.why is not None and task.why["version"] == task.version["id"]:
        columns = [(f"{one['table']}.{one['column']}", one["size"]) for one in task.why["columns"]]
        links = [(one["link"], one["size"]) for one in task.why["links"]]
        part["why"] = {"columns": bars(columns[:MOST_BARS]), "links": bars(links[:MOST_BARS])}
    if task.epochs:
        part["curve"] = curve(task.epochs, task.version["best_epoch"], METRIC_NAMES.get(task.tuned, task.tuned))
    if task.target is not None and task.scores is not None:
        before = task.uncalibrated if task.calibration not in ("", "none") else None
        faint = () if before is None else calibration_bins(task.target, before)
        part["calibration"] = calibration(calibration_bins(task.target, task.scores), faint)
        part["distribution"] = distribution(task.target, task.scores)
    return part


def _metrics_of(version: Mapping[str, Any]) -> list[str]:
    measured = version["metrics"].get("test", {})
    return headline(TaskKind(version["kind"]), version.get("decides", ()), measured)


def compare(version: Mapping[str, Any], split: str = "test") -> Comparison | None:
    """A version against its baselines and published figures; None when nothing was measured.

    Args:
        version: ``VersionInfo.as_dict()``.
        split: the period to compare on.
    """
    metrics = _metrics_of(version)
    if not metrics:
        return None
    main = metrics[0]
    sign = 1 if is_error(main) else -1
    own = version["metrics"][split]
    baselines = {name: values.get(split, {}) for name, values in version["baselines"].items()}
    marks = [Mark(name, "baseline", *triple(values.get(main))) for name, values in baselines.items()]
    marks.sort(key=lambda mark: (math.isnan(mark.value), sign * mark.value))
    ours = BLEND if NETWORK_ALONE in baselines else NETWORK
    marks.insert(0, Mark(ours, "model", *triple(own[main])))
    quoted = {name: values for name, values in version["published"].items() if main in values}
    marks += [Mark(name, "quoted", *_quoted(values[main])) for name, values in quoted.items()]
    cells = {ours: own, **baselines}
    rows = [
        (mark.name, mark.role, [cell(cells[mark.name].get(m)) for m in metrics])
        for mark in marks
        if mark.role != "quoted"
    ]
    rows += [
        (name, "quoted", [(str(values.get(m, "–")), "") for m in metrics])
        for name, values in version["published"].items()
    ]
    drawn, axis = strips(marks)
    direction = "lower is better" if is_error(main) else "higher is better"
    margins = {name: triple(values.get(split, {}).get(main)) for name, values in version["margins"].items()}
    return Comparison(main, direction, drawn, axis, metrics, rows, _winner(marks, main, margins))


def _winner(marks: Sequence[Mark], metric: str, margins: Mapping[str, tuple[float, float, float]]) -> str:
    ours, rivals = marks[0], [m for m in marks[1:] if m.role == "baseline" and math.isfinite(m.value)]
    if not rivals or not math.isfinite(ours.value):
        return "There is nothing to compare it with."
    best = rivals[0]
    lower = is_error(metric)
    ahead = ours.value < best.value if lower else ours.value > best.value
    difference, low, high = margins.get(best.name, (math.nan, math.nan, math.nan))
    words = model_words([mark.name for mark in rivals])
    name = METRIC_NAMES.get(metric, metric)
    mine, theirs = number(ours.value), number(best.value)
    shown = f"The difference on the very same rows is {number(difference)}, between {number(low)} and {number(high)}"
    chance = f"{shown}." if low > 0 or high < 0 else f"{shown}, so the order may be chance."
    if ahead:
        return f"The {words} leads with {name} {mine}; the best baseline, {best.name}, has {theirs}. {chance}"
    return f"The baseline {best.name} leads with {name} {theirs}; the {words} has {mine}. {chance}"


def _quoted(value: Any) -> tuple[float, float, float]:
    # Published figures may be text such as ".686 ± .039" or ".707-.732": the first number in it is drawn.
    text = str(value)
    for word in text.replace("–", " ").replace("±", " ").replace("/", " ").split():
        try:
            found = float(word)
        except ValueError:
            continue
        return (found, found, found)
    return (math.nan, math.nan, math.nan)


def _findings(title: str, report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if report is None:
        return None
    order = {verdict.value: rank for rank, verdict in enumerate(Verdict)}
    checks = sorted(report["checks"], key=lambda check: -order[check["verdict"]])
    notable = [check for check in checks if check["verdict"] != "ok"]
    return {
        "title": title,
        "subject": report["subject"],
        "verdict": report["verdict"],
        "notable": notable,
        "num_ok": len(checks) - len(notable),
    }
