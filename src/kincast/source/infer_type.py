"""Inferring types: what a column means, from its stored type, its name and its values."""

from __future__ import annotations

from kincast.schema import SemanticType
from kincast.source.base import literal
from kincast.source.cast import EPOCHS, in_calendar, moment_sql
from kincast.source.profile import Bench, ColumnProfile
from kincast.source.words import names_a_row, names_something, words

TIME_WORDS = frozenset(words("date time timestamp datetime ts at on when day created updated epoch dt moment since"))
_CODE_WORDS = frozenset(
    words("type kind status state class category level grade code group flag mode channel scenario zip tier rank_group")
)
_DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d", "%d %b %Y",
         "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d/%m/%y", "%m/%d/%y")  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_OTHER = ("%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z", "%Y%m%d%H%M%S")
_MIN_SHARE = 0.99
_EPOCH_RANGE_S = (157_766_400, 4_102_444_800)  # 1975 to 2100
_MAX_CATEGORIES = 1_000
_SEPARATORS = ("|", ";", ",")


def infer_time_format(bench: Bench, profile: ColumnProfile) -> tuple[ColumnProfile, str | None]:
    """Recognise text and numbers that hold times.

    Returns:
        The profile, typed as a timestamp with its format where it is one, and the sentence that says why.
    """
    if profile.column.type is SemanticType.TIMESTAMP or profile.filled == 0:
        return profile, None
    named = bool(TIME_WORDS & set(words(profile.name)))
    if profile.is_text:
        return _text_time(bench, profile)
    if (profile.whole or profile.is_float) and named and profile.low is not None and not isinstance(profile.low, bool):
        low, high = float(profile.low), float(profile.high)
        for form, unit in EPOCHS.items():
            scale = 1_000_000 / unit
            if _EPOCH_RANGE_S[0] * scale <= low and high <= _EPOCH_RANGE_S[1] * scale:
                unit_name = {"epoch_s": "seconds", "epoch_ms": "milliseconds", "epoch_us": "microseconds"}[form]
                return profile.with_type(SemanticType.TIMESTAMP, form), f"{unit_name} since 1970"
        if profile.whole and low >= 19000101 and high <= 21001231 and _share(bench, profile, "%Y%m%d") >= _MIN_SHARE:
            return profile.with_type(SemanticType.TIMESTAMP, "%Y%m%d"), "days written as year, month, day"
    return profile, None


def infer_type(bench: Bench, profile: ColumnProfile, *, key: bool, link: str | None) -> tuple[ColumnProfile, str]:
    """Decide what a column means.

    Args:
        bench: the tables.
        profile: the column; a timestamp already if it is one.
        key: whether it is the whole key of its table.
        link: table that it alone points to; None without one.
    """
    missing = _missing(profile)
    if profile.column.type is SemanticType.TIMESTAMP and not key and link is None:
        return profile, _time_range(bench, profile) + missing
    if key or link is not None:
        said = f"names a row of {link}" if link else f"unique: {profile.distinct:,} of {profile.rows:,}"
        return profile.with_type(SemanticType.ID), said + missing
    if profile.filled == 0 and profile.rows:
        return profile.with_type(SemanticType.IGNORED), "no values"
    kind, said, separator = _meaning(bench, profile)
    return profile.with_type(kind, None, separator), said + missing


def _meaning(bench: Bench, profile: ColumnProfile) -> tuple[SemanticType, str, str | None]:
    declared, count = profile.column.type, _count(profile)
    if declared is SemanticType.BOOLEAN or (
        profile.whole and profile.rows and profile.distinct <= 2 and profile.low in (0, 1) and profile.high == 1
    ):
        return SemanticType.BOOLEAN, "true or false" if declared is SemanticType.BOOLEAN else "only 0 and 1", None
    if declared is SemanticType.VECTOR:
        return *_vector_meaning(bench, profile), None
    if declared in (SemanticType.MULTICATEGORICAL, SemanticType.CATEGORICAL):
        return declared, f"stored as {profile.stored}", None
    if declared is SemanticType.ID:
        return declared, f"stored as {profile.stored}", None
    if declared is SemanticType.IGNORED:
        return declared, f"{profile.stored} says nothing to a model", None
    named = names_a_row(profile.name) and (profile.is_text or profile.whole)
    if named:
        alike = [p for columns in bench.columns for p in columns if p.name == profile.name]
        few = all(p.distinct <= 50 and p.distinct * 10 < p.filled for p in alike)
        return (SemanticType.CATEGORICAL if few else SemanticType.ID), f"named like a key, {count}", None
    if profile.is_text:
        return _text_meaning(bench, profile)
    if profile.whole and _CODE_WORDS & set(words(profile.name)) and profile.distinct <= 100:
        return SemanticType.CATEGORICAL, f"named like a code, {count}", None
    span = f"{_short(profile.low)} to {_short(profile.high)}" if profile.low is not None else "no values"
    return SemanticType.NUMERICAL, span, None


def _vector_meaning(bench: Bench, profile: ColumnProfile) -> tuple[SemanticType, str]:
    """Lists of numbers that are all as long are vectors; the others are read by their summary."""
    low, high = bench.one(
        f"SELECT min(len({profile.sql})), max(len({profile.sql})) FROM t{profile.table} WHERE {profile.sql} IS NOT NULL"
    )
    if low == high:
        return SemanticType.VECTOR, f"always {high:,} numbers" if high is not None else f"stored as {profile.stored}"
    return SemanticType.SEQUENCE, f"{low:,} to {high:,} numbers"


