"""Value: SQL expressions of columns, constants, comparisons and aggregate functions.

Comparisons of a column's NULL are false (``NULL != x`` too). Comparisons of an aggregate without a value are unknown,
and three-valued logic decides what becomes of the whole condition.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlglot import exp

from kincast.clock import DAY_US
from kincast.query.constant import compared_family, is_negative, plain
from kincast.query.family import Family, column_family, is_number
from kincast.query.tree import Aggregate, ColumnRef, Compare, Function, Op, Value
from kincast.schema import Column
from kincast.source.cast import kept_type

Expression = Any
"""A sqlglot expression; the library has no types that a checker could use."""

_SMALL = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE"})
_COMPARISONS = {Op.EQ: exp.EQ, Op.NE: exp.NEQ, Op.LT: exp.LT, Op.LE: exp.LTE, Op.GT: exp.GT, Op.GE: exp.GTE}
COUNTS = frozenset({Function.COUNT, Function.COUNT_DISTINCT, Function.SUM})
"""Functions that are 0 where there are no rows."""


def name(text: str) -> Expression:
    """A quoted identifier."""
    return exp.to_identifier(text, quoted=True)


def column(alias: str, text: str) -> Expression:
    """A quoted column of an alias."""
    return exp.column(name(text), table=name(alias))


def cast(value: Expression, type_name: str, attempt: bool = False) -> Expression:
    """A cast; with ``attempt`` NULL where it fails."""
    return (exp.TryCast if attempt else exp.Cast)(this=value, to=exp.DataType.build(type_name, dialect="duckdb"))


def column_value(alias: str, meant: Column) -> Expression:
    """A column's value in the form in which its family compares."""
    value, stored, family = column(alias, meant.name), kept_type(meant), column_family(meant)
    if family is Family.NUMBER:
        if stored in _SMALL:
            return value
        return cast(value, "DOUBLE", attempt=not is_number(stored))
    if family is Family.BOOLEAN:
        return value if stored == "BOOLEAN" else cast(value, "BOOLEAN", attempt=True)
    if family is Family.TIME:
        return value if stored == "TIMESTAMP" else cast(value, "TIMESTAMP", attempt=True)
    if family is Family.LIST and not stored.endswith("]"):
        pieces = exp.Anonymous(this="string_split", expressions=[value, text(meant.separator or ",")])
        trim = exp.Lambda(this=exp.Trim(this=exp.column("x")), expressions=[exp.to_identifier("x")])
        return exp.Anonymous(this="list_transform", expressions=[pieces, trim])
    if family is Family.TEXT and stored != "VARCHAR":
        return cast(value, "VARCHAR")
    return value


def text(value: str) -> Expression:
    """A text constant."""
    return exp.Literal.string(value)


def moment(value: datetime) -> Expression:
    """A timestamp constant."""
    return exp.Cast(this=text(value.isoformat(" ")), to=_timestamp().copy())


@cache
def _timestamp() -> Expression:
    """The type, whose name is parsed once: many anchors have thousands of constants."""
    return exp.DataType.build("TIMESTAMP", dialect="duckdb")


def constant(value: Value) -> Expression:
    """A constant."""
    if isinstance(value, bool):
        return exp.true() if value else exp.false()
    if isinstance(value, int):
        return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))
    if isinstance(value, Decimal):
        return cast(text(str(value)), "DOUBLE")
    if isinstance(value, datetime):
        return moment(value)
    return exp.null() if value is None else text(value)


def arithmetic(sign: str, left: Expression, right: Expression) -> Expression:
    """Two numbers put together; a division by zero is NULL."""
    left, right = cast(left, "DOUBLE"), cast(right, "DOUBLE")
    if sign == "/":
        return exp.paren(exp.Div(this=left, expression=exp.Nullif(this=right, expression=exp.Literal.number(0))))
    return exp.paren({"+": exp.Add, "-": exp.Sub, "*": exp.Mul}[sign](this=left, expression=right))


