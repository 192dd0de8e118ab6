"""Certainty: what the report says of probabilities, intervals and cohorts on the test period."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kincast.query.task import TaskKind
from kincast.registry.version import Cohort, Interval
from kincast.train.metric import SMALL, headline, worst_of
from kincast.train.reliability import UNCALIBRATED
from kincast.web.svg import number

Cell = tuple[str, str]
"""A value and its interval as words."""


@dataclass(frozen=True, slots=True)
class CohortRow:
    """One cohort: what it is, how many rows, whether these are few, its metrics, whether it is the worst."""

    by: str
    name: str
    rows: int
    is_small: bool
    is_worst: bool
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Certainty:
    """What was measured.

    Attributes:
        reliability: metric, before and after calibration.
        bounds: metrics of intervals and sets.
        metrics: of the cohorts.
        cohorts: one row each.
        worst: in words; empty without cohorts.
    """

    reliability: list[tuple[str, Cell, Cell]]
    bounds: list[tuple[str, Cell]]
    metrics: list[str]
    cohorts: list[CohortRow]
    worst: str


def certainty_of(version: Mapping[str, Any]) -> Certainty:
    """What ``VersionInfo.as_dict()`` says of the test period."""
    measured = version["metrics"].get("test", {})
    reliability = [
        (name, cell(measured[before]), cell(value))
        for name, value in measured.items()
        if (before := f"{name} {UNCALIBRATED}") in measured
    ]
    bounds = [(name, cell(value)) for name, value in measured.items() if " at " in name]
    cohorts = [Cohort.from_dict(values) for values in version["cohorts"]]
    metrics = list(cohorts[0].metrics) if cohorts else []
    rows: list[CohortRow] = []
    worst = None
    if cohorts:
        main = headline(TaskKind(version["kind"]), version.get("decides", ()), metrics)[0]
        metrics = [main, *(name for name in metrics if name != main)]
        worst = worst_of(cohorts, main)
        for cohort in cohorts:
            cells = [_cell_of(cohort.metrics[name]) for name in metrics]
            small = cohort.rows < SMALL
            rows.append(CohortRow(cohort.by, cohort.name, cohort.rows, small, cohort is worst, cells))
    words = "" if worst is None else f"{worst.by}, {worst.name}"
    return Certainty(reliability, bounds, metrics, rows, words)


def cell(value: Sequence[float | None] | None) -> Cell:
    """A value and its interval in words."""
    middle, low, high = triple(value)
    if math.isnan(middle):
        return ("–", "")
    return (number(middle), f"{number(low)} – {number(high)}" if high > low else "")


def triple(value: Sequence[float | None] | None) -> tuple[float, float, float]:
    """A value with both ends of its interval; NaN for what was not measured."""
    if value is None:
        return (math.nan, math.nan, math.nan)
    middle, low, high = (math.nan if x is None else float(x) for x in value)
    return (middle, middle if math.isnan(low) else low, middle if math.isnan(high) else high)


def _cell_of(value: Interval) -> Cell:
    return cell((value.value, value.low, value.high))
