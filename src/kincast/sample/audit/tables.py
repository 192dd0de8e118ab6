"""Tables: leaks that lie in the rows as they stand: keys there twice, mixed units and zones, rows dated back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kincast.clock import DAY_US
from kincast.report import Check, Verdict
from kincast.sample.audit.subject import UNKNOWN_US, Facts, Int64s, can_follow, instants, numbers, parents

HOUR_US = DAY_US // 24
ARRIVAL_WORDS = re.compile(r"(^|_)(insert|ingest|load|arriv|record|sync|etl|receiv)[a-z]*(_|$)", re.IGNORECASE)
SHORT_ZONE, LONG_ZONE = 0.4 * HOUR_US, 14.5 * HOUR_US
ZONE_SHARE = 0.005
ORDERED_SHARE = 0.95  # of rows whose number follows time, from which numbers count as given in order
BACKDATED_SPAN = 0.02  # of the whole time, by which a row must lie before rows with lower numbers
BACKDATED_USUAL = 5  # times the lag that 95 % of rows stay below
MAX_ROWS = 500_000
Tables = Mapping[str, Facts]


def duplicate_keys(tables: Tables) -> Iterator[Check]:
    """Keys that several rows have: a later row's columns reach the seeds of the earlier one."""
    for facts in tables.values():
        if not facts.key:
            continue
        columns = [facts.read(name) for name in facts.key]
        distinct = pa.table({str(i): column for i, column in enumerate(columns)}).group_by(
            [str(i) for i in range(len(columns))]
        )
        twice = facts.num_rows - distinct.aggregate([]).num_rows
        where = f"{facts.name}.{'+'.join(facts.key)}"
        what = f"{twice:,} rows have the key of another row" if twice else "every row has its own key"
        yield Check("key.duplicate", where, Verdict.FAIL if twice else Verdict.OK, what, twice, 0)


def mixed_units(tables: Tables) -> Iterator[Check]:
    """Times a thousand times too large or small beside the others, and text with and without a zone."""
    middles: dict[str, float] = {}
    for facts in tables.values():
        if facts.time is None:
            continue
        where = f"{facts.name}.{facts.time}"
        column = facts.read(facts.time)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            yield _text_zones(where, column)
        values = numbers(column)
        if values is None:
            read = instants(column)
            values = np.where(read == UNKNOWN_US, np.nan, read).astype(np.float64)
        values = np.abs(values[np.isfinite(values) & (values != 0)])
        if not len(values):
            continue
        middle = float(np.median(values))
        middles[where] = middle
        odd = int(_is_other_unit(values / middle).sum())
        what = f"{odd:,} of {len(values):,} times have another unit, a factor of 1,000 or more apart from the others"
        what = what if odd else "all times have one unit"
        yield Check("time.unit", where, Verdict.FAIL if odd else Verdict.OK, what, odd, 0)
    usual = float(np.median(list(middles.values()))) if middles else 1.0
    for where, middle in middles.items():
        if _is_other_unit(np.array([middle / usual])).any():
            what = f"its times have another unit than those of other tables, by a factor of about {middle / usual:.3g}"
            yield Check("time.unit", where, Verdict.FAIL, what, middle, usual)


def _is_other_unit(ratio: np.ndarray) -> np.ndarray:
    """Units of time lie factors of 1,000 apart; dates of one unit hardly a factor of 3."""
    power = np.log10(np.maximum(ratio, 1e-300)) / 3
    near = np.abs(power - np.round(power)) < 0.15
    answer: np.ndarray = near & (np.abs(np.round(power)) >= 1)
    return answer


def _text_zones(where: str, column: pa.ChunkedArray) -> Check:
    zones = pc.replace_substring_regex(column.drop_null(), r"^.*?(Z|[+-]\d\d:?\d\d)?$", r"\1")
    found = sorted(str(zone) for zone in pc.unique(zones).to_pylist())
    naive = "" in found and len(found) > 1
    what = f"times with and without a zone: {', '.join(zone or 'none' for zone in found[:4])}"
    if not naive:
        what = "all times have a zone" if found and found != [""] else "no time has a zone; all are read as UTC"
    return Check("time.zone", where, Verdict.FAIL if naive else Verdict.OK, what, len(found), 1)


