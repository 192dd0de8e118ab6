"""Print: tree → canonical text: keywords in upper case, one space, names quoted only where they must be.

Reading the canonical text back gives an equal tree.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

from kincast.query.tree import (
    Aggregate,
    And,
    ColumnRef,
    Compare,
    Constant,
    Entity,
    Modifier,
    Not,
    Op,
    Or,
    Query,
    Target,
    Window,
)

_RESERVED = frozenset(
    {word for op in Op for word in op.value.lower().split() if word.isalpha()}
    | {"predict", "evaluate", "explain", "for", "each", "where", "assuming", "and", "or", "true", "false", "via"}
    | {"within", "classify", "rank", "top", "forecast", "timeframes", "inf"}
)


def print_query(query: Query) -> str:
    """The canonical text of a query, on one line.

    >>> from kincast.query.parser import parse
    >>> print_query(parse("predict sum( o.x,0,1 , month ) for  each c.id ;"))
    'PREDICT SUM(o.x, 0, 1, months) FOR EACH c.id'
    """
    parts = [query.verb, "PREDICT", print_node(query.target)]
    if query.modifier:
        parts.append(_modifier(query.modifier))
    parts.append(_entity(query.entity))
    if query.where:
        parts += ["WHERE", print_node(query.where)]
    if query.assuming:
        parts += ["ASSUMING", print_node(query.assuming)]
    return " ".join(part for part in parts if part)


def print_node(node: Target) -> str:
    """The canonical text of a target or condition."""
    if isinstance(node, ColumnRef):
        return print_ref(node)
    if isinstance(node, Aggregate):
        return _aggregate(node)
    if isinstance(node, Compare):
        return _compare(node)
    if isinstance(node, Not):
        return f"NOT {_inner(node.item, (And, Or))}"
    if isinstance(node, And):
        return " AND ".join(_inner(item, (And, Or)) for item in node.items)
    return " OR ".join(_inner(item, (Or,)) for item in node.items)


def print_ref(ref: ColumnRef) -> str:
    """The canonical text of a dotted name."""
    return ".".join([*(_name(part) for part in ref.parts), *(["*"] if ref.star else [])])


def print_constant(constant: Constant) -> str:
    """The canonical text of a constant."""
    value = constant.value
    if value is None or isinstance(value, bool):
        return str(value).upper().replace("NONE", "NULL")
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == datetime.min.time() else value.isoformat(" ")
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value) if isinstance(value, int) else _decimal(value)


def print_window(window: Window) -> str:
    """The canonical text of a window, as inside an aggregate."""
    return f"{'-INF' if window.start is None else window.start}, {window.end}, {window.unit}"


def _decimal(value: Decimal) -> str:
    text = str(value)
    # "1E+2" and "5E-7" read back as decimals; an integral one keeps a point so that it does too.
    return text if any(mark in text for mark in ".E") else f"{text}.0"


def _name(name: str) -> str:
    plain = re.fullmatch(r"[^\W\d]\w*", name) and name.lower() not in _RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


def _inner(node: Target, loose: tuple[type, ...]) -> str:
    text = print_node(node)
    return f"({text})" if isinstance(node, loose) else text


def _aggregate(node: Aggregate) -> str:
    inside = print_ref(node.column)
    if node.where:
        inside += f" WHERE {print_node(node.where)}"
    if node.window:
        inside += f", {print_window(node.window)}"
    via = f" VIA {', '.join(print_ref(ref) for ref in node.via)}" if node.via else ""
    return f"{node.function}({inside}){via}"


def _compare(node: Compare) -> str:
    left = print_node(node.left)
    values = [print_constant(constant) for constant in node.right]
    if node.op in (Op.IN, Op.NOT_IN):
        return f"{left} {node.op} ({', '.join(values)})"
    if node.op in (Op.BETWEEN, Op.NOT_BETWEEN):
        return f"{left} {node.op} {values[0]} AND {values[1]}"
    return " ".join([left, node.op, *values])


def _modifier(node: Modifier) -> str:
    if node.forecast is not None:
        return f"FORECAST {node.forecast} TIMEFRAMES"
    words = ["CLASSIFY" if node.classify else "", "RANK" if node.rank else ""]
    top = f"TOP {node.top}" if node.top is not None else ""
    return " ".join(word for word in [*words, top] if word)


def _entity(node: Entity) -> str:
    if node.keys is None:
        return f"FOR EACH {print_ref(node.ref)}"
    return f"FOR {print_ref(node.ref)} IN ({', '.join(print_constant(key) for key in node.keys)})"