def days_between(start: Expression, end: Expression) -> Expression:
    """Days from one timestamp to another."""
    edges = [exp.Anonymous(this="epoch_us", expressions=[edge]) for edge in (end, start)]
    length = cast(exp.paren(exp.Sub(this=edges[0], expression=edges[1])), "DOUBLE")
    return exp.paren(exp.Div(this=length, expression=cast(exp.Literal.number(DAY_US), "DOUBLE")))


def comparison(node: Compare, left: Expression, right: Expression | None = None) -> Expression:
    """One comparison; of a column's NULL it is false.

    Args:
        node: which.
        left: its left side.
        right: its right side, where that is not constant.
    """
    is_column = isinstance(node.left, ColumnRef)
    if node.op in (Op.IS_NULL, Op.IS_NOT_NULL):
        missing = exp.Is(this=left, expression=exp.null())
        return exp.Not(this=missing) if node.op is Op.IS_NOT_NULL else missing
    family = compared_family(node)
    values = [constant(plain(item.value, family)) for item in node.constants] if right is None else [right]
    if node.op in _COMPARISONS:
        result = _COMPARISONS[node.op](this=left, expression=values[0])
    else:
        result = _positive(node, left, values)
        if is_negative(node.op):
            result = exp.Not(this=exp.paren(result))
    return exp.Coalesce(this=result, expressions=[exp.false()]) if is_column else result


def _positive(node: Compare, left: Expression, values: list[Expression]) -> Expression:
    if node.op in (Op.IN, Op.NOT_IN):
        return exp.In(this=left, expressions=values)
    if node.op in (Op.BETWEEN, Op.NOT_BETWEEN):
        return exp.Between(this=left, low=values[0], high=values[1])
    if node.op in (Op.LIKE, Op.NOT_LIKE):
        return exp.Like(this=left, expression=values[0])
    functions = {Op.STARTS_WITH: "starts_with", Op.ENDS_WITH: "ends_with"}
    if node.op in functions:
        return exp.Anonymous(this=functions[node.op], expressions=[left, values[0]])
    listed = isinstance(node.left, Aggregate) and node.left.function is Function.LIST_DISTINCT
    listed = listed or (isinstance(node.left, ColumnRef) and column_family(node.left.column.column) is Family.LIST)
    return exp.Anonymous(this="list_contains" if listed else "contains", expressions=[left, values[0]])


def aggregate(node: Aggregate, value: Expression | None, row: Expression) -> Expression:
    """An aggregate function over the rows of a group.

    Args:
        node: which.
        value: the aggregated value; None for ``table.*``.
        row: the row number, which orders rows by time and then by key.
    """
    if node.function is Function.EXISTS:
        return exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(0))
    if value is None:
        return exp.Count(this=exp.Star())
    if node.function is Function.COUNT:
        return exp.Count(this=value)
    if node.function is Function.COUNT_DISTINCT:
        return exp.Count(this=exp.Distinct(expressions=[value]))
    if node.function is Function.SUM:
        return exp.Sum(this=cast(value, "DOUBLE"))
    if node.function is Function.AVG:
        return exp.Avg(this=cast(value, "DOUBLE"))
    if node.function is Function.STDDEV:
        return exp.StddevSamp(this=cast(value, "DOUBLE"))
    if node.function in (Function.MEDIAN, Function.QUANTILE):
        level = exp.Literal.number("0.5" if node.level is None else format(node.level, "f"))
        return exp.PercentileCont(this=cast(value, "DOUBLE"), expression=level)
    if node.function is Function.LIST_DISTINCT:
        present = exp.Where(this=exp.Not(this=exp.Is(this=value.copy(), expression=exp.null())))
        return exp.Filter(this=exp.ArrayAgg(this=exp.Distinct(expressions=[value])), expression=present)
    if node.function is Function.MIN:
        return exp.Min(this=value)
    if node.function is Function.MAX:
        return exp.Max(this=value)
    function = "arg_min_null" if node.function is Function.FIRST else "arg_max_null"
    return exp.Anonymous(this=function, expressions=[value, row])