def mixed_zones(tables: Tables) -> Iterator[Check]:
    """Rows a few hours before the row they belong to, and never more: one of the two clocks is not UTC."""
    for facts in tables.values():
        for column, target in facts.links.items():
            if facts.born is None or not can_follow(tables, facts.name, column) or tables[target].born is None:
                continue
            above = parents(tables, facts.name, column)
            has = (above >= 0) & (facts.born != UNKNOWN_US)
            start = tables[target].born[above[has]]  # type: ignore[index]
            delay = (facts.born[has] - start)[start != UNKNOWN_US]
            before = delay < -SHORT_ZONE
            share = float(before.mean()) if len(delay) else 0.0
            lowest = int(delay.min()) if len(delay) else 0
            odd = ZONE_SHARE < share < 1 and lowest >= -LONG_ZONE
            where = f"{facts.name}.{column} -> {target}"
            what = (
                f"{100 * share:.1f} % of rows are up to {-lowest / HOUR_US:.1f} hours before the row they belong to, "
                "and none is earlier: are both clocks UTC?"
            )
            what = what if odd else "no sign of clocks in two zones"
            yield Check("time.zone", where, Verdict.WARN if odd else Verdict.OK, what, share, ZONE_SHARE)


def backdated(tables: Tables) -> Iterator[Check]:
    """Rows that came after others, by their number, but are dated long before them: nobody knew them then."""
    for facts in tables.values():
        if facts.born is None or len(facts.key) != 1:
            continue
        number = numbers(facts.read(facts.key[0]))
        known = facts.born != UNKNOWN_US
        if number is None or known.sum() < 50:
            continue
        born = facts.born[known][np.argsort(number[known], kind="stable")]
        span = int(born.max() - born.min())
        lag = _lags(born[:: max(1, len(born) // MAX_ROWS)])
        usual = float(np.quantile(lag, ORDERED_SHARE))
        if span == 0 or usual > BACKDATED_SPAN * span:
            continue
        late = lag > max(BACKDATED_SPAN * span, BACKDATED_USUAL * usual)
        count = int(late.sum())
        what = "rows are dated in the order of their numbers"
        if count:
            worst = lag.max() / DAY_US
            what = (
                f"{count:,} rows are dated up to {worst:,.0f} days before rows with lower numbers, so they were "
                "probably entered later than their time; give the instant they were entered as their time"
            )
        verdict = Verdict.WARN if count else Verdict.OK
        yield Check("row.late", f"{facts.name}.{facts.key[0]}", verdict, what, count, 0)


def _lags(born: Int64s) -> Int64s:
    """How far each row lies before the lower of the two highest rows that come before it.

    Of the two the lower one: a single row far in the future must not make all others look late.
    """
    first = np.maximum.accumulate(born)
    second = np.empty_like(born)
    high = low = born[0]
    for place, instant in enumerate(born.tolist()):
        second[place] = low
        if instant >= high:
            high, low = instant, high
        elif instant > low:
            low = instant
    return np.maximum(np.minimum(first, second) - born, 0)


def arrivals(tables: Tables) -> Iterator[Check]:
    """Columns that say when a row reached the database, later than the time it is given."""
    for facts in tables.values():
        if facts.born is None:
            continue
        for column in arrival_columns(facts):
            arrived = instants(facts.read(column))
            known = (arrived != UNKNOWN_US) & (facts.born != UNKNOWN_US)
            delay = (arrived - facts.born)[known]
            late = int((delay > 1_000_000).sum())
            what = "rows arrived at their time"
            if late:
                hours = np.median(delay[delay > 0]) / HOUR_US
                what = (
                    f"{late:,} of {len(delay):,} rows arrived after their time, by {hours:,.1f} hours in the middle; "
                )
                what += "make it the time of the table"
            verdict = Verdict.OK if not late else Verdict.FAIL if facts.arrival == column else Verdict.WARN
            yield Check("row.late", f"{facts.name}.{column}", verdict, what, late, 0)


def arrival_columns(facts: Facts) -> tuple[str, ...]:
    """The column named as arrival, else time columns whose name says so."""
    if facts.arrival is not None:
        return (facts.arrival,)
    return tuple(
        name
        for name in facts.names
        if name not in (facts.time, facts.end_time)
        and ARRIVAL_WORDS.search(name)
        and (pa.types.is_timestamp(facts.read(name).type) or pa.types.is_date(facts.read(name).type))
    )


def inputs_of_keys(tables: Tables) -> Iterator[Check]:
    """Keys and ends among the inputs: numbers given in order tell the time, ends are known only later."""
    for facts in tables.values():
        if facts.inputs is None:
            continue
        used = [name for name in facts.inputs if name in facts.key or name in facts.links]
        what = f"the model reads {', '.join(used)}" if used else "no key is an input"
        yield Check("key.time", facts.name, Verdict.FAIL if used else Verdict.OK, what, len(used), 0)
        ends = [name for name in facts.inputs if name == facts.end_time]
        what = (
            f"the model reads {facts.end_time}, which is known only when it has come" if ends else "no end is an input"
        )
        if facts.end_time:
            yield Check("end.known", facts.name, Verdict.FAIL if ends else Verdict.OK, what, len(ends), 0)
