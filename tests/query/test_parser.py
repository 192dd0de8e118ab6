"""Reading: positions, limits, and errors of our own whatever the text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.errors import QueryError
from kincast.query.lexer import MAX_LENGTH, tokenize
from kincast.query.parser import parse
from kincast.query.tree import Aggregate, And, Compare, Or

PLAIN = "PREDICT COUNT(o.*, 0, 30, days) > 0 FOR EACH c.id"
_WORDS = (
    "PREDICT COUNT( SUM( o.* o.x * ( ) , . 0 30 -INF 1.5 days 'a' \"b\" = <> NOT AND OR IN IS NULL BETWEEN LIKE FOR "
    "EACH WHERE ASSUMING VIA WITHIN RANK TOP FORECAST c.id ; -- /* */ 2024-01-01 STARTS WITH ' \" é \0"
)
_pieces = st.sampled_from(_WORDS.split(" "))


def test_nodes_know_their_place() -> None:
    query = parse(f"{PLAIN} WHERE c.age > 5")
    assert isinstance(query.target, Compare)
    assert isinstance(query.target.left, Aggregate)
    assert query.target.left.window is not None
    places = [query.target.at, query.target.left.at, query.target.left.window.at, query.entity.ref.at]
    assert [query_text(place.start, place.end) for place in places] == [
        "COUNT(o.*, 0, 30, days) > 0",
        "COUNT(o.*, 0, 30, days)",
        "0, 30, days",
        "c.id",
    ]


def query_text(start: int, end: int) -> str:
    return PLAIN[start:end]


def test_and_binds_closer_than_or() -> None:
    target = parse("PREDICT a.x = 1 OR a.x = 2 AND a.x = 3 FOR EACH a.id").target
    assert isinstance(target, Or)
    assert isinstance(target.items[1], And)


def test_quotes_are_text_or_a_name_by_where_they_stand() -> None:
    target = parse('PREDICT "a"."x" = "a" FOR EACH a.id').target
    assert target == parse("PREDICT a.x = 'a' FOR EACH a.id").target


@pytest.mark.parametrize("opening", ["(", "NOT ", "COUNT(a.* WHERE "])
def test_depth_is_limited(opening: str) -> None:
    with pytest.raises(QueryError, match="nested more than"):
        parse(f"PREDICT {opening * 500}a.x = 1")


def test_length_is_limited() -> None:
    with pytest.raises(QueryError, match="longer than"):
        tokenize(" " * (MAX_LENGTH + 1))


def test_error_points_at_the_line() -> None:
    with pytest.raises(QueryError) as caught:
        parse("PREDICT COUNT(o.*, 0, 30, days) > 0\n  FOR EACH c.id\n  WHERE c.age >> 5")
    assert (caught.value.line, caught.value.column) == (3, 16)


@settings(max_examples=60, deadline=None)
@given(st.lists(_pieces, max_size=25).map(" ".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for query in (text, f"PREDICT {text}", f"{PLAIN} WHERE {text}"):
        with contextlib.suppress(QueryError):
            parse(query)
