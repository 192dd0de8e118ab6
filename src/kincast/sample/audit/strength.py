"""Strength: how well one column alone tells the label, with a bound below which the truth hardly lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from kincast.report import Check, Verdict
from kincast.sample.audit.subject import Facts, Floats, Int64s, Outcomes, can_follow, codes, numbers, parents

LIMIT = 0.9  # AUROC, or rank correlation, of a column of a row
MIN_ROWS = 50
MAX_ROWS = 20_000
ALPHA = 0.002


def telling_columns(
    tables: Mapping[str, Facts], outcomes: Outcomes, hidden: frozenset[tuple[str, str]] = frozenset()
) -> Iterator[Check]:
    """Columns of the labelled rows, and of the rows they point to, that alone nearly tell the label.

    A dump holds them as they were at its end, so a column that says so much is more often written after the label than
    before it. A suspicion: only the column's owner knows when it is written.
    """
    chosen = np.random.default_rng(0).permutation(len(outcomes.rows))[:MAX_ROWS]
    rows, target = outcomes.rows[chosen], outcomes.target[chosen]
    places = [(tables[outcomes.entity], rows)]
    for column, parent in tables[outcomes.entity].links.items():
        if can_follow(tables, outcomes.entity, column):
            places.append((tables[parent], parents(tables, outcomes.entity, column)[rows]))
    looked, suspicious = 0, 0
    for facts, at in places:
        for name in facts.features:
            if (facts.name, name) in hidden:
                continue
            looked += 1
            found = _of_column(facts, name, at, target, outcomes.binary, rows)
            if found is not None and found[1] > LIMIT:
                suspicious += 1
                what = f"alone it tells the label with strength {found[0]:.3f}: is it known before the label?"
                yield Check("column.target", f"{facts.name}.{name}", Verdict.WARN, what, round(found[0], 4), LIMIT)
    if not suspicious:
        what = f"none of {looked} columns alone tells the label"
        yield Check("column.target", outcomes.entity, Verdict.OK, what, 0, LIMIT)


def _of_column(
    facts: Facts, name: str, at: Int64s, target: Floats, binary: bool, groups: Int64s
) -> tuple[float, float] | None:
    column = facts.read(name)
    there = at >= 0
    values = numbers(column)
    if values is not None:
        return strength(target[there], values[at[there]], binary)
    found = codes(column)
    return None if found is None else strength_of_codes(target[there], found[at[there]], binary, groups[there])


def strength(target: Floats, values: Floats, binary: bool) -> tuple[float, float] | None:
    """AUROC either way round, or absolute rank correlation, and its lower bound; None for too few or constant values.

    Args:
        target: [n] 0 and 1, or numbers.
        values: [n], NaN for missing.
        binary: the target has two classes.
    """
    known = ~np.isnan(values)
    if known.sum() < MIN_ROWS or np.ptp(values[known]) == 0 or np.ptp(target[known]) == 0:
        return None
    target, values = target[known], values[known]
    if not binary:
        found = float(abs(np.corrcoef(rankdata(target), rankdata(values))[0, 1]))
        bound = np.tanh(np.arctanh(min(found, 1 - 1e-12)) - _Z / np.sqrt(max(len(target) - 3, 1)))
        return found, float(bound)
    ones = target == target.max()
    found = auroc_of(ones, values)
    found = max(found, 1 - found)
    return found, found - _Z * auroc_error(found, int(ones.sum()), int((~ones).sum()))


def strength_of_codes(target: Floats, found: Int64s, binary: bool, groups: Int64s) -> tuple[float, float] | None:
    """The same of categories, put in the order of the label's mean among the rows of other groups.

    Args:
        target: [n].
        found: [n] codes from 0.
        binary: the target has two classes.
        groups: [n] such as the entity, so that no row is judged by another row of its own.
    """
    if len(found) < 2 * MIN_ROWS:
        return None
    first = groups % 2 == 0
    if not first.any() or first.all():
        return None
    width = int(found.max()) + 1
    counts = np.bincount(found[first], minlength=width)
    sums = np.bincount(found[first], target[first], minlength=width)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), target[first].mean())
    return strength(target[~first], mean[found[~first]], binary)


def auroc_of(ones: NDArray[np.bool_], values: Floats) -> float:
    """Probability that a positive has the larger value, ties counting half."""
    ranks = rankdata(values)
    num = int(ones.sum())
    return float((ranks[ones].sum() - num * (num + 1) / 2) / (num * (len(ones) - num)))


def auroc_error(value: float, ones: int, others: int) -> float:
    """Standard error of an AUROC: Hanley and McNeil 1982."""
    one, two = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (ones - 1) * (one - value**2) + (others - 1) * (two - value**2)
    return float(np.sqrt(max(variance, 0.0) / (ones * others)))


_Z = float(norm.isf(ALPHA))
