"""Giveaway: columns that alone nearly tell the label, which is more often a leak than luck."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from kincast.graph.snapshot import Snapshot
from kincast.query.labels import Labels
from kincast.query.task import Task, TaskKind
from kincast.report import Check, Report, Verdict
from kincast.sample.batch import Seeds
from kincast.train.aggregate import make_aggregates
from kincast.train.metric import auroc

SUSPICIOUS = 0.98
SAME_INSTANT = 0.5  # share of rows at the instant of the row they point to that is worth a warning
MAX_ROWS = 20_000
MIN_ROWS = 50


def find_giveaways(snapshot: Snapshot, task: Task, labels: Labels) -> Report:
    """How well each column, or each aggregate of a linked table, tells the label alone.

    Measured on training labels: AUROC for two classes (either way round), else the absolute rank correlation.
    Categories are ordered by the label's mean in one half of the rows and judged on the other half.

    Args:
        snapshot: the rows.
        task: what is predicted.
        labels: of all splits; training labels are used.
    """
    train = labels.of(0)
    chosen = np.random.default_rng(0).permutation(len(train.rows))[:MAX_ROWS]
    seeds = Seeds(labels.entity, train.rows[chosen], train.as_of_us[chosen], train.visible_us[chosen])
    aggregates = make_aggregates(snapshot, seeds, task.hidden)
    target = train.target[chosen]
    checks = []
    for place, name in enumerate(aggregates.names):
        values = aggregates.values[:, place]
        if place in aggregates.categorical:
            strength = _strength_of_codes(labels.kind, target, values)
        else:
            strength = _strength(labels.kind, target, values)
        if strength is not None and strength > SUSPICIOUS:
            what = f"'{name}' alone tells the label with strength {strength:.3f}: is it known before the label?"
            checks.append(Check("label.giveaway", f"{labels.entity}: {name}", Verdict.WARN, what, strength, SUSPICIOUS))
    if not checks:
        what = f"none of {len(aggregates.names)} columns and aggregates gives the label away"
        checks.append(Check("label.giveaway", labels.entity, Verdict.OK, what, 0, SUSPICIOUS))
    checks += _same_instant(snapshot, task)
    return Report(f"columns that give away the label of {task.entity}", tuple(checks))


def _same_instant(snapshot: Snapshot, task: Task) -> Iterator[Check]:
    """A column is predicted as of its row's time: rows that point to it at that very instant are seen."""
    own_us = snapshot.tables[task.entity].time_us
    if not task.is_static or own_us is None:
        return
    for link in snapshot.links:
        time_us = snapshot.tables[link.link.table].time_us
        linked = np.flatnonzero(link.forward >= 0)
        if link.link.target != task.entity or time_us is None or not len(linked):
            continue
        share = float(np.mean(time_us[linked] == own_us[link.forward[linked]]))
        if share > SAME_INSTANT:
            what = (
                f"{100 * share:.0f} % of its rows have the very time of their row of {task.entity}, so a prediction "
                f"sees them; if they come after it, move the time of {link.link.table} in the schema card, such as "
                "shift: 1 day"
            )
            yield Check("label.same_instant", link.link.name, Verdict.WARN, what, share, SAME_INSTANT)


def _strength(kind: TaskKind, target: NDArray[np.float64], values: NDArray[np.float64]) -> float | None:
    known = ~np.isnan(values)
    if known.sum() < MIN_ROWS or np.ptp(values[known]) == 0 or np.ptp(target[known]) == 0:
        return None
    target, values = target[known], values[known]
    if kind is TaskKind.BINARY:
        value = auroc(target, values)(np.ones(len(values)))
        return max(value, 1 - value)
    return float(abs(np.corrcoef(rankdata(target), rankdata(values))[0, 1]))


def _strength_of_codes(kind: TaskKind, target: NDArray[np.float64], codes: NDArray[np.float64]) -> float | None:
    half = len(codes) // 2
    filled = np.nan_to_num(codes, nan=-1).astype(np.int64) + 1
    counts = np.bincount(filled[:half], minlength=filled.max() + 1)
    sums = np.bincount(filled[:half], target[:half], minlength=filled.max() + 1)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), target[:half].mean() if half else 0.0)
    return _strength(kind, target[half:], mean[filled[half:]])
