"""Check: what is wrong or odd about the rows of a database, as a report."""

from __future__ import annotations

import time
from collections.abc import Iterator

import duckdb

from kincast.clock import format_instant
from kincast.report import Check, Report, Verdict
from kincast.schema import Link, SemanticType, Table
from kincast.source.base import quote
from kincast.source.cast import kept_type, path_literal, same_key_sql
from kincast.source.tables import Tables

ORPHAN_LIMIT = 0.05
"""Share of rows pointing nowhere above which a link is worth a warning."""

NULL_LIMIT = 0.5
"""Share of nulls above which a column is worth a note."""

REJECTED_LIMIT = 0.01
"""Share of rejected rows above which a rule is worth a failure rather than a warning."""

LATER_LIMIT = 0.05
"""Share of values later than their own row above which a column or link looks filled in afterwards."""

SHARED_LIMIT = 2
"""An id stands for something that rows share when it comes this often on average."""

GAP_PARTS = 20
"""A time gap is worth a warning when it is longer than one part in so many of the whole range, and sits alone."""

_REASON = {
    "key.null": "have no key",
    "key.duplicate": "have the key of another row",
    "time.missing": "have no time",
    "time.unreadable": "have a time that cannot be read",
    "time.no_parent": "take their time from a row that is not there",
}


def check_tables(tables: Tables, *, now_us: int | None = None) -> Report:
    """Check the cleaned rows: keys, links, times, columns, and that no row got lost.

    Args:
        tables: what ``stage`` made.
        now_us: the present, microseconds UTC; rows after it are in the future. The clock's when None.
    """
    now_us = time.time_ns() // 1000 if now_us is None else now_us
    checks: list[Check] = []
    with tables.connect() as connection:
        for table in tables.schema:
            checks += _rows(tables, table)
            checks += _rejected(tables, table, connection)
            if tables.num_rows(table.name) == 0:
                continue
            checks += _times(table, connection, now_us)
            checks += _columns(tables, table, connection)
            checks += _filled_later(table, connection)
            checks += _unlinked(tables, table, connection)
        for link in tables.schema.links:
            checks += _orphans(tables, link, connection)
            checks += _leads_later(tables, link, connection)
        if len(tables.schema.tables) > 1 and not tables.schema.links:
            hint = "no table is linked to another, so a model sees each row alone; add links to the schema card"
            checks.append(Check("link.none", "all tables", Verdict.WARN, hint))
        if tables.schema.tables and all(table.time is None for table in tables.schema):
            hint = "no table has a time, so nothing can be predicted ahead; set 'time' in the schema card"
            checks.append(Check("time.none", "all tables", Verdict.WARN, hint))
    return Report("data", tuple(checks))


def _rows(tables: Tables, table: Table) -> Iterator[Check]:
    counts = tables.counts[table.name]
    lost = counts.read - counts.kept - sum(counts.rejected.values())
    verdict = Verdict.FAIL if lost else Verdict.OK
    said = f"{counts.read:,} rows read = {counts.kept:,} kept + {sum(counts.rejected.values()):,} rejected"
    yield Check("rows.identity", table.name, verdict, said, value=lost, limit=0)
    if counts.kept == 0:
        said = "the table is empty" if counts.read == 0 else f"none of {counts.read:,} rows could be kept"
        yield Check("table.empty", table.name, Verdict.WARN if counts.read == 0 else Verdict.FAIL, said, value=0)


