"""Canonical text: reading it back gives the same tree, whatever the tree."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kincast.query.parser import parse
from kincast.query.print import print_query
from kincast.query.tree import (
    Aggregate,
    And,
    Arithmetic,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Entity,
    Function,
    Mode,
    Modifier,
    Not,
    Op,
    Operand,
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


def _compares(lefts: st.SearchStrategy[Any]) -> st.SearchStrategy[Condition]:
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
_dotted = st.lists(_names, min_size=2, max_size=3).map(lambda parts: ColumnRef(tuple(parts)))
_numbers = st.sampled_from([Constant(0), Constant(-3), Constant(Decimal("0.5")), Constant(Decimal("-1E+2"))])


def _aggregates_of(functions: list[Function], level: st.SearchStrategy[Decimal | None]) -> st.SearchStrategy[Aggregate]:
    return st.builds(
        Aggregate,
        st.sampled_from(functions),
        _columns,
        st.none() | _conditions(_compares(_dotted)),
        level,
        st.none() | _windows,
        st.lists(_dotted, max_size=2).map(tuple),
    )


_plain = [function for function in Function if function not in (Function.EXISTS, Function.QUANTILE)]
_levels = st.sampled_from([Decimal("0"), Decimal("0.25"), Decimal("1")])
_aggregates = _aggregates_of(_plain, st.none()) | _aggregates_of([Function.QUANTILE], _levels)
_exists = _aggregates_of([Function.EXISTS], st.none()).map(lambda node: Compare(node, Op.EQ, (Constant(True),)))


@st.composite
def _arithmetic(draw: st.DrawFn, depth: int = 0) -> Operand:
    left, right = (
        draw(_arithmetic(depth + 1)) if depth < 2 and draw(st.booleans()) else draw(_numbers | _aggregates)
        for _ in range(2)
    )
    return Arithmetic(draw(st.sampled_from("+-*/")), left, right)


_operands = _refs | _aggregates | _arithmetic()
_sides = st.builds(Compare, _aggregates | _arithmetic(), _single, st.tuples(_aggregates | _arithmetic())).filter(
    lambda node: node.op in (Op.EQ, Op.NE, Op.LT, Op.LE, Op.GT, Op.GE)
)
_any_condition = _conditions(_compares(_operands) | _sides | _exists)
_targets = _operands | _any_condition
_keys = st.lists(_constants, min_size=1, max_size=2).map(tuple)
_modifiers = st.sampled_from(
    [None, Modifier(classify=True), Modifier(rank=True, top=3), Modifier(forecast=4), Modifier(rank=True)]
)
_queries = st.builds(
    Query,
    _targets,
    st.builds(
        Entity,
        _refs,
        st.lists(_refs, max_size=2).map(tuple),
        st.none() | st.lists(_keys, min_size=1, max_size=2).map(tuple),
    ),
    _modifiers,
    st.none() | _any_condition,
    st.none() | _any_condition,
    st.sampled_from(Mode),
    st.lists(_targets, max_size=1).map(tuple),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_queries)
def test_parse_undoes_print(query: Query) -> None:
    text = print_query(query)
    assert parse(text) == query
    assert print_query(parse(text)) == text
