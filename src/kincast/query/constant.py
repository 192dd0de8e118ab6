"""Constants: which constants fit which values, and what they become."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from kincast.clock import parse_instant
from kincast.errors import ProjectError, QueryError
from kincast.query.family import Family, item_family, operand_family
from kincast.query.print import print_constant, print_node
from kincast.query.tree import (
    MEMBERSHIP,
    NULLNESS,
    ORDERED,
    PATTERNS,
    Aggregate,
    At,
    ColumnRef,
    Compare,
    Constant,
    Op,
    Value,
)

Fail = Callable[[str, At, str | None], QueryError]
_EPOCH = datetime(1970, 1, 1)
_WORDS = {
    Family.NUMBER: "a number",
    Family.TEXT: "text",
    Family.BOOLEAN: "true or false",
    Family.TIME: "a time",
    Family.LIST: "a list",
}


def check_constants(node: Compare, fail: Fail) -> None:
    """Refuse an operator or a constant that does not fit the value compared.

    Raises:
        QueryError: made by ``fail``.
    """
    name, family = print_node(node.left), operand_family(node.left)
    if node.op in NULLNESS:
        return
    if len(node.constants) < len(node.right):
        check_sides(node, fail)
        return
    if family is Family.OTHER:
        raise fail(f"{name} can only be compared with IS NULL", node.at, None)
    if family is Family.LIST and node.op not in MEMBERSHIP:
        raise fail(f"{name} is a list", node.at, f"{name} CONTAINS …")
    if node.op in ORDERED and family is Family.BOOLEAN:
        raise fail(f"{name} is true or false, which is neither larger nor smaller", node.at, f"{name} = true")
    if node.op in PATTERNS and family is not Family.TEXT:
        raise fail(f"{node.op} needs text; {name} is {_WORDS[family]}", node.at, None)
    wanted = compared_family(node)
    if wanted is Family.OTHER:
        raise fail(f"the items of {name} cannot be compared", node.at, None)
    for constant in node.constants:
        if not _fits(constant, wanted):
            hint = _other_way(constant, wanted)
            what = f"an item of {name}" if family is Family.LIST else name
            raise fail(f"{what} is {_WORDS[wanted]}; {print_constant(constant)} is not", constant.at, hint)


def check_sides(node: Compare, fail: Fail) -> None:
    """Refuse a comparison of two operands whose values do not compare.

    Raises:
        QueryError: made by ``fail``.
    """
    right = node.right[0]
    families = operand_family(node.left), operand_family(right)
    names = print_node(node.left), print_node(right)
    for side, name, family in zip((node.left, right), names, families, strict=True):
        if family in (Family.LIST, Family.OTHER):
            raise fail(f"{name} cannot be compared with another value", side.at, None)
    if families[0] is not families[1]:
        what = f"{names[0]} is {_WORDS[families[0]]} and {names[1]} is {_WORDS[families[1]]}"
        raise fail(what, node.at, "compare values of one kind")
    if node.op in ORDERED and families[0] is Family.BOOLEAN:
        raise fail(f"{names[0]} is true or false, which is neither larger nor smaller", node.at, None)


def plain(value: Value, family: Family) -> Value:
    """The value that a constant stands for when compared with values of a family.

    >>> plain(1, Family.BOOLEAN)
    True
    """
    if family is Family.BOOLEAN and isinstance(value, int):
        return bool(value)
    if family is Family.TIME and isinstance(value, str):
        return _moment(value)
    return value


def compared_family(node: Compare) -> Family:
    """The family of the constants of a comparison: of a list's items where a list is compared."""
    family = operand_family(node.left)
    if family is Family.LIST and isinstance(node.left, ColumnRef | Aggregate):
        return item_family(node.left)
    return family


def is_negative(op: Op) -> bool:
    """True for operators that are the opposite of another."""
    return op in (Op.NE, Op.NOT_IN, Op.NOT_BETWEEN, Op.NOT_LIKE, Op.NOT_CONTAINS, Op.IS_NOT_NULL)


def _fits(constant: Constant, family: Family) -> bool:
    value = constant.value
    if family is Family.NUMBER:
        return isinstance(value, int | Decimal) and not isinstance(value, bool)
    if family is Family.BOOLEAN:
        return isinstance(value, bool) or value in (0, 1)
    if family is Family.TIME:
        return isinstance(value, datetime) or (isinstance(value, str) and _moment(value) is not None)
    return isinstance(value, str)


def _moment(text: str) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=parse_instant(text))
    except (ProjectError, OverflowError):
        return None


def _other_way(constant: Constant, family: Family) -> str | None:
    value = constant.value
    if family is Family.TEXT and not isinstance(value, str):
        return f"write '{print_constant(constant)}'"
    if family is Family.NUMBER and isinstance(value, str) and value.strip().lstrip("-").replace(".", "", 1).isdigit():
        return f"write {value.strip()} without quotes"
    hints = {Family.BOOLEAN: "write true or false", Family.TIME: "write a date, such as 2024-01-31"}
    return hints.get(family)
