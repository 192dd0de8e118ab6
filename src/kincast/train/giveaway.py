"""Giveaway: columns that alone nearly tell the label, which is more often a leak than luck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kincast.graph.snapshot import Snapshot
from kincast.project import SplitSettings
from kincast.query.labels import Labels
from kincast.query.task import Task, TaskKind
from kincast.report import Check, Report, Verdict
from kincast.sample.audit.columns import children_of, foreknown, growing_totals, whole_counts, young_jumps
from kincast.sample.audit.snapshot import facts_of, outcomes_of
from kincast.sample.audit.strength import strength, strength_of_codes, telling_columns
from kincast.sample.batch import Seeds
from kincast.train.aggregate import make_aggregates

SUSPICIOUS = 0.98
SAME_INSTANT = 0.5  # share of rows at the instant of the row they point to that is worth a warning
MAX_ROWS = 20_000


def find_giveaways(
    snapshot: Snapshot, task: Task, labels: Labels, split: SplitSettings | None = None, *, strict: bool = False
) -> Report:
    """Columns and aggregates that tell the label alone, and columns that hold totals of the end of the data.

    Measured on training labels: AUROC for two classes (either way round), else the absolute rank correlation.
    Categories are ordered by the label's mean in one half of the rows and judged on the other half. An aggregate of
    earlier rows may tell much by right; a column as it stands is suspicious sooner, see ``sample.audit.strength``.

    Args:
        snapshot: the rows.
        task: what is predicted.
        labels: of all splits; training labels are used.
        split: of the task.
        strict: the task hides facts at the very instant.
    """
    if labels.kind is TaskKind.KNOWLEDGE:
        what = "only facts of the training split are read"
        return Report(f"columns that give away the label of {task.entity}", (_fine(labels, what),))
    train = labels.of(0)
    chosen = np.random.default_rng(0).permutation(len(train.rows))[:MAX_ROWS]
    seeds = Seeds(labels.entity, train.rows[chosen], train.as_of_us[chosen], train.visible_us[chosen])
    aggregates = make_aggregates(snapshot, seeds, task.hidden, strict=strict)
    target = train.target[chosen]
    binary = labels.kind is TaskKind.BINARY
    checks = []
    for place, name in enumerate(aggregates.names):
        values = aggregates.values[:, place]
        if place in aggregates.categorical:
            codes = np.nan_to_num(values, nan=-1).astype(np.int64) + 1
            found = strength_of_codes(target, codes, binary, train.rows[chosen])
        else:
            found = strength(target, values, binary)
        if found is not None and found[0] > SUSPICIOUS:
            what = f"'{name}' alone tells the label with strength {found[0]:.3f}: is it known before the label?"
            checks.append(Check("label.giveaway", f"{labels.entity}: {name}", Verdict.WARN, what, found[0], SUSPICIOUS))
    if not checks:
        checks.append(_fine(labels, f"none of {len(aggregates.names)} columns and aggregates gives the label away"))
    checks += _totals(snapshot, task, labels, split or SplitSettings())
    if not strict:
        checks += _same_instant(snapshot, task)
    return Report(f"columns that give away the label of {task.entity}", tuple(checks))


def _fine(labels: Labels, what: str) -> Check:
    return Check("label.giveaway", labels.entity, Verdict.OK, what, 0, SUSPICIOUS)


def _totals(snapshot: Snapshot, task: Task, labels: Labels, split: SplitSettings) -> Iterator[Check]:
    """Columns as they stand that tell the label, count what came later, or agree with chance."""
    tables, hidden = facts_of(snapshot), frozenset(task.hidden)
    outcomes = outcomes_of(task, labels.of(0), split)
    children = list(children_of(tables))
    found = [
        *telling_columns(tables, outcomes, hidden),
        *whole_counts(tables, children, hidden),
        *foreknown(tables, children, outcomes, hidden),
        *young_jumps(tables, hidden),
        *growing_totals(tables, hidden),
    ]
    for check in found:  # training goes on: the user decides
        yield replace(check, verdict=Verdict.WARN) if check.verdict is Verdict.FAIL else check


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
