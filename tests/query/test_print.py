"""Canonical text: reading it back gives the same tree, whatever the tree."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kincast.query.parser import parse
from kincast.query.print import print_query
from kincast.query.tree import (
    Aggregate,
    And,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Entity,
    Function,
    Modifier,
    Not,
    Op,
    Or,
    Query,
    Window,
)

_names = st.sampled_from(["orders", "count", "WHERE", "a b", 'say "hi"', "größe", "3rd", "not", "x.y", "*", "true"])
_refs = st.lists(_names, min_size=1, max_size=3).map(lambda parts: ColumnRef(tuple(parts)))
_values = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6),
    st.sampled_from([Decimal("1E+2"), Decimal("5E-7"), Decimal("-0.0")]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.datetimes(min_value=datetime(1000, 1, 1)),
)
_constants = _values.map(Constant)
_units = st.sampled_from(["seconds", "minutes", "hours", "days", "weeks", "months", "years"])
_windows = st.builds(Window, st.none() | st.integers(-99, 99), st.integers(-99, 99), _units)
_single = st.sampled_from([Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE, Op.LIKE, Op.NOT_LIKE, Op.STARTS_WITH, Op.CONTAINS])


def _compares(lefts: st.SearchStrategy[ColumnRef | Aggregate]) -> st.SearchStrategy[Condition]:
    return st.one_of(
        st.builds(Compare, lefts, _single, st.tuples(_constants)),
        st.builds(Compare, lefts, st.sampled_from([Op.IS_NULL, Op.IS_NOT_NULL])),
        st.builds(Compare, lefts, st.sampled_from([Op.BETWEEN, Op.NOT_BETWEEN]), st.tuples(_constants, _constants)),
        st.builds(
            Compare,
            lefts,
            st.sampled_from([Op.IN, Op.NOT_IN]),
            st.lists(_constants, min_size=1, max_size=3).map(tuple),
        ),
    )


def _conditions(compares: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    def more(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.builds(Not, inner) | st.builds(And, several) | st.builds(Or, several)

    return st.recursive(compares, more, max_leaves=4)


_columns = _refs | st.lists(_names, min_size=1, max_size=2).map(lambda parts: ColumnRef(tuple(parts), star=True))
_aggregates = st.builds(
    Aggregate,
    st.sampled_from(Function),
    _columns,
    st.none() | _conditions(_compares(_refs)),
    st.none() | _windows,
    st.lists(_refs, max_size=2).map(tuple),
)
_operands = _refs | _aggregates
_modifiers = st.sampled_from(
    [None, Modifier(classify=True), Modifier(rank=True, top=3), Modifier(forecast=4), Modifier(rank=True)]
)
_queries = st.builds(
    Query,
    _operands | _conditions(_compares(_operands)),
    st.builds(Entity, _refs, st.none() | st.lists(_constants, min_size=1, max_size=2).map(tuple)),
    _modifiers,
    st.none() | _conditions(_compares(_operands)),
    st.none() | _conditions(_compares(_operands)),
    st.sampled_from([None, "EVALUATE", "EXPLAIN"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_queries)
def test_parse_undoes_print(query: Query) -> None:
    text = print_query(query)
    assert parse(text) == query
    assert print_query(parse(text)) == text
