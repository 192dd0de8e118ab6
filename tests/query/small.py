"""Four small tables for generated tests: owners, their facts, the facts' children, and timeless sorts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st
from tests.query.reference import Rows

from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

START = datetime(2024, 1, 30)
TYPES = {"BIGINT": pa.int64(), "VARCHAR": pa.string(), "BOOLEAN": pa.bool_(), "TIMESTAMP": pa.timestamp("us")}
COLUMNS = {
    "owner": "id=BIGINT=id born=TIMESTAMP=timestamp gone=TIMESTAMP=timestamp colour=VARCHAR=categorical "
    "size=BIGINT=numerical flag=BOOLEAN=boolean",
    "fact": "id=BIGINT=id owner_id=BIGINT=id sort_id=BIGINT=id at=TIMESTAMP=timestamp amount=BIGINT=numerical "
    "word=VARCHAR=categorical ok=BOOLEAN=boolean",
    "child": "id=BIGINT=id fact_id=BIGINT=id at=TIMESTAMP=timestamp level=BIGINT=numerical",
    "sort": "id=BIGINT=id grade=VARCHAR=categorical rank=BIGINT=numerical",
}
TIMES = {"owner": "born", "fact": "at", "child": "at"}
WORDS = ("a", "ab", "b%", "it's")


def _columns(name: str) -> tuple[Column, ...]:
    triples = [text.split("=") for text in COLUMNS[name].split()]
    return tuple(Column(column, SemanticType(meaning), stored) for column, stored, meaning in triples)


SCHEMA = Schema(
    tuple(
        Table(
            name,
            _columns(name),
            ("id",),
            RowTime(column=TIMES[name]) if name in TIMES else None,
            "gone" if name == "owner" else None,
        )
        for name in COLUMNS
    ),
    (
        Link("fact", ("owner_id",), "owner", ("id",)),
        Link("fact", ("sort_id",), "sort", ("id",)),
        Link("child", ("fact_id",), "fact", ("id",)),
    ),
)


def connect(rows: Rows) -> duckdb.DuckDBPyConnection:
    """The rows as DuckDB tables with ``_row``, ``_time`` and ``_end``, as ``Tables.connect`` gives them."""
    connection = duckdb.connect()
    for table in SCHEMA:
        fields = [(c.name, TYPES[c.stored]) for c in table.columns]
        fields += [("_row", pa.int64()), ("_time", pa.timestamp("us")), ("_end", pa.timestamp("us"))]
        arrays = [pa.array([row[name] for row in rows[table.name]], kind) for name, kind in fields]
        connection.register(table.name, pa.table(arrays, [name for name, _ in fields]))
    return connection


def in_order(table: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in row order: by time, then by key."""
    time, end = TIMES.get(table), "gone" if table == "owner" else None
    for key, row in enumerate(rows):
        row["id"] = key
        row["_time"] = row[time] if time else None
        row["_end"] = row[end] if end else None
    ordered = sorted(rows, key=lambda row: (row["_time"] or START, row["id"]))
    return [{**row, "_row": i} for i, row in enumerate(ordered)]


@st.composite
def databases(draw: st.DrawFn) -> Rows:
    """Rows of all four tables, drawn by one seed so that they stay many; foreign keys may be null or lead nowhere.

    Times fall on few days, so that facts lie on the edges of windows and together.
    """
    pick = random.Random(draw(st.integers(0, 2**32)))

    def day(last: int) -> datetime:
        return START + timedelta(days=pick.randint(0, last))

    owners = [
        {
            "born": day(3),
            "gone": pick.choice([None, None, None, START + timedelta(days=4), START + timedelta(days=6)]),
            "colour": pick.choice([None, *WORDS]),
            "size": pick.choice([None, -3, 0, 1, 3]),
            "flag": pick.choice([None, True, False]),
        }
        for _ in range(6)
    ]
    facts = [
        {
            "owner_id": pick.choice([None, 0, 1, 1, 2, 3, 4, 9]),
            "sort_id": pick.choice([None, 0, 1, 2, 9]),
            "at": day(14),
            "amount": pick.choice([None, -3, 0, 1, 2, 5]),
            "word": pick.choice([None, *WORDS]),
            "ok": pick.choice([None, True, False]),
        }
        for _ in range(40)
    ]
    children = [
        {"fact_id": pick.choice([None, *range(42)]), "at": day(14), "level": pick.choice([None, 0, 1, 3])}
        for _ in range(30)
    ]
    sorts = [{"grade": pick.choice([None, *WORDS]), "rank": pick.choice([None, 0, 1, 3])} for _ in range(3)]
    tables = {"owner": owners, "fact": facts, "child": children, "sort": sorts}
    return {name: in_order(name, rows) for name, rows in tables.items()}


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


