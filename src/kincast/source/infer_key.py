"""Inferring keys: which columns name the rows of a table."""

from __future__ import annotations

from itertools import combinations

from kincast.schema import SemanticType
from kincast.source.profile import Bench, ColumnProfile
from kincast.source.words import KEY_WORDS, names_a_row, names_something, stem

_MAX_COLUMNS = 4
# Without that many rows expected to share a key by chance, the fact that none do proves nothing.
_SURPRISE = 3.0
_OWN = 5
# Share of rows that a key must tell apart where everything else says that it is one.
_NEARLY = 0.99
# Share of another table's values that must be here for the two to be about the same rows.
_REFERRED = 0.9


def infer_key(bench: Bench, table: int) -> tuple[tuple[str, ...], str]:
    """The primary key of a table and the sentence that says why; no columns when none can be told.

    A column named as the key of its own table is taken even if a few rows share a value or have none, so that the
    check can say so.
    """
    declared = bench.tables[table].key
    profiles = bench.columns[table]
    if declared:
        return declared, "declared in the database"
    if profiles[0].rows == 0:
        named = max(profiles, key=lambda p: (_name_score(bench, p), -p.index))
        if _name_score(bench, named) == _OWN:
            return (named.name,), "by its name; the table is empty"
        return (), "no key: the table is empty"
    scored = []
    for profile in profiles:
        if not _may_be_key(profile):
            continue
        score = _name_score(bench, profile)
        unique = profile.is_unique and (score >= 2 or _leads(profile)) and _more_than_chance(bench, profile)
        if unique or (score == _OWN and profile.distinct >= _NEARLY * profile.rows):
            scored.append((score, profile.is_unique, -profile.index, profile))
    if scored:
        chosen = max(scored, key=lambda item: item[:3])[3]
        shared = chosen.rows - chosen.distinct
        said = f"{shared:,} of {chosen.rows:,} rows share one or have none" if shared else ""
        return (chosen.name,), (said or f"no two of {chosen.rows:,} rows share it") + _partly(bench, table)
    return _composite(bench, table)


def is_own_key(table: str, key: str) -> bool:
    """True when a key column names the rows of its own table by its name: ``orders.order_id``, ``orders.id``."""
    body = key_body(key)
    own = stem(table.rsplit(".", 1)[-1])
    return not body or own[-len(body) :] == body or "".join(own) == "".join(body)


def key_body(name: str) -> tuple[str, ...]:
    """Words of a column without the last, where that only says it is a key: ``customer`` of ``customer_id``.

    >>> key_body("CustomerID"), key_body("id"), key_body("year")
    (('customer',), (), ('year',))
    """
    found = stem(name)
    if found and found[-1] in KEY_WORDS:
        return found[:-1]
    if found and names_a_row(name) and found[-1].endswith("id") and len(found[-1]) > 4:
        return (*found[:-1], found[-1][:-2])
    return found


def _name_score(bench: Bench, profile: ColumnProfile) -> int:
    own = is_own_key(bench.tables[profile.table].name, profile.name)
    if names_something(profile.name) or names_a_row(profile.name):
        return _OWN if own else 3 if names_a_row(profile.name) else 2
    return 0


def _may_be_key(profile: ColumnProfile) -> bool:
    if profile.column.type is SemanticType.TIMESTAMP:
        return False
    simple = profile.is_text or profile.stored.endswith("INT") or profile.stored.startswith(("INTEGER", "DECIMAL"))
    return simple and not profile.is_float and profile.urls < 0.5 and profile.num_words <= 3


def _more_than_chance(bench: Bench, profile: ColumnProfile) -> bool:
    """False for what looks like a foreign key that, in a few rows, happens not to repeat."""
    if is_own_key(bench.tables[profile.table].name, profile.name):
        return True
    others = [
        other.distinct
        for columns in bench.columns
        for other in columns
        if other.table != profile.table and other.name == profile.name
    ]
    if not others:
        return True
    span = 0 if profile.is_text else int(profile.high) - int(profile.low) + 1
    return profile.rows * profile.rows / 2.0 / max(*others, span, 1) >= _SURPRISE


def _is_day(profile: ColumnProfile) -> bool:
    text_day = profile.is_text and profile.column.type is SemanticType.TIMESTAMP and profile.high <= 11
    return profile.stored == "DATE" or text_day


def _leads(profile: ColumnProfile) -> bool:
    """The first column, with values like a code or a year, not a measure that happens to differ in a few rows."""
    return profile.index == 0 and profile.num_words <= 2 and profile.rows >= 3


def _composite(bench: Bench, table: int) -> tuple[tuple[str, ...], str]:
    """The shortest run of leading columns that no two rows share, where that is more than chance."""
    profiles = bench.columns[table]
    leading = []
    for profile in profiles[:_MAX_COLUMNS]:
        dated = profile.index == 0 and _is_day(profile)
        if profile.filled < profile.rows or not (dated or _may_be_key(profile)):
            break
        leading.append(profile)
    rows = profiles[0].rows
    for size in range(2, len(leading) + 1):
        if _num_alike(bench, leading[:size]):
            continue
        chosen = _smallest(bench, leading[:size])
        expected = rows * rows / 2.0
        for profile in chosen:
            expected /= profile.distinct
        if expected >= _SURPRISE:
            names = tuple(profile.name for profile in chosen)
            said = f"no two of {rows:,} rows share them, though {expected:,.0f} pairs would by chance"
            return names, said + _partly(bench, table)
        break
    for size in range(len(leading), 1, -1):
        alike = _num_alike(bench, leading[:size])
        others = _tables_with(bench, leading[:size]) if alike <= (1 - _NEARLY) * rows and rows >= 3 else []
        if others:
            said = f"{alike:,} of {rows:,} rows share them" if alike else f"no two of {rows:,} rows share them"
            return tuple(p.name for p in leading[:size]), f"{said}, and {' and '.join(others)} have them too"
    return (), "no key: no column or few leading columns surely tell all rows apart"


def _smallest(bench: Bench, columns: list[ColumnProfile]) -> list[ColumnProfile]:
    """The columns without those not needed; the last is, as without it some rows agreed."""
    for size in range(2, len(columns)):
        for chosen in combinations(columns, size):
            if columns[-1] in chosen and not _num_alike(bench, list(chosen)):
                return list(chosen)
    return columns


def _num_alike(bench: Bench, columns: list[ColumnProfile]) -> int:
    """Rows that are not the first of their values."""
    names = ", ".join(profile.sql for profile in columns)
    counts = f"SELECT count(*) AS n FROM t{columns[0].table} GROUP BY {names}"
    return int(bench.one(f"SELECT coalesce(sum(n - 1), 0) FROM ({counts})")[0])


def _tables_with(bench: Bench, columns: list[ColumnProfile]) -> list[str]:
    """Tables with columns of the same names whose values are nearly all here, or that hold nearly all of these."""
    wanted = [profile.name.lower() for profile in columns]
    found = []
    for number, other in enumerate(bench.tables):
        by_name = {profile.name.lower(): profile for profile in bench.columns[number]}
        if number == columns[0].table or not all(name in by_name for name in wanted):
            continue
        theirs = [by_name[name] for name in wanted]
        if any(a.is_text != b.is_text for a, b in zip(columns, theirs, strict=True)):
            continue
        for source, target in ((theirs, columns), (columns, theirs)):
            values, hits, *_ = bench.found(tuple(source), tuple(target))
            if values and hits >= _REFERRED * values:
                found.append(other.name)
                break
    return found


def _partly(bench: Bench, table: int) -> str:
    return " looked at" if bench.tables[table].name in bench.truncated else ""