def _text_meaning(bench: Bench, profile: ColumnProfile) -> tuple[SemanticType, str, str | None]:
    count = _count(profile)
    last = words(profile.name)[-1:]
    if profile.urls >= 0.5 or last in (("url",), ("uri",), ("link",), ("href",)):
        return SemanticType.IGNORED, "addresses", None
    separator = _separator(bench, profile) if profile.filled else None
    if separator is not None:
        return SemanticType.MULTICATEGORICAL, separator[1], separator[0]
    if profile.is_unique and profile.rows >= 20 and profile.num_words == 1 and names_something(profile.name):
        return SemanticType.ID, f"named like a code, all {profile.rows:,} different", None
    repeated = profile.distinct <= _MAX_CATEGORIES and profile.distinct * 2 <= profile.filled
    if repeated and profile.num_words <= 5:
        return SemanticType.CATEGORICAL, count, None
    length = f" of {profile.num_words:.1f} words" if profile.num_words >= 1.05 else ""
    return SemanticType.TEXT, f"{count}{length}", None


def _separator(bench: Bench, profile: ColumnProfile) -> tuple[str, str] | None:
    """The sign between the items of a text, if it is a list of items that come again and again."""
    for sign in _SEPARATORS:
        column, table = profile.sql, profile.table
        with_sign, num_items, distinct, item_words = bench.one(
            f"SELECT avg(CAST(contains(c, {literal(sign)}) AS INT)), sum(len(string_split(c, {literal(sign)}))), "
            f"(SELECT count(DISTINCT trim(i)) FROM (SELECT unnest(string_split({column}, {literal(sign)})) AS i "
            f"FROM (SELECT {column} FROM t{table} WHERE {column} IS NOT NULL LIMIT 100000))), "
            f"avg(len(string_split(c, ' ')) / len(string_split(c, {literal(sign)}))) "
            f"FROM (SELECT {column} AS c FROM t{table} WHERE {column} IS NOT NULL LIMIT 100000)"
        )
        often = with_sign >= (0.5 if sign == "," else 0.2)
        again = distinct <= _MAX_CATEGORIES and distinct * 5 <= num_items and distinct < profile.distinct
        if often and again and item_words <= 3:
            return (
                sign,
                f"{distinct:,} different items between '{sign}', {num_items / max(profile.filled, 1):.1f} a row",
            )
    return None


def _text_time(bench: Bench, profile: ColumnProfile) -> tuple[ColumnProfile, str | None]:
    if not 6 <= profile.low <= profile.high <= 40 or not bench.rows(
        f"SELECT 1 FROM t{profile.table} WHERE regexp_matches({profile.sql}, '\\d{{2}}') LIMIT 1"
    ):
        return profile, None
    column = profile.sql
    sample = f"(SELECT {column} FROM t{profile.table} WHERE {column} IS NOT NULL LIMIT 200)"
    iso = in_calendar(moment_sql(column))
    starts = f"regexp_matches({column}, '^\\d{{4}}-\\d{{1,2}}-\\d') AND {iso} IS NOT NULL"
    if bench.one(f"SELECT avg(CAST(({starts}) AS INT)) FROM {sample}")[0] >= _MIN_SHARE:
        share = bench.one(f"SELECT avg(CAST(({starts}) AS INT)) FROM t{profile.table} WHERE {column} IS NOT NULL")[0]
        if share >= _MIN_SHARE:
            return profile.with_type(SemanticType.TIMESTAMP), f"text, {share:.2%} of it ISO dates"
    forms = [day + clock for day in _DAYS for clock in _CLOCKS] + list(_OTHER)
    tests = ", ".join(f"count(try_strptime({column}, {literal(form)})) / count(*)" for form in forms)
    shares = bench.one(f"SELECT {tests} FROM {sample}")
    likely = [form for form, share in zip(forms, shares, strict=True) if share >= _MIN_SHARE]
    sure = {form: share for form in likely if (share := _share(bench, profile, form)) >= _MIN_SHARE}
    if not sure:
        return profile, None
    form = max(sure, key=lambda form: sure[form])
    said = f"text, {sure[form]:.2%} of it dates like {form}"
    others = [other for other in sure if other != form]
    return profile.with_type(SemanticType.TIMESTAMP, form), said + (f"; could be {others[0]} too" if others else "")


def _share(bench: Bench, profile: ColumnProfile, form: str) -> float:
    text = profile.sql if profile.is_text else f"CAST({profile.sql} AS VARCHAR)"
    parsed, filled = bench.one(
        f"SELECT count(try_strptime({text}, {literal(form)})), count({text}) FROM t{profile.table}"
    )
    return float(parsed) / filled if filled else 0.0


def _time_range(bench: Bench, profile: ColumnProfile) -> str:
    moment = bench.time_sql(profile)
    low, high = bench.one(f"SELECT CAST(min({moment}) AS DATE), CAST(max({moment}) AS DATE) FROM t{profile.table}")
    return f"{low} to {high}" if low is not None else "no values"


def _count(profile: ColumnProfile) -> str:
    return f"{profile.distinct:,} different values" if profile.distinct != 1 else "always the same value"


def _missing(profile: ColumnProfile) -> str:
    if profile.filled == profile.rows or profile.filled == 0:
        return ""
    share = 1 - profile.filled / profile.rows
    return f"; {share:.1%} missing" if share >= 0.001 else f"; {profile.rows - profile.filled} missing"


def _short(value: object) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
