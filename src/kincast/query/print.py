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
    Arithmetic,
    ColumnRef,
    Compare,
    Constant,
    Entity,
    Function,
    Key,
    Mode,
    Modifier,
    Not,
    Op,
    Or,
    Query,
    Target,
    Window,
    leaves,
)

RESERVED = frozenset(
    {word for op in Op for word in op.value.lower().split() if word.isalpha()}
    | {"predict", "evaluate", "explain", "for", "each", "where", "assuming", "and", "or", "true", "false", "via", "by"}
    | {"within", "classify", "rank", "top", "forecast", "timeframes", "inf"}
)


def print_query(query: Query) -> str:
    """The canonical text of a query, on one line.

    >>> from kincast.query.parser import parse
    >>> print_query(parse("predict sum( o.x,0,1 , month ) for  each c.id ;"))
    'PREDICT SUM(o.x, 0, 1, months) FOR EACH c.id'
    """
    return " ".join(print_clauses(query))


def print_clauses(query: Query) -> list[str]:
    """The canonical text of each clause: PREDICT, FOR, WHERE, ASSUMING."""
    mode = "" if query.mode is Mode.PREDICT else f"{query.mode} "
    what = ", ".join([*(_closed(target) for target in query.targets[:-1]), print_node(query.targets[-1])])
    modifier = f" {_modifier(query.modifier)}" if query.modifier else ""
    within = f" WITHIN {query.within.end} {query.within.unit}" if query.within else ""
    clauses = [f"{mode}PREDICT {what}{modifier}", _entity(query.entity) + within]
    if query.where:
        clauses.append(f"WHERE {print_node(query.where)}")
    if query.assuming:
        clauses.append(f"ASSUMING {print_node(query.assuming)}")
    return clauses


def _closed(target: Target) -> str:
    """A target with another one behind it, which must not be read as one more foreign key of VIA."""
    text = print_node(target)
    return f"({text})" if any(isinstance(leaf, Aggregate) and leaf.via for leaf in leaves(target)) else text


def print_node(node: Target) -> str:
    """The canonical text of a target or condition."""
    if isinstance(node, ColumnRef):
        return print_ref(node)
    if isinstance(node, Aggregate):
        return _aggregate(node)
    if isinstance(node, Constant):
        return print_constant(node)
    if isinstance(node, Arithmetic):
        return _arithmetic(node)
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
    plain = re.fullmatch(r"[^\W\d]\w*", name) and name.lower() not in RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


def _inner(node: Target, loose: tuple[type, ...]) -> str:
    text = print_node(node)
    return f"({text})" if isinstance(node, loose) else text


def _aggregate(node: Aggregate) -> str:
    inside = print_ref(node.column)
    if node.where:
        inside += f" WHERE {print_node(node.where)}"
    if node.level is not None:
        inside += f", {node.level}"
    if node.window:
        inside += f", {print_window(node.window)}"
    via = f" VIA {', '.join(print_ref(ref) for ref in node.via)}" if node.via else ""
    by = f" BY {print_ref(node.by)}" if node.by else ""
    return f"{node.function}({inside}){via}{by}"


def _arithmetic(node: Arithmetic) -> str:
    products = node.sign in "*/"
    left, right = print_node(node.left), print_node(node.right)
    # Equal signs are read from left to right, so whatever stands to the right keeps its parentheses.
    if products and isinstance(node.left, Arithmetic) and node.left.sign in "+-":
        left = f"({left})"
    if isinstance(node.right, Arithmetic) and (products or node.right.sign in "+-"):
        right = f"({right})"
    return f"{left} {node.sign} {right}"


def _compare(node: Compare) -> str:
    left = print_node(node.left)
    if isinstance(node.left, Aggregate) and node.left.function is Function.EXISTS and node == _exists(node.left):
        return left
    values = [print_node(item) for item in node.right]
    if node.op in (Op.IN, Op.NOT_IN):
        return f"{left} {node.op} ({', '.join(values)})"
    if node.op in (Op.BETWEEN, Op.NOT_BETWEEN):
        return f"{left} {node.op} {values[0]} AND {values[1]}"
    return " ".join([left, node.op, *values])


def _exists(node: Aggregate) -> Compare:
    return Compare(node, Op.EQ, (Constant(True),))


def _modifier(node: Modifier) -> str:
    if node.forecast is not None:
        return f"FORECAST {node.forecast} TIMEFRAMES"
    words = ["CLASSIFY" if node.classify else "", "RANK" if node.rank else ""]
    top = f"TOP {node.top}" if node.top is not None else ""
    return " ".join(word for word in [*words, top] if word)


def _entity(node: Entity) -> str:
    columns = ", ".join(print_ref(ref) for ref in (node.ref, *node.more))
    columns = f"({columns})" if node.more else columns
    if node.keys is None:
        return f"FOR EACH {columns}"
    return f"FOR {columns} IN ({', '.join(_key(key) for key in node.keys)})"


def _key(key: Key) -> str:
    parts = ", ".join(print_constant(part) for part in key)
    return f"({parts})" if len(key) > 1 else parts
