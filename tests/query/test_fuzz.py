"""Any text gives a task or a QueryError, and quickly; no text of a query is ever read as SQL."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp
from tests.query.cases import read_cases

from kincast.clock import parse_instant
from kincast.errors import QueryError
from kincast.query.compile import compile_task
from kincast.query.expression import MAX_OPERATIONS
from kincast.query.parser import parse
from kincast.query.print import print_query
from kincast.query.statement import label_statement, static_statement
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()
ANCHORS = [parse_instant("2024-06-01")]
CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus"
SECONDS = 1.5
_SPLICES = [*"(),.-+*/'\"=[];09\0\ud800é", "NOT", "AND", "OR", "WHERE", "WITHIN", "VIA", "IN", "--", "/*", "*/", "-INF"]
_SPLICES += [" ", "COUNT(", "1e999", "AS"]


def mutated(draw: random.Random, texts: list[str]) -> str:
    """A text with a few pieces cut out, doubled, or taken from another."""
    text = draw.choice(texts)
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(text) + 1)
        end = min(len(text), start + draw.randint(0, 12))
        other = draw.choice(texts)
        cut = draw.randrange(len(other))
        piece = draw.choice(["", text[start:end] * 2, draw.choice(_SPLICES), other[cut : cut + draw.randint(1, 20)]])
        text = text[:start] + piece + text[end:]
    return text


def test_mutations_are_read_or_refused_within_a_second() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(CORPUS.iterdir())]
    draw = random.Random(2)
    begin = time.perf_counter()
    accepted = refused = 0
    while time.perf_counter() - begin < SECONDS:
        text = mutated(draw, texts)
        start = time.process_time()
        try:
            query = parse(text)
            assert parse(print_query(query)) == query
            compile_task(text, SCHEMA)
            accepted += 1
        except QueryError as error:
            refused += len(str(error)) > 0
        assert time.process_time() - start < 1, text
    assert accepted > 10
    assert refused > 10


@pytest.mark.parametrize(
    "text",
    [
        "PREDICT " + "(" * 19_000,
        "PREDICT " + "NOT " * 4_000,
        "PREDICT " + "-" * 19_000,
        "PREDICT " + "- " * 9_000,
        "PREDICT " + "a." * 9_000,
        "PREDICT " + "1+" * 9_000,
        "PREDICT " + "''" * 9_000 + "'",
        "PREDICT " + "/*" * 9_000,
        "PREDICT a.b IN (" + "1," * 9_000,
        "PREDICT " + "a.b=1 OR " * 2_000,
        "PREDICT a.b, " * 1_500,
        "PREDICT " + "COUNT(a.* WHERE " * 1_000,
        "PREDICT " + "9" * 19_000,
        "PREDICT " + "x" * 19_000,
    ],
    ids=lambda text: text[8:24],
)
def test_long_texts_are_refused_within_a_second(text: str) -> None:
    start = time.process_time()  # which does not depend on what else the machine does
    with pytest.raises(QueryError):
        compile_task(text, SCHEMA)
    assert time.process_time() - start < 1


def test_the_deepest_query_goes_all_the_way() -> None:
    count = "COUNT(orders.*, 0, 30, days)"
    deep = count + f" + {count}" * (MAX_OPERATIONS - 1) + " + 1 > 0"
    for _ in range(28):
        deep = f"NOT ({deep})"
    wide = " OR ".join([f"{count} = {i}" for i in range(400)])
    for target in (deep, wide):
        task = compile_task(f"PREDICT {target} FOR EACH customers", SCHEMA)
        assert parse(print_query(task.query)).target is not None
        assert label_statement(task, ANCHORS).startswith("WITH")


_TEXTS = [
    "'; DROP TABLE customers; --",
    "' OR 1=1 --",
    '" OR ""="',
    "\\'; --",
    "/* */",
    "$1 ? :x %s {0}",
    "a'b''c'''",
    "\n;\t",
]
_POSITIONS = {
    "a filter of facts": ("COUNT(orders.* WHERE {c}, 0, 9, days) FOR EACH customers", "orders.status = {t}"),
    "a list": ("COUNT(orders.* WHERE {c}, 0, 9, days) FOR EACH customers", "orders.status IN ('a', {t})"),
    "a target": ("{c} FOR EACH customers", "LAST(orders.status, 0, 9, days) = {t}"),
    "a pattern": ("COUNT(orders.*, 0, 9) FOR EACH customers WHERE {c}", "customers.bio LIKE {t}"),
    "a start": ("COUNT(orders.*, 0, 9) FOR EACH customers WHERE {c}", "customers.bio STARTS WITH {t}"),
    "an end": ("COUNT(orders.*, 0, 9) FOR EACH customers WHERE {c}", "customers.bio ENDS WITH {t}"),
    "a part": ("COUNT(orders.*, 0, 9) FOR EACH customers WHERE {c}", "customers.bio NOT CONTAINS {t}"),
    "an item": ("COUNT(orders.*, 0, 9) FOR EACH customers WHERE {c}", "customers.interests CONTAINS {t}"),
    "a bound": ("COUNT(orders.*, 0, 9) FOR EACH customers WHERE {c}", "customers.bio BETWEEN 'a' AND {t}"),
    "an item of a target": ("{c} FOR EACH customers", "LIST_DISTINCT(orders.channel, 0, 9) CONTAINS {t}"),
    "an assumption": ("COUNT(orders.*, 0, 9) FOR EACH customers ASSUMING {c}", "LAST(orders.status, 0, 9) != {t}"),
    "a column": ("{c} FOR EACH customers", "customers.segment = {t}"),
}
"""Where a text can stand: the query, and its condition."""

NUM_INJECTIONS = 5_000
BATCH = 100
SHARE = int(os.environ.get("INJECTION_SHARE", "5"))
"""Each place gets every fifth text; INJECTION_SHARE=1 gives all to all, in a minute and a half."""


def injections() -> list[str]:
    """Texts that would break out of a quoted constant if one were put together by hand."""
    draw = random.Random(3)
    pieces = [
        *"'\"\\;-/*%_$?:()\n",
        "--",
        "/*",
        "*/",
        "''",
        "OR 1=1",
        "DROP TABLE customers",
        "UNION SELECT",
        "E'",
        "$$",
        "é",
        " ",
    ]
    made = [
        "".join(draw.choice(pieces) for _ in range(draw.randint(1, 8))) for _ in range(NUM_INJECTIONS - len(_TEXTS))
    ]
    return [*_TEXTS, *made]


@pytest.mark.parametrize("position", _POSITIONS)
def test_texts_stay_constants(position: str) -> None:
    """The tokens of the statement are the same whatever the texts, and every text is one of its literals."""
    texts = injections()[list(_POSITIONS).index(position) % SHARE :: SHARE]
    harmless = tokens(sql_of(position, ["x"] * BATCH))[0]
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        kinds, literals = tokens(sql_of(position, batch))
        assert kinds == harmless
        assert set(batch) <= set(literals)


def test_a_parser_reads_one_statement() -> None:
    for position in _POSITIONS:
        statements = sqlglot.parse(sql_of(position, injections()[:BATCH]), read="duckdb")
        assert len(statements) == 1
        assert set(injections()[:BATCH]) <= {literal.this for literal in statements[0].find_all(exp.Literal)}


def test_keys_stand_in_no_statement() -> None:
    keys = ", ".join("'" + text.replace("'", "''") + "'" for text in injections()[:BATCH])
    task = compile_task(f"PREDICT COUNT(orders.*, 0, 9) FOR customers.customer_id IN ({keys})", SCHEMA)
    every = compile_task("PREDICT COUNT(orders.*, 0, 9) FOR EACH customers", SCHEMA)
    assert label_statement(task, ANCHORS) == label_statement(every, ANCHORS)


@pytest.mark.parametrize(
    "position",
    [
        "COUNT({t}.*, 0, 9) FOR EACH customers",
        "SUM(orders.{t}, 0, 9) FOR EACH customers",
        "COUNT(orders.*, 0, 9) FOR EACH {t}",
        "COUNT(orders.*, 0, 9) VIA orders.{t} FOR EACH customers",
        "{t} FOR EACH customers",
    ],
)
def test_names_that_are_not_in_the_schema_go_nowhere(position: str) -> None:
    for text in injections()[::50]:
        quoted = '"' + text.replace('"', '""') + '"'
        with pytest.raises(QueryError):
            compile_task("PREDICT " + position.replace("{t}", quoted), SCHEMA)


def sql_of(position: str, texts: list[str]) -> str:
    """Label SQL of a query with texts in one of its places."""
    query, condition = _POSITIONS[position]
    quoted = ("'" + text.replace("'", "''") + "'" for text in texts)
    joined = " OR ".join(condition.replace("{t}", text) for text in quoted)
    task = compile_task("PREDICT " + query.replace("{c}", joined), SCHEMA)
    return static_statement(task, None) if task.is_static else label_statement(task, ANCHORS)


def tokens(sql: str) -> tuple[list[str], list[str]]:
    """The kinds of the tokens of a statement, and its text literals."""
    found = sqlglot.tokenize(sql, read="duckdb")
    return [token.token_type.name for token in found], [t.text for t in found if t.token_type.name == "STRING"]


def test_the_corpus_holds_every_accepted_case() -> None:
    texts = {path.read_text(encoding="utf-8") for path in CORPUS.iterdir()}
    for name in ("accepted.txt", "examples.txt", "beyond.txt"):
        assert {case.query for case in read_cases(name)} <= texts
    with contextlib.suppress(QueryError):
        for text in texts:
            parse(text)
