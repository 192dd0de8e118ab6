"""The slow, obvious twin of the label SQL: plain Python over rows, one entity and one anchor at a time."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from kincast.clock import DAY_US, add
from kincast.query.task import Task, TaskKind
from kincast.query.tree import (
    Aggregate,
    And,
    Arithmetic,
    ColumnRef,
    Compare,
    Constant,
    Function,
    Not,
    Op,
    Operand,
    Or,
    Target,
)
from kincast.schema import Link

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
"""Table → rows in row order; each with its columns and ``_row``, ``_time``, ``_end``."""

EPOCH = datetime(1970, 1, 1)


def reference_labels(task: Task, rows: Rows, anchors: Sequence[int]) -> list[tuple[int, int, Any]]:
    """(row, as-of in microseconds, target) of every label, sorted."""
    return sorted(_labels(task, rows, anchors), key=lambda label: label[:2])


def _labels(task: Task, rows: Rows, anchors: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
    query = task.query
    for entity in rows[task.entity]:
        for as_of_us in anchors if not task.is_static else [_us(entity["_time"])]:
            moment = EPOCH + timedelta(microseconds=as_of_us)
            if entity["_time"] is not None and entity["_time"] > moment:
                continue
            if not task.is_static and entity["_end"] is not None and entity["_end"] <= moment:
                continue
            judge = _Judge(task, rows, as_of_us)
            if query.where and judge.value(query.where, entity) is not True:
                continue
            if query.assuming and judge.value(query.assuming, entity) is not True:
                continue
            if task.kind is TaskKind.FORECASTING:
                target = _steps(task, rows, as_of_us, entity)
            else:
                target = judge.value(query.target, entity)
            if task.item_table is not None:
                target = judge.linked(task, target) if target else None
            if target is not None and target != set():
                yield entity["_row"], as_of_us, _as_kind(task.kind, target)


def _steps(task: Task, rows: Rows, as_of_us: int, entity: Row) -> list[Any] | None:
    """The target as of the anchor and as of each step after it; None when no step has a value."""
    length = task.step_length
    assert length is not None
    steps = [_Judge(task, rows, add(as_of_us, length * i)).value(task.query.target, entity) for i in range(task.steps)]
    return None if all(step is None for step in steps) else steps


class _Judge:
    """What is true of a row as of an instant."""

    def __init__(self, task: Task, rows: Rows, as_of_us: int) -> None:
        self.task = task
        self.rows = rows
        self.as_of_us = as_of_us

    def value(self, node: Target, row: Row) -> Any:
        if isinstance(node, Compare):
            left = self.operand(node.left, row)
            answer = compare(node, left, [self.operand(item, row) for item in node.right])
            # A column's NULL compares as false; an aggregate without a value as unknown.
            return False if answer is None and isinstance(node.left, ColumnRef) else answer
        if isinstance(node, Not):
            answer = self.value(node.item, row)
            return None if answer is None else not answer
        if not isinstance(node, And | Or):
            return self.operand(node, row)
        answers = [self.value(item, row) for item in node.items]
        decisive = not isinstance(node, And)
        if decisive in answers:
            return decisive
        return None if None in answers else not decisive

    def operand(self, node: Operand, row: Row) -> Any:
        if isinstance(node, Aggregate):
            return self.aggregate(node, row)
        if isinstance(node, Constant):
            return float(node.value) if isinstance(node.value, Decimal) else node.value
        if isinstance(node, Arithmetic):
            return calculate(node.sign, self.operand(node.left, row), self.operand(node.right, row))
        bound = node.column
        if bound.hop is None:
            return row[bound.column.name]
        parent = self.parent(bound.hop, row)
        return None if parent is None else parent[bound.column.name]

    def linked(self, task: Task, keys: set[Any]) -> set[int]:
        """The rows that keys name, where there are such rows."""
        return {row["_row"] for row in self.rows[task.item_table or ""] if row["id"] in keys}

    def parent(self, link: Link, row: Row) -> Row | None:
        key = [row[name] for name in link.columns]
        for parent in self.rows[link.target]:
            if None not in key and key == [parent[name] for name in link.target_columns]:
                return parent
        return None

    def aggregate(self, node: Aggregate, row: Row) -> Any:
        assert node.window is not None
        start = None if node.window.start_span is None else add(self.as_of_us, node.window.start_span)
        end = add(self.as_of_us, node.window.end_span)
        facts = []
        for fact in self.rows[node.fact]:
            instant = _us(fact["_time"])
            if instant > end or (start is not None and instant <= start):
                continue
            owner: Row | None = fact
            for link in reversed(node.path):
                owner = None if owner is None else self.parent(link, owner)
            if owner is None or owner["_row"] != row["_row"]:
                continue
            if node.where is None or self.value(node.where, fact) is True:
                facts.append(fact)
        if node.function is Function.TIME_TO:
            first = min([_us(fact["_time"]) for fact in facts], default=end)
            return (first - self.as_of_us) / DAY_US
        return fold(node, [fact if node.column.star else fact[node.column.column.column.name] for fact in facts])


def fold(node: Aggregate, values: list[Any]) -> Any:
    """An aggregate of the values of a window, in row order."""
    known = [value for value in values if value is not None]
    if node.function is Function.COUNT:
        return len(known)
    if node.function is Function.EXISTS:
        return bool(values)
    if node.function is Function.COUNT_DISTINCT:
        return len(set(known))
    if node.function is Function.SUM:
        return sum(known)
    if node.function is Function.FIRST:
        return values[0] if values else None
    if node.function is Function.LAST:
        return values[-1] if values else None
    if not known:
        return None
    if node.function is Function.AVG:
        return sum(known) / len(known)
    if node.function is Function.LIST_DISTINCT:
        return set(known)
    if node.function is Function.STDDEV:
        return statistics.stdev(known) if len(known) > 1 else None
    if node.function in (Function.MEDIAN, Function.QUANTILE):
        return quantile(sorted(known), float(node.level or 0.5) if node.level != 0 else 0.0)
    return min(known) if node.function is Function.MIN else max(known)


def quantile(known: list[Any], level: float) -> float:
    """Between the two values around a share of a sorted list."""
    place = level * (len(known) - 1)
    low, high = known[math.floor(place)], known[math.ceil(place)]
    return float(low + (high - low) * (place - math.floor(place)))


def calculate(sign: str, left: Any, right: Any) -> float | None:
    """Two numbers put together; None without one of them, and for a division by zero."""
    if left is None or right is None or (sign == "/" and right == 0):
        return None
    a, b = float(left), float(right)
    return a / b if sign == "/" else {"+": a + b, "-": a - b, "*": a * b}[sign]


def compare(node: Compare, left: Any, right: list[Any]) -> bool | None:
    """One comparison; None when there is nothing to compare."""
    if node.op is Op.IS_NULL:
        return left is None
    if node.op is Op.IS_NOT_NULL:
        return left is not None
    if left is None or None in right:
        return None
    first: Any = right[0]
    answers = {
        Op.EQ: lambda: left == first,
        Op.NE: lambda: left != first,
        Op.LT: lambda: left < first,
        Op.LE: lambda: left <= first,
        Op.GT: lambda: left > first,
        Op.GE: lambda: left >= first,
        Op.IN: lambda: left in right,
        Op.NOT_IN: lambda: left not in right,
        Op.BETWEEN: lambda: first <= left <= right[1],
        Op.NOT_BETWEEN: lambda: not first <= left <= right[1],
        Op.LIKE: lambda: like(left, first),
        Op.NOT_LIKE: lambda: not like(left, first),
        Op.STARTS_WITH: lambda: left.startswith(first),
        Op.ENDS_WITH: lambda: left.endswith(first),
        Op.CONTAINS: lambda: first in left,
        Op.NOT_CONTAINS: lambda: first not in left,
    }
    return bool(answers[node.op]())


def like(text: str, pattern: str) -> bool:
    """SQL's LIKE: % is any text, _ is one character."""
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _as_kind(kind: TaskKind, target: Any) -> Any:
    if kind is TaskKind.BINARY:
        return int(target)
    if kind in (TaskKind.TEMPORAL_LINK, TaskKind.FORECASTING):
        return target
    if isinstance(target, set):
        return {str(item) for item in target}
    return float(target) if kind is TaskKind.REGRESSION else str(target)


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
