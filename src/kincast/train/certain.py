"""Certain: a model's certainty while it is trained: fitted on the validation period, measured on the test period."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.model.certainty import Bounds, Certainty
from kincast.model.joint import JointObjective
from kincast.model.ranked import Ranked
from kincast.model.score import Scored, Spreads
from kincast.project import TaskSettings
from kincast.registry.version import Cohort, Interval
from kincast.train.calibrate import fit_certainty
from kincast.train.cohort import Group
from kincast.train.metric import measure
from kincast.train.prepare import Prepared
from kincast.train.reliability import RELIABILITY, UNCALIBRATED, bound_metrics

FITTED = 1
"""The split that everything is fitted on: validation."""
COVERAGE = 0.9
"""Share of intervals and sets that is measured where none is asked for."""
Intervals = dict[str, Interval]


class Certain:
    """What a model knows of its own mistakes; nothing before ``fit``.

    Args:
        prepared: objective and judge of the task.
        settings: of the task.

    Attributes:
        certainty: what the version keeps.
    """

    def __init__(self, prepared: Prepared, settings: TaskSettings) -> None:
        self.certainty = Certainty()
        self._objective, self._judge = prepared.objective, prepared.judge
        self._method, self._coverage = settings.train.calibration, settings.predict.coverage or COVERAGE

    def fit(self, target: Any, raw: Scored, spreads: Spreads, rows: NDArray[np.int64]) -> None:
        """Fit it on the validation rows; ``rows`` are their entities."""
        found = fit_certainty(self._objective, target, raw, spreads, rows, self._method)
        self.certainty, self._held_out = found.certainty, found.scores

    def measure(self, target: Any, raw: Scored, spreads: Spreads, rows: NDArray[np.int64], split: int) -> Intervals:
        """Reliability before calibration and the coverage that intervals and sets reach.

        On the split it was fitted on, reliability is that of scores calibrated without their own rows, and there is
        no coverage, which would be the promised one by construction.
        """
        if isinstance(raw, Ranked):
            return {}
        judge = self._judge.only(RELIABILITY)
        before = judge.measure(target, raw, rows).intervals()
        found = {f"{name} {UNCALIBRATED}": value for name, value in before.items()}
        if split == FITTED:
            return found | judge.measure(target, self._held_out, rows).intervals()
        return found | self._reached(target, raw, spreads, rows)

    def of_cohorts(
        self, groups: Iterable[Group], target: Any, raw: Scored, spreads: Spreads, rows: NDArray[np.int64]
    ) -> list[Cohort]:
        """The deciding metrics and coverage of each group of test rows."""
        own = self.certainty.calibrated(raw)
        parts = getattr(self._judge, "parts", (self._judge,))
        judge = self._judge.only({name for part in parts for name in part.decides})
        found = []
        for group in groups:
            chosen = group.chosen
            some, few = _take(target, chosen), tuple(s if s is None else s.take(chosen) for s in spreads)
            metrics = judge.measure(some, take_scores(own, chosen), rows[chosen]).intervals()
            if not isinstance(raw, Ranked):
                metrics |= self._reached(some, take_scores(raw, chosen), few, rows[chosen], {"coverage"})
            found.append(Cohort(group.by, group.name, int(chosen.sum()), metrics))
        return found

    def _reached(
        self, target: Any, raw: Scored, spreads: Spreads, rows: NDArray[np.int64], words: Collection[str] = ()
    ) -> Intervals:
        """Coverage and width of intervals and sets; of ``words``, only the metrics that begin with one."""
        bounds = self.certainty.bounds(self.certainty.calibrated(raw), spreads, self._coverage)
        found: Intervals = {}
        for place, own in enumerate(bounds):
            if own is None:
                continue
            objective, part, known, suffix = self._objective, target, np.ones(len(rows), dtype=bool), ""
            if isinstance(objective, JointObjective):
                objective, known = objective.parts[place], ~np.isnan(target[:, place])
                part, own, suffix = target[known, place], _bounds_of(own, known), f" of {objective.name}"
            metrics = bound_metrics(objective.kind, self._coverage, part.shape[1] if part.ndim == 2 else 0)
            metrics = {n: m for n, m in metrics.items() if not words or (n.split(" ")[0] in words and "step" not in n)}
            measured = measure(metrics, part, own, rows[known])
            found |= {f"{name}{suffix}": value for name, value in measured.intervals().items()}
        return found


def take_scores(scores: Scored, chosen: NDArray[np.bool_]) -> Scored:
    """Scores of some rows."""
    if isinstance(scores, Ranked):
        return scores.take(chosen)
    return tuple(part[chosen] for part in scores) if isinstance(scores, tuple) else scores[chosen]


def _bounds_of(bounds: Bounds, chosen: NDArray[np.bool_]) -> Bounds:
    """Intervals or sets of some rows."""
    if isinstance(bounds, tuple):
        return bounds[0][chosen], bounds[1][chosen]
    return None if bounds is None else bounds[chosen]


def _take(target: Any, chosen: NDArray[np.bool_]) -> Any:
    """Targets of some rows; lists know how to take rows by their places."""
    return target[chosen] if isinstance(target, np.ndarray) else target.take(np.flatnonzero(chosen))