def _rejected(tables: Tables, table: Table, connection: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    counts = tables.counts[table.name]
    rules = ["key.null", "key.duplicate"] if table.key else []
    if table.time is not None:
        rules += ["time.missing", "time.unreadable"] + (["time.no_parent"] if table.time.via else [])
    where = f"{table.name}.{'+'.join(table.key)}"
    for rule in rules:
        place = where if rule.startswith("key") else table.name
        count = counts.rejected.get(rule, 0)
        if not count:
            yield Check(rule, place, Verdict.OK, f"no rows {_REASON[rule]}", value=0)
            continue
        share = count / counts.read
        verdict = Verdict.FAIL if share > REJECTED_LIMIT else Verdict.WARN
        said = f"{count:,} rows ({_percent(share)}) {_REASON[rule]} and are left out"
        yield Check(
            rule, place, verdict, said, count, _percent(REJECTED_LIMIT), _samples(tables, table, rule, connection)
        )
    for column, count in counts.unreadable.items():
        stored = kept_type(table.column(column))
        said = f"{count:,} values cannot be read as {stored} and count as missing"
        verdict = Verdict.WARN if count <= counts.read * REJECTED_LIMIT else Verdict.FAIL
        samples = tuple(counts.samples.get(column, ()))
        yield Check("value.unreadable", f"{table.name}.{column}", verdict, said, count, samples=samples)


def _samples(tables: Tables, table: Table, rule: str, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Up to three rejected rows, by their key where they have one."""
    path = tables.rejected_path(table.name)
    if path is None:
        return ()
    named = table.key if table.key and rule != "key.null" else tuple(column.name for column in table.columns[:3])
    shown = ", ".join(f"coalesce(CAST({quote(name)} AS VARCHAR), 'null')" for name in named)
    rows = connection.execute(
        f"SELECT DISTINCT left(concat_ws(', ', {shown}), 80) AS v FROM read_parquet({path_literal(path)}) "
        f"WHERE _rule = ? ORDER BY v LIMIT 3",
        [rule],
    ).fetchall()
    return tuple(row[0] for row in rows)


def _times(table: Table, connection: duckdb.DuckDBPyConnection, now_us: int) -> Iterator[Check]:
    if table.time is None:
        return
    name = quote(table.name)
    rows, late, low, high = _one(
        connection,
        f"SELECT count(*), count(*) FILTER (epoch_us(_time) > {int(now_us)}), epoch_us(min(_time)), "
        f"epoch_us(max(_time)) FROM {name}",
    )
    verdict = Verdict.WARN if late else Verdict.OK
    said = (
        f"{late:,} of {rows:,} rows are later than {format_instant(now_us)[:16]}" if late else "no row is in the future"
    )
    found = connection.execute(
        f"SELECT CAST(_time AS VARCHAR) FROM {name} WHERE epoch_us(_time) > {int(now_us)} ORDER BY _time DESC LIMIT 3"
    ).fetchall()
    yield Check("time.future", table.name, verdict, said, late, 0, tuple(row[0] for row in found))
    yield _gap(table, connection, low, high)


def _gap(table: Table, connection: duckdb.DuckDBPyConnection, low: int, high: int) -> Check:
    """The longest time without a row, against the whole range and against the next gaps."""
    instants = f"SELECT DISTINCT epoch_us(_time) AS start FROM {quote(table.name)}"
    gaps = connection.execute(
        f"SELECT start, later - start AS gap FROM (SELECT start, lead(start) OVER (ORDER BY start) AS later "
        f"FROM ({instants})) WHERE later IS NOT NULL ORDER BY gap DESC, start LIMIT 11"
    ).fetchall()
    if not gaps:
        return Check("time.gap", table.name, Verdict.OK, f"all rows are at {format_instant(low)}", value=0)
    start, gap = gaps[0]
    usual = gaps[-1][1]  # the eleventh longest
    alone = len(gaps) == 11 and gap > 3 * usual and gap * GAP_PARTS > high - low
    range_said = f"from {format_instant(low)[:10]} to {format_instant(high)[:10]}"
    said = f"longest time without a row: {_length(gap)} from {format_instant(start)[:16]}, {range_said}"
    return Check("time.gap", table.name, Verdict.WARN if alone else Verdict.OK, said, value=_length(gap))


def _columns(tables: Tables, table: Table, connection: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    rows = tables.num_rows(table.name)
    names = [quote(column.name) for column in table.columns]
    firsts = ", ".join(f"any_value({name}) AS f{i}" for i, name in enumerate(names))
    parts = ", ".join(f"count({name}), coalesce(bool_and({name} = f{i}), false)" for i, name in enumerate(names))
    rows_and_firsts = f"{quote(table.name)}, (SELECT {firsts} FROM {quote(table.name)})"
    values = iter(_one(connection, f"SELECT {parts} FROM {rows_and_firsts}"))
    for column in table.columns:
        filled, constant = next(values), next(values)
        where = f"{table.name}.{column.name}"
        share = 1 - filled / rows
        ignored = column.type is SemanticType.IGNORED
        if not filled:
            verdict = Verdict.OK if ignored else Verdict.WARN
            yield Check("column.null_share", where, verdict, "it has no values", value=1.0, limit=NULL_LIMIT)
            continue
        often = share > NULL_LIMIT and not ignored
        said = f"{_percent(share)} of values are missing" if share else "no value is missing"
        yield Check("column.null_share", where, Verdict.NOTE if often else Verdict.OK, said, share, NULL_LIMIT)
        if constant and rows > 1:
            said = "all its values are the same" + ("" if filled == rows else " where it has any")
            flagged = Verdict.OK if ignored or column.type is SemanticType.ID else Verdict.NOTE
            yield Check("column.constant", where, flagged, said)


def _filled_later(table: Table, connection: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """Timestamps after the row's own time: plans, or signs that rows were changed after they came to be."""
    if table.time is None:
        return
    own = (table.time.column, table.time.clock, table.end_time)
    for column in table.columns:
        if column.type is not SemanticType.TIMESTAMP or column.name in own:
            continue
        name = quote(column.name)
        later, filled = _one(
            connection, f"SELECT count(*) FILTER ({_is_later(name, '_time')}), count({name}) FROM {quote(table.name)}"
        )
        if filled and later / filled > LATER_LIMIT:
            said = (
                f"{_percent(later / filled)} of its values are later than their row; unless they are plans made "
                "before, they tell the future: set its type to ignored, and that of all that was written with it"
            )
            yield Check("time.later", f"{table.name}.{column.name}", Verdict.WARN, said, later / filled, LATER_LIMIT)


def _unlinked(tables: Tables, table: Table, connection: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """Ids that rows share but that lead nowhere: what they name is lost to a model."""
    linked = {name for link in tables.schema.links_from(table.name) for name in link.columns}
    for column in table.columns:
        if column.type is not SemanticType.ID or column.name in linked or table.key == (column.name,):
            continue
        name = quote(column.name)
        distinct, filled = _one(
            connection, f"SELECT approx_count_distinct({name}), count({name}) FROM {quote(table.name)}"
        )
        if distinct > 1 and distinct * SHARED_LIMIT <= filled:
            said = (
                "rows share its values, but no table has them as its key, so a model cannot see what they share; "
                "add a table of its distinct values to the database, then a link to the schema card"
            )
            yield Check("link.missing", f"{table.name}.{column.name}", Verdict.NOTE, said, distinct)


def _leads_later(tables: Tables, link: Link, connection: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """Links to rows that came later: somebody filled them in afterwards, and other columns with them."""
    target = tables.schema.table(link.target)
    if tables.schema.table(link.table).time is None or target.time is None or target.versioned:
        return
    is_later = _is_later("d._time", "s._time")
    later, linked = _one(
        connection,
        f"SELECT count(*) FILTER ({is_later}), count(*) FROM {quote(link.table)} AS s "
        f"JOIN {quote(link.target)} AS d ON {_matches(tables, link)}",
    )
    if linked and later / linked > LATER_LIMIT:
        said = (
            f"{_percent(later / linked)} of the rows it leads to are later than the row itself, so {link.table} is "
            "changed afterwards; set the type of columns that hold later totals or outcomes to ignored"
        )
        yield Check("link.later", link.name, Verdict.WARN, said, later / linked, LATER_LIMIT)


def _is_later(one: str, other: str) -> str:
    """SQL condition: one instant lies after the other; within its day when the other is just a day."""
    within_day = f"{other} = date_trunc('day', {other}) AND CAST({one} AS DATE) = CAST({other} AS DATE)"
    return f"{one} > {other} AND NOT ({within_day})"


def _matches(tables: Tables, link: Link) -> str:
    """SQL condition: row s of the link's table names row d of its target."""
    table, target = tables.schema.table(link.table), tables.schema.table(link.target)
    return " AND ".join(
        same_key_sql(f"s.{quote(a)}", kept_type(table.column(a)), f"d.{quote(b)}", kept_type(target.column(b)))
        for a, b in zip(link.columns, link.target_columns, strict=True)
    )


def _orphans(tables: Tables, link: Link, connection: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    filled = " AND ".join(f"s.{quote(name)} IS NOT NULL" for name in link.columns)
    keys = ", ".join(f"s.{quote(name)}" for name in link.columns)
    lost = (
        f"FROM {quote(link.table)} AS s WHERE {filled} "
        f"AND NOT EXISTS (FROM {quote(link.target)} AS d WHERE {_matches(tables, link)})"
    )
    linked = _one(connection, f"SELECT count(*) FROM {quote(link.table)} AS s WHERE {filled}")[0]
    orphans = _one(connection, f"SELECT count(*) {lost}")[0]
    if not orphans:
        yield Check("link.orphan", link.name, Verdict.OK, f"all {linked:,} rows with a value lead to a row", value=0.0)
        return
    share = orphans / linked
    samples = connection.execute(
        f"SELECT DISTINCT left(concat_ws(', ', {keys}), 80) AS v {lost} ORDER BY v LIMIT 3"
    ).fetchall()
    verdict = Verdict.WARN if share > ORPHAN_LIMIT else Verdict.NOTE
    said = f"{orphans:,} of {linked:,} rows ({_percent(share)}) point to no row of {link.target}"
    yield Check("link.orphan", link.name, verdict, said, share, ORPHAN_LIMIT, tuple(row[0] for row in samples))


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row: tuple[int, ...] = connection.execute(sql).fetchone() or ()
    return row


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else "under 0.1 %"


def _length(span_us: int) -> str:
    hours = span_us / 3_600_000_000
    return (
        f"{hours / 24:,.1f} days"
        if hours >= 48
        else f"{hours:,.1f} hours"
        if hours >= 1
        else f"{hours * 60:,.1f} minutes"
    )