_number_test = st.one_of(
    st.tuples(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(-1, 4)).map(lambda t: f"{t[0]} {t[1]}"),
    st.sampled_from(["> 0.5", "IN (1, 2)", "NOT IN (0)", "BETWEEN 0 AND 2", "NOT BETWEEN 1 AND 2"]),
    st.sampled_from(["IS NULL", "IS NOT NULL"]),
)
_word_test = st.one_of(
    st.tuples(
        st.sampled_from(["=", "!=", "<", "CONTAINS", "NOT CONTAINS", "STARTS WITH", "ENDS WITH"]),
        st.sampled_from(WORDS),
    ).map(lambda t: f"{t[0]} {_text(t[1])}"),
    st.sampled_from(["LIKE 'a%'", "NOT LIKE '_b'", "IN ('a', 'it''s')", "NOT IN ('ab')", "IS NULL", "IS NOT NULL"]),
)
_flag_test = st.sampled_from(["= true", "!= true", "= 0", "IS NULL", "IS NOT NULL"])


def _tested(names: Sequence[str], tests: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(names), tests).map(" ".join)


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pair = st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        return pair | inner.map(lambda text: f"NOT {text}")

    return st.recursive(parts, more, max_leaves=3)


def _window(low: int, high: int, endless: bool) -> st.SearchStrategy[str]:
    days = st.tuples(st.integers(low, high), st.integers(low, high)).filter(lambda t: t[0] < t[1])
    spans = days.map(lambda t: f"{t[0]}, {t[1]}, days")
    if endless:
        spans |= st.integers(low, high).map(lambda end: f"-INF, {end}")
    return spans | st.just("0, 1, months" if high > 0 else "-1, 0, months")


def _aggregate(low: int, high: int, endless: bool = False) -> st.SearchStrategy[tuple[str, str]]:
    """(what its values are, its text), facts filtered or not."""
    child = st.tuples(
        st.sampled_from(["COUNT(child.*", "MAX(child.level", "SUM(child.level"]), _window(low, high, endless)
    )
    nested = st.tuples(child.map(lambda t: f"{t[0]}, {t[1]})"), _number_test).map(" ".join)
    own = _tested(["fact.amount", "sort.rank"], _number_test) | _tested(
        ["fact.word", "sort.grade", "owner.colour"], _word_test
    )
    where = (
        st.just("")
        | st.just("")
        | _joined(own | _tested(["fact.ok"], _flag_test) | nested).map(lambda text: f" WHERE {text}")
    )
    heads = st.sampled_from(
        [
            ("number", f"{f}(fact.amount")
            for f in ("COUNT", "SUM", "AVG", "MIN", "MAX", "FIRST", "LAST", "COUNT_DISTINCT", "MEDIAN", "STDDEV")
        ]
        + [("word", f"{f}(fact.word") for f in ("MIN", "MAX", "FIRST", "LAST")]
        + [("flag", f"{f}(fact.ok") for f in ("MIN", "MAX", "FIRST", "LAST")]
        + [("number", "COUNT(fact.*"), ("number", "COUNT_DISTINCT(fact.word"), ("list", "LIST_DISTINCT(fact.word")]
    )
    window = _window(low, high, endless)
    facts = st.tuples(heads, where, window).map(lambda t: (t[0][0], f"{t[0][1]}{t[1]}, {t[2]})"))
    levels = st.sampled_from(["0", "0.1", "0.5", "1"])
    quantile = st.tuples(where, levels, window).map(
        lambda t: ("number", f"QUANTILE(fact.amount{t[0]}, {t[1]}, {t[2]})")
    )
    exists = st.tuples(where, window).map(lambda t: ("flag", f"EXISTS(fact.*{t[0]}, {t[1]})"))
    rows = exists
    if low >= 0:
        rows |= st.tuples(where, window).map(lambda t: ("number", f"TIME_TO(fact.*{t[0]}, {t[1]})"))
    return facts | quantile | rows | child.map(lambda t: ("number", f"{t[0]}, {t[1]})"))


@st.composite
def _number(draw: st.DrawFn, low: int, high: int, endless: bool = False) -> str:
    """The text of an aggregate that is a number."""
    return draw(_aggregate(low, high, endless).filter(lambda pair: pair[0] == "number"))[1]


