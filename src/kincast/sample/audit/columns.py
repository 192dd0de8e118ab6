"""Columns: signs, found by statistics, that a column holds what was known only later. Suspicions, but for counts.

A dump shows a row as it is at its end, not as it was. Three things betray a column that went on changing: it counts
what came later; the youngest rows differ from all others, because they have not changed yet; or it agrees with
chance events better than anything known beforehand could.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import chi2, norm, rankdata, spearmanr

from kincast.report import Check, Verdict
from kincast.sample.audit.subject import (
    UNKNOWN_US,
    Facts,
    Floats,
    Int64s,
    Outcomes,
    can_follow,
    codes,
    numbers,
    parents,
)

ALPHA = 0.002  # of each test family, over all its columns together
MIN_ROWS = 200
MIN_BLOCK = 25
PARTS = (0.01, 0.02, 0.05, 0.1)  # sizes of the youngest part that is held against the part before it
MAX_BLOCKS = 20
JUMP = 2.0  # times the largest change between other neighbouring parts
MAX_BINS = 32
MIN_BINS = 4
SLICES = 400  # of time, counted alternately into two halves
MIN_EXCESS = 0.02  # share of the variance by which a column must exceed what can be known beforehand
EQUAL_SHARE = 0.95
MAX_ROWS = 200_000
STANDARD = 1e-4
TOTAL_WORDS = re.compile(
    r"count|total|score|views?(_|$|[A-Z])|votes?(_|$|[A-Z])|reputation|karma|likes|points|visits|clicks|plays|downloads|"
    r"followers|sold|sales|popularity|favou?rites|num(ber)?_?of|lifetime",
    re.IGNORECASE,
)
NUM_AGES = 10
AGE_ORDER = 0.9  # rank correlation of the means of so many ages with age
AGE_GROWTH = 0.6  # mean of the youngest rows over that of the oldest, below which a column grows
AGE_ERRORS = 6.0
KEY_LIMIT = 0.7  # AUROC of a key among rows born at about the same time
Tables = Mapping[str, Facts]
Hidden = Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Children:
    """Rows that belong to the rows of a table.

    Attributes:
        table: of the parents.
        name: of the link.
        parent: [n] row of the parent of each child, -1 for none.
        time_us: [n] when each child came to be; None where they have no time.
    """

    table: str
    name: str
    parent: Int64s
    time_us: Int64s | None


def children_of(tables: Tables) -> Iterator[Children]:
    """All links that can be followed, from their targets."""
    for facts in tables.values():
        for column, target in facts.links.items():
            if can_follow(tables, facts.name, column):
                yield Children(target, f"{facts.name}.{column}", parents(tables, facts.name, column), facts.born)


def whole_counts(tables: Tables, children: Collection[Children], hidden: Hidden = ()) -> Iterator[Check]:
    """Columns that count rows of another table up to the end of the data: certain where they are the very number."""
    for facts in tables.values():
        own = [link for link in children if link.table == facts.name]
        for name, values in _numeric(facts, hidden) if own else ():
            for link in own:
                found = _counted(facts, values, link)
                if found is not None:
                    what = (
                        f"{100 * found:.0f} % of its values are the number of {link.name} at the end of the data, "
                        "which no seed can know: leave the column out and let the model count"
                    )
                    yield Check("degree.whole", f"{facts.name}.{name}", Verdict.FAIL, what, found, EQUAL_SHARE)
    yield Check(
        "degree.whole", "all tables", Verdict.OK, f"the columns of {len(tables)} tables were held against counts"
    )


def _counted(facts: Facts, values: Floats, link: Children) -> float | None:
    """Share of values that equal the final number of children, or follow it without exception; None below the limit."""
    total = np.bincount(link.parent[link.parent >= 0], minlength=facts.num_rows).astype(np.float64)
    known = np.isfinite(values)
    some = known & (total > 0)
    if some.sum() < 20 or len(np.unique(total[some])) < 3:
        return None
    if facts.born is not None and link.time_us is not None:
        at_birth = (link.parent >= 0) & (link.time_us <= facts.born[np.maximum(link.parent, 0)])
        first = np.bincount(link.parent[at_birth], minlength=facts.num_rows)
        if (first[some] == total[some]).mean() > 0.5:  # children come with their parent: the count was known at once
            return None
    equal = float((values[some] == total[some]).mean())
    if equal >= EQUAL_SHARE:
        return equal
    if min(len(np.unique(total[some])), len(np.unique(values[some]))) < 5:
        return None
    return 1.0 if abs(float(spearmanr(values[some], total[some]).statistic)) > 0.999 else None


def young_jumps(tables: Tables, hidden: Hidden = (), alpha: float = ALPHA) -> Iterator[Check]:
    """Columns whose youngest rows differ from the rows before them more than any other rows do from theirs."""
    found: list[tuple[str, float, float, float]] = []
    tests = 0
    for facts in tables.values():
        if facts.born is None:
            continue
        order = np.flatnonzero(facts.born != UNKNOWN_US)
        order = order[np.argsort(facts.born[order], kind="stable")]
        if len(order) < MIN_ROWS or len(np.unique(facts.born[order])) < MAX_BLOCKS:
            continue
        order = order[:: max(1, len(order) // MAX_ROWS)]
        for name in facts.features:
            if (facts.name, name) in hidden:
                continue
            for values, used, are_codes in _views(facts, name, order):
                for part in PARTS:
                    size = int(len(used) * part)
                    if size < MIN_BLOCK:
                        continue
                    tests += 1
                    last, usual, others = _jumps(values[used], size, are_codes)
                    if last > JUMP * others:
                        found.append((f"{facts.name}.{name}", part, last - usual, others))
    limit = float(norm.isf(alpha / max(tests, 1)))
    worst: dict[str, tuple[str, float, float, float]] = {}
    for one in found:
        if one[2] > limit and one[2] > worst.get(one[0], one)[2] - 1e-9:
            worst[one[0]] = one
    for where, part, last, others in worst.values():
        what = (
            f"the youngest {100 * part:.0f} % of rows differ from those before by {last:.1f} standard errors more "
            f"than usual, other parts by {others:.1f} at most: it is changed after its row came to be, such as a "
            "status or a running total"
        )
        yield Check("row.mutated", where, Verdict.WARN, what, round(last, 2), round(max(limit, JUMP * others), 2))
    if not worst:
        yield Check("row.mutated", "all tables", Verdict.OK, f"young rows look like old ones ({tests} tests)")


def _views(facts: Facts, name: str, order: Int64s) -> Iterator[tuple[NDArray[Any], Int64s, bool]]:
    """A column as numbers, as categories, and as missing or not, each with the rows it has, oldest first.

    Missing counts only where the youngest rows miss more: a column that came into use lately is nothing odd.
    """
    column = facts.read(name)
    values = numbers(column)
    if values is None:
        found = codes(column)
        if found is None:
            return
        missing = found == 0
        if len(np.unique(found)) <= MAX_BINS:
            yield found, order[~missing[order]], True
    else:
        missing = np.isnan(values)
        if len(np.unique(values[~missing])) > 1:
            yield values, order[~missing[order]], False
    young = missing[order[-max(1, len(order) // MAX_BLOCKS) :]].mean()
    if young > missing[order].mean():
        yield missing.astype(np.int64), order, True


def _jumps(values: NDArray[Any], size: int, are_codes: bool) -> tuple[float, float, float]:
    """Change from the part before the youngest one to it; the median and largest change between other parts."""
    count = min(len(values) // size, MAX_BLOCKS)
    parts = [values[len(values) - size * (i + 1) : len(values) - size * i] for i in range(count)]
    changes = [
        _of_codes(parts[i].astype(np.int64), parts[i + 1].astype(np.int64))
        if are_codes
        else _of_numbers(parts[i].astype(np.float64), parts[i + 1].astype(np.float64))
        for i in range(count - 1)
    ]
    if len(changes) < 3:
        return 0.0, 0.0, np.inf
    return changes[0], float(np.median(changes[1:])), max(changes[1:])


def _of_numbers(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """|z| of the rank-sum test, corrected for ties."""
    ranks = rankdata(np.concatenate([one, other]))
    size, total = len(one), len(one) + len(other)
    spread = ranks.var() * total / (total - 1)
    if spread == 0:
        return 0.0
    return float(abs(ranks[:size].mean() - ranks.mean()) / np.sqrt(spread * (1 / size - 1 / total)))


def _of_codes(one: Int64s, other: Int64s) -> float:
    """z of the chi-squared test over categories seen five times or more, the others together."""
    width = int(max(one.max(), other.max())) + 1
    table = np.stack([np.bincount(one, minlength=width), np.bincount(other, minlength=width)]).astype(np.float64)
    often = table.sum(axis=0) >= 10
    table = np.concatenate([table[:, often], table[:, ~often].sum(axis=1, keepdims=True)], axis=1)
    table = table[:, table.sum(axis=0) >= 10]
    if table.shape[1] < 2:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    value = float(((table - expected) ** 2 / expected).sum())
    return float(max(0.0, -norm.ppf(max(chi2.sf(value, table.shape[1] - 1), 1e-300))))


def growing_totals(tables: Tables, hidden: Hidden = ()) -> Iterator[Check]:
    """Columns named like a total that are the larger the older the row: they went on growing after it came to be."""
    found = 0
    for facts in tables.values():
        if facts.born is None:
            continue
        order = np.flatnonzero(facts.born != UNKNOWN_US)
        order = order[np.argsort(facts.born[order], kind="stable")]
        for name, values in _numeric(facts, hidden):
            used = order[np.isfinite(values[order])]
            if not TOTAL_WORDS.search(name) or len(used) < MIN_ROWS or values[used].min() < 0:
                continue
            means = np.array([values[part].mean() for part in np.array_split(used, NUM_AGES)])
            if means[-1] >= AGE_GROWTH * means[0] or np.ptp(means) == 0:
                continue
            ages = -float(spearmanr(np.arange(NUM_AGES), means).statistic)
            errors = -float(spearmanr(np.arange(len(used)), values[used]).statistic) * np.sqrt(len(used) - 1)
            if ages >= AGE_ORDER and errors > AGE_ERRORS:
                found += 1
                what = (
                    f"it is named like a total, and the oldest rows have {means[0]:.4g} on average, the youngest "
                    f"{means[-1]:.4g}: it went on growing after its row came to be"
                )
                yield Check("row.mutated", f"{facts.name}.{name}", Verdict.WARN, what, round(ages, 3), AGE_ORDER)
    if not found:
        yield Check("row.mutated", "totals", Verdict.OK, "no column named like a total grows with the age of its row")


def foreknown(
    tables: Tables, children: Collection[Children], outcomes: Outcomes | None = None, hidden: Hidden = ()
) -> Iterator[Check]:
    """Columns that agree with events better than anything known beforehand could.

    Events of alternate slices of time share what could be known of a row, but not their chance. So their covariance
    bounds what any column fixed beforehand explains; a column that explains more has seen the events. Follows the
    attenuation bound of Spearman 1904, "The proof and measurement of association between two things". Numbers only:
    among rows of one category, events may keep each other away, such as second answers to a question.
    """
    halves = [(link.table, link.name, *found) for link in children if (found := _halves(tables, link)) is not None]
    if outcomes is not None and not outcomes.frozen and (found := _halves_of_labels(tables, outcomes)) is not None:
        halves.append((outcomes.entity, "the label", *found))
    tests: list[tuple[str, str, float, float]] = []
    for table, events, one, other in halves:
        facts = tables[table]
        for name in facts.features:
            bins = None if (table, name) in hidden else _bins(numbers(facts.read(name)))
            if bins is not None:
                tests.append((f"{table}.{name}", events, *_excess(bins, one, other)))
    limit = float(norm.isf(ALPHA / max(len(tests), 1)))
    worst: dict[str, tuple[str, float, float]] = {}
    for where, events, excess, z in tests:
        if z > limit and excess > MIN_EXCESS and z > worst.get(where, ("", 0.0, 0.0))[2]:
            worst[where] = (events, excess, z)
    for where, (events, excess, z) in worst.items():
        what = (
            f"it explains {100 * excess:.0f} % more of {events} than anything known beforehand could ({z:.1f} standard "
            "errors): a total or outcome of the end of the data"
        )
        yield Check("row.mutated", where, Verdict.WARN, what, round(z, 2), round(limit, 2))
    if not worst:
        yield Check(
            "row.mutated", "events", Verdict.OK, f"no column explains more than could be known ({len(tests)} tests)"
        )


def _halves(tables: Tables, link: Children) -> tuple[Floats, Floats] | None:
    """Per parent the logarithm of one plus its children in alternate slices of time."""
    if link.time_us is None:
        return None
    used = (link.parent >= 0) & (link.time_us != UNKNOWN_US)
    num_rows = tables[link.table].num_rows
    if used.sum() < MIN_ROWS or num_rows < MIN_ROWS:
        return None
    time_us = link.time_us[used]
    low, span = int(time_us.min()), max(int(np.ptp(time_us)), 1)
    odd = ((time_us - low) / span * SLICES).astype(np.int64) % 2 == 1
    one, other = (np.bincount(link.parent[used][part], minlength=num_rows) for part in (odd, ~odd))
    return np.log1p(one), np.log1p(other)


def _halves_of_labels(tables: Tables, outcomes: Outcomes) -> tuple[Floats, Floats] | None:
    """Per row the mean of its labels at alternate instants; NaN where it has none."""
    instants = np.unique(outcomes.as_of_us)
    if len(instants) < 4:
        return None
    odd = np.searchsorted(instants, outcomes.as_of_us) % 2 == 1
    num_rows = tables[outcomes.entity].num_rows
    found = []
    for part in (odd, ~odd):
        count = np.bincount(outcomes.rows[part], minlength=num_rows)
        total = np.bincount(outcomes.rows[part], outcomes.target[part], minlength=num_rows)
        found.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return found[0], found[1]


def _bins(values: Floats | None) -> Int64s | None:
    """Numbers in at most ``MAX_BINS`` bins, -1 for missing; None where there are too few to be a count."""
    if values is None:
        return None
    known = values[np.isfinite(values)]
    if len(known) < MIN_ROWS:
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, MAX_BINS)[1:-1]))
    if len(edges) < MIN_BINS:
        return None
    return np.where(np.isfinite(values), np.searchsorted(edges, values, side="left"), -1).astype(np.int64)


def _excess(bins: Int64s, one: Floats, other: Floats) -> tuple[float, float]:
    """Explained beyond the bound, as a share of the variance, and in standard errors.

    Half the difference of the halves is chance alone. If among rows of one bin their mean varies less than that, the
    bin has seen the chance. Bins that look so in one half of the rows are judged on the other.
    """
    known = np.isfinite(one) & np.isfinite(other) & (bins >= 0)
    bins, one, other = bins[known], one[known], other[known]
    if len(bins) < MIN_ROWS:
        return 0.0, 0.0
    one, other = one - one.mean(), other - other.mean()
    if (one * other).mean() <= 0:  # one event keeps others away: the halves do not bound each other
        return 0.0, 0.0
    both, apart = (one + other) / 2, (one - other) / 2
    fold = np.random.default_rng(0).permutation(len(bins)) % 2 == 0
    gain = np.zeros(len(bins))
    for part in (fold, ~fold):
        count = np.bincount(bins[part], minlength=bins.max() + 1) + 1.0
        mean, drift = (np.bincount(bins[part], values[part], len(count)) / count for values in (both, apart))
        beyond = (apart - drift[bins]) ** 2 - (both - mean[bins]) ** 2
        promising = np.bincount(bins[part], beyond[part], len(count)) > 0
        gain[~part] = np.where(promising[bins[~part]], beyond[~part], 0.0)
    error = gain.std() / np.sqrt(len(gain))
    return float(gain.mean() / max(both.var(), 1e-300)), float(gain.mean() / max(error, 1e-300))


def telling_keys(tables: Tables, outcomes: Outcomes) -> Iterator[Check]:
    """Keys, or the order of rows, that tell the label among rows that came to be at about the same time."""
    facts = tables[outcomes.entity]
    if not outcomes.binary:
        return
    _, first = np.unique(outcomes.rows, return_index=True)
    shuffled = np.random.default_rng(0).permutation(len(outcomes.rows))
    _, first = np.unique(outcomes.rows[shuffled], return_index=True)
    chosen = shuffled[first]
    rows, target = outcomes.rows[chosen], outcomes.target[chosen] == outcomes.target.max()
    strata = np.unique(outcomes.as_of_us[chosen], return_inverse=True)[1]
    if facts.born is not None:
        age = np.searchsorted(np.quantile(facts.born, np.linspace(0, 1, 21)[1:-1]), facts.born[rows])
        strata = strata * 21 + age
    ways = {"the order of rows": np.arange(facts.num_rows, dtype=np.float64)}
    if len(facts.key) == 1:
        ways[f"the key {facts.key[0]}"] = _ranked(facts.read(facts.key[0]))
    for name, values in ways.items():
        told, z = _within(strata, target, values[rows])
        odd = max(told, 1 - told) > KEY_LIMIT and z > norm.isf(ALPHA / 4)
        what = f"{name} tells the label with AUROC {max(told, 1 - told):.3f} among rows of one age"
        what += ": it was given when the label was known" if odd else ""
        yield Check("key.label", facts.name, Verdict.WARN if odd else Verdict.OK, what, round(told, 4), KEY_LIMIT)


def _ranked(column: pa.ChunkedArray) -> Floats:
    """Places of keys in their own order: of numbers, else of their texts."""
    values = numbers(column)
    if values is None:
        values = np.unique(np.array([str(key) for key in column.to_pylist()]), return_inverse=True)[1].astype(
            np.float64
        )
    return np.asarray(rankdata(values), np.float64)


def _within(strata: Int64s, target: NDArray[np.bool_], values: NDArray[np.float64] | Int64s) -> tuple[float, float]:
    """AUROC over pairs of the same stratum, and how many standard errors it lies from one half."""
    wins = pairs = variance = 0.0
    for stratum in np.unique(strata):
        part = strata == stratum
        ones = int(target[part].sum())
        others = int(part.sum()) - ones
        if ones and others:
            ranks = rankdata(values[part])
            wins += ranks[target[part]].sum() - ones * (ones + 1) / 2
            pairs += ones * others
            variance += ones * others * (ones + others + 1) / 12
    if not pairs:
        return 0.5, 0.0
    return wins / pairs, abs(wins - pairs / 2) / np.sqrt(variance)


def standardised(tables: Tables, until_us: int) -> Iterator[Check]:
    """Columns scaled by mean and deviation of all rows and not of those up to the end of training. Certain."""
    for facts in tables.values():
        if facts.born is None:
            continue
        early = facts.born <= until_us
        if early.all() or early.sum() < 20:
            continue
        for name, values in _numeric(facts):
            known = np.isfinite(values)
            if known.sum() < 100 or not (known & early).any():
                continue
            whole, seen = values[known], values[known & early]
            slack = max(STANDARD, 1 / len(whole))
            if abs(whole.mean()) > slack or abs(whole.std() - 1) > slack:
                continue
            off = max(abs(float(seen.mean())), abs(float(seen.std()) - 1))
            if off > 10 * slack:
                what = (
                    f"mean 0 and deviation 1 hold over all rows and are off by {off:.3g} over those of training: its "
                    "statistics were fitted on later rows"
                )
                yield Check("statistic.later", f"{facts.name}.{name}", Verdict.FAIL, what, off, 10 * slack)
    yield Check("statistic.later", "all tables", Verdict.OK, "no other column is scaled by statistics of later rows")


def ends_among_inputs(tables: Tables, hidden: Hidden = ()) -> Iterator[Check]:
    """Columns that are the end of a row in other clothes: a flag, or a number that follows it. Certain."""
    for facts in tables.values():
        end = facts.ended
        if end is None:
            continue
        over = end != UNKNOWN_US
        for name in facts.features:
            if (facts.name, name) in hidden or over.sum() < 20:
                continue
            found = codes(facts.read(name))
            if found is None:
                continue
            values = numbers(facts.read(name))
            flag = not over.all() and len(np.unique(found)) == 2 and len({*found[over]}) == len({*found[~over]}) == 1
            part = over & np.isfinite(values) if values is not None else np.zeros(len(over), bool)
            follows = (
                values is not None
                and len(np.unique(values[part])) > 10
                and abs(float(spearmanr(values[part], end[part]).statistic)) > 0.999
            )
            if flag or follows:
                what = f"it tells {facts.end_time}, which is known only when it has come"
                yield Check("end.known", f"{facts.name}.{name}", Verdict.FAIL, what)


def _numeric(facts: Facts, hidden: Hidden = ()) -> Iterator[tuple[str, Floats]]:
    for name in facts.features:
        values = None if (facts.name, name) in hidden else numbers(facts.read(name))
        if values is not None and len(values):
            yield name, values