@st.composite
def _arithmetic(draw: st.DrawFn, low: int, high: int, endless: bool = False) -> str:
    """One to three aggregates and constants, put together."""
    single = _number(low, high, endless)
    constants = st.sampled_from(["1", "-2", "0.5", "30"])
    signs = st.sampled_from(["+", "-", "*", "/"])
    shape = draw(st.integers(0, 3))
    if shape == 0:
        return f"-{draw(single)}"
    pair = f"({draw(single)} {draw(signs)} {draw(single if shape == 1 else constants)})"
    return pair if shape < 3 else f"{draw(constants)} {draw(signs)} {pair}"


_TESTS = {
    "number": _number_test,
    "word": _word_test,
    "flag": _flag_test,
    "list": st.sampled_from(["CONTAINS 'a'", "NOT CONTAINS 'ab'"]),
}


@st.composite
def _test(draw: st.DrawFn, low: int, high: int, endless: bool) -> str:
    """One comparison of an aggregate, with a constant or with another."""
    shape = draw(st.integers(0, 7))
    sign = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
    if shape == 0:
        return f"EXISTS(fact.*, {draw(_window(low, high, endless))})"
    if shape == 1:
        windows = [draw(_window(low, high, endless)) for _ in range(2)]
        return f"LAST(fact.word, {windows[0]}) {sign} FIRST(fact.word, {windows[1]})"
    if shape == 2:
        return f"{draw(_arithmetic(low, high, endless))} {sign} {draw(_number(low, high, endless))}"
    if shape == 3:
        return f"{draw(_number(low, high, endless))} {sign} {draw(_arithmetic(low, high, endless))}"
    family, text = draw(_aggregate(low, high, endless))
    test = draw(_TESTS[family])
    if test.endswith("NULL") and text.startswith(("COUNT", "SUM", "EXISTS", "TIME_TO")):
        test = "= 0"  # these always have a value
    return f"{text} {test}"


def _condition(low: int, high: int, endless: bool = False) -> st.SearchStrategy[str]:
    return _joined(_test(low, high, endless))


@st.composite
def _against_the_past(draw: st.DrawFn) -> str:
    """A comparison of the future with the past, or their difference or ratio."""
    past = _number(-8, 0, True)
    return f"{draw(_number(0, 8))} {draw(st.sampled_from(['>', '<=', '/', '-']))} {draw(past)}"


@st.composite
def queries(draw: st.DrawFn) -> str:
    """Queries over the four tables that the checker accepts."""
    own = (
        _tested(["owner.size"], _number_test)
        | _tested(["owner.colour"], _word_test)
        | _tested(["owner.flag"], _flag_test)
    )
    past = _joined(own | _condition(-8, 0, endless=True))
    if draw(st.integers(0, 5)) == 0:
        column = st.sampled_from(["owner.size", "owner.colour", "owner.flag"]) | _joined(own)
        where = f" WHERE {draw(_joined(own))}" if draw(st.booleans()) else ""
        return f"PREDICT {draw(column)} FOR EACH owner.id{where}"
    plain = _aggregate(0, 8).filter(lambda pair: pair[0] != "list").map(lambda pair: pair[1])
    target = draw(plain | _condition(0, 8) | _arithmetic(0, 8) | _against_the_past())
    filtered = draw(st.integers(0, 5))
    where = f" WHERE {draw(past)}" if filtered in (0, 1) else ""
    assuming = f" ASSUMING {draw(_condition(0, 8))}" if filtered in (1, 2) else ""
    return f"PREDICT {target} FOR EACH owner.id{where}{assuming}"


@st.composite
def list_queries(draw: st.DrawFn) -> str:
    """Queries of many values, as queries() has those of one: classes, links and forecasts in days."""
    where = draw(st.just("") | _joined(_tested(["fact.amount", "sort.rank"], _number_test)).map(" WHERE {}".format))
    start = draw(st.integers(0, 3))
    window = f"{start}, {start + draw(st.integers(1, 5))}, days"
    form = draw(st.sampled_from(["CLASSIFY", "RANK TOP 2", "FORECAST"]))
    if form == "FORECAST":
        function = draw(st.sampled_from(["COUNT", "SUM", "AVG", "MAX", "LAST", "COUNT_DISTINCT"]))
        column = "word" if function == "COUNT_DISTINCT" else "amount"
        target = f"{function}(fact.{column}{where}, {window}) FORECAST {draw(st.integers(1, 4))} TIMEFRAMES"
    else:
        target = f"LIST_DISTINCT(fact.{draw(st.sampled_from(['word', 'amount', 'sort_id']))}{where}, {window}) {form}"
    past = f" WHERE {draw(_condition(-8, 0, endless=True))}" if draw(st.booleans()) else ""
    assuming = f" ASSUMING {draw(_condition(0, 8))}" if draw(st.integers(0, 3)) == 0 else ""
    return f"PREDICT {target} FOR EACH owner.id{past}{assuming}"
