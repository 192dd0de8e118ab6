"""Statement: a task → one set-based SQL statement over all anchors, built of expressions and never of text.

Each window becomes two columns of a small table of anchors; each aggregate one grouped join of its facts with that
table; the entities that exist at an anchor are then joined with what was aggregated. An aggregate that a row of the
result must have is joined strictly, so that no grid of all entities and anchors is made where facts are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlglot
from sqlglot import exp

from kincast.clock import add
from kincast.errors import DataError
from kincast.query import value as sql
from kincast.query.task import Task, TaskKind
from kincast.query.tree import (
    NULLNESS,
    Aggregate,
    And,
    ColumnRef,
    Compare,
    Condition,
    Function,
    Not,
    Op,
    Operand,
    Target,
    Window,
)
from kincast.schema import Link
from kincast.source.cast import kept_type, same_key_sql

Expression = Any
_EPOCH = datetime(1970, 1, 1)
_RESULT = {TaskKind.BINARY: "INTEGER", TaskKind.REGRESSION: "DOUBLE", TaskKind.MULTICLASS: "VARCHAR"}


def label_statement(task: Task, anchors: Sequence[int]) -> str:
    """SQL of a windowed task's labels: ``row``, ``as_of_us``, ``target``; no row where the target has no value.

    Args:
        task: with a window.
        anchors: instants in microseconds.
    """
    build = _Statement(task)
    scope = build.entities_at_anchors()
    conditions = [part for part in (task.query.where, task.query.assuming) if part]
    needed = {node for part in conditions for node in demanded(part)} | set(valued(task.query.target))
    target = sql.cast(build.target(task.query.target, scope, needed), _RESULT[task.kind])
    filters = [build.condition(part, scope, needed) for part in conditions]
    select = build.result(scope, target, sql.column("a", "as_of"), filters)
    return build.text(select, anchors)


def static_statement(task: Task, as_of_us: int | None) -> str:
    """SQL of a static task's labels: ``row``, ``as_of_us``, ``target``; no row where the target has no value.

    Args:
        task: without a window.
        as_of_us: the as-of instant of every row of a timeless entity; None when rows have their own time.
    """
    build = _Statement(task)
    scope = _Scope(task.entity, "e", build.from_table(task.entity, "e"))
    target = sql.cast(build.target(task.query.target, scope, set()), _RESULT[task.kind])
    filters = [build.condition(task.query.where, scope, set())] if task.query.where else []
    as_of = sql.column("e", "_time") if as_of_us is None else moment(as_of_us)
    return build.text(build.result(scope, target, as_of, filters), [])


def seed_statement(task: Task, as_of_us: int) -> str:
    """SQL of the rows to predict for: ``row`` of every entity that exists at an instant and passes the filter."""
    build = _Statement(task)
    scope = build.entities_at_anchors()
    where = task.query.where
    filters = [build.condition(where, scope, set(demanded(where)))] if where else []
    select = scope.select.select(exp.alias_(sql.column("e", "_row"), "row"))
    for condition in filters:
        select = select.where(condition)
    return build.text(select.order_by("row"), [as_of_us])


def moment(instant_us: int) -> Expression:
    """A timestamp constant of an instant."""
    return sql.moment(_EPOCH + timedelta(microseconds=instant_us))


def demanded(node: Condition) -> list[Aggregate]:
    """Aggregates that must have rows for a condition to be true."""
    if isinstance(node, And):
        return [found for item in node.items for found in demanded(item)]
    if not isinstance(node, Compare) or not isinstance(node.left, Aggregate) or node.op is Op.IS_NULL:
        return []
    if node.left.function not in sql.COUNTS:
        return [node.left]
    if node.left.function is Function.SUM or not node.right:
        return []
    least = min(
        (float(item.value) for item in node.right if not isinstance(item.value, str | datetime | None)), default=0
    )
    positive = (node.op is Op.GT and least >= 0) or (node.op in (Op.GE, Op.EQ, Op.BETWEEN, Op.IN) and least > 0)
    return [node.left] if positive else []


def valued(node: Target) -> list[Aggregate]:
    """Aggregates that must have rows for a target to have a value."""
    if isinstance(node, Aggregate):
        return [node] if node.function not in sql.COUNTS else []
    if isinstance(node, Compare) and isinstance(node.left, Aggregate) and node.op not in NULLNESS:
        return valued(node.left)
    return valued(node.item) if isinstance(node, Not) else []


@dataclass
class _Scope:
    """The rows of one table that operands speak of, and the joins that their values need."""

    table: str
    alias: str
    select: Expression
    hops: dict[Link, str] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)


class _Statement:
    """Collects the windows and the aggregates of one statement."""

    def __init__(self, task: Task) -> None:
        self.schema = task.schema
        self.task = task
        self.windows: dict[Window, int] = {}
        self.parts: dict[tuple[str, Aggregate], str] = {}
        self.bodies: list[tuple[str, Expression]] = []
        self.prefix = "_"
        while any(table.name.startswith(self.prefix) for table in self.schema):
            self.prefix += "_"
        self.anchors = f"{self.prefix}anchors"

    def from_table(self, table: str, alias: str) -> Expression:
        return exp.select().from_(exp.alias_(exp.Table(this=sql.name(table)), alias, table=True, quoted=True))

    def join(self, select: Expression, table: str, alias: str, on: Expression, kind: str) -> Expression:
        source = exp.alias_(exp.Table(this=sql.name(table)), alias, table=True, quoted=True)
        return select.join(source, on=on, join_type=kind)

    def entities_at_anchors(self) -> _Scope:
        """Every entity joined with the anchors it exists at."""
        as_of = sql.column("a", "as_of")
        exists: list[Expression] = []
        if self.task.entity_table.time is not None:
            exists.append(exp.LTE(this=sql.column("e", "_time"), expression=as_of))
        if self.task.entity_table.end_time is not None:
            end = sql.column("e", "_end")
            exists.append(
                exp.or_(exp.Is(this=end, expression=exp.null()), exp.GT(this=end.copy(), expression=as_of.copy()))
            )
        select = self.from_table(self.anchors, "a")
        on = exp.and_(*exists) if exists else exp.true()
        return _Scope(self.task.entity, "e", self.join(select, self.task.entity, "e", on, "INNER"))

    def result(self, scope: _Scope, target: Expression, as_of: Expression, filters: list[Expression]) -> Expression:
        microseconds = exp.Anonymous(this="epoch_us", expressions=[as_of])
        select = scope.select.select(
            exp.alias_(sql.column("e", "_row"), "row"),
            exp.alias_(microseconds, "as_of_us"),
            exp.alias_(target, "target"),
        )
        for condition in [*filters, exp.Not(this=exp.Is(this=exp.paren(target.copy()), expression=exp.null()))]:
            select = select.where(condition)
        return select

    def target(self, node: Target, scope: _Scope, needed: set[Aggregate]) -> Expression:
        if isinstance(node, ColumnRef | Aggregate):
            return self.operand(node, scope, needed)
        return self.condition(node, scope, needed)

    def condition(self, node: Condition, scope: _Scope, needed: set[Aggregate]) -> Expression:
        if isinstance(node, Compare):
            return exp.paren(sql.comparison(node, self.operand(node.left, scope, needed)))
        if isinstance(node, Not):
            return exp.Not(this=exp.paren(self.condition(node.item, scope, needed)))
        items = [self.condition(item, scope, needed) for item in node.items]
        return exp.paren(exp.and_(*items) if isinstance(node, And) else exp.or_(*items))

    def operand(self, node: Operand, scope: _Scope, needed: set[Aggregate]) -> Expression:
        if isinstance(node, ColumnRef):
            bound = node.column
            return sql.column_value(self.hop(bound.hop, scope) if bound.hop else scope.alias, bound.column)
        part = self.aggregate(node, scope.table)
        if part not in scope.joined:
            on = exp.and_(
                exp.EQ(this=sql.column(part, "_key"), expression=sql.column(scope.alias, "_row")),
                exp.EQ(this=sql.column(part, "as_of"), expression=sql.column("a", "as_of")),
            )
            scope.select = self.join(scope.select, part, part, on, "INNER" if node in needed else "LEFT")
            scope.joined.add(part)
        value = sql.column(part, "value")
        zero = node.function in sql.COUNTS
        return exp.Coalesce(this=value, expressions=[exp.Literal.number(0)]) if zero else value

    def hop(self, link: Link, scope: _Scope) -> str:
        """Alias of the row that a foreign key of the scope's rows points to."""
        if link not in scope.hops:
            alias = f"h{len(scope.hops) + 1}"
            scope.select = self.join(scope.select, link.target, alias, self.same_key(link, scope.alias, alias), "LEFT")
            scope.hops[link] = alias
        return scope.hops[link]

    def same_key(self, link: Link, src: str, dst: str) -> Expression:
        """Condition: the foreign key of one alias names the row of another."""
        matches = []
        for a, b in zip(link.columns, link.target_columns, strict=True):
            types = (
                kept_type(self.schema.table(link.table).column(a)),
                kept_type(self.schema.table(link.target).column(b)),
            )
            left, right = sql.column(src, a).sql("duckdb"), sql.column(dst, b).sql("duckdb")
            matches.append(sqlglot.parse_one(same_key_sql(left, types[0], right, types[1]), read="duckdb"))
        return exp.and_(*matches)

    def aggregate(self, node: Aggregate, context: str) -> str:
        """Name of the part that holds an aggregate's value by row of the context table and anchor."""
        if (context, node) in self.parts:
            return self.parts[context, node]
        if node.window is None:
            raise RuntimeError("an aggregate without a window passed the checks")
        number = self.windows.setdefault(node.window, len(self.windows))
        inside = exp.LTE(this=sql.column("f", "_time"), expression=sql.column("a", f"end_{number}"))
        if node.window.start is not None:
            begins = exp.GT(this=sql.column("f", "_time"), expression=sql.column("a", f"start_{number}"))
            inside = exp.and_(begins, inside)
        select = self.join(self.from_table(node.fact, "f"), self.anchors, "a", inside, "INNER")
        below = "f"
        for step, link in enumerate(reversed(node.path), start=1):
            select = self.join(select, link.target, f"p{step}", self.same_key(link, below, f"p{step}"), "INNER")
            below = f"p{step}"
        scope = _Scope(node.fact, "f", select)
        condition = self.condition(node.where, scope, set(demanded(node.where))) if node.where else None
        meant = None if node.column.star else sql.column_value("f", node.column.column.column)
        key, as_of = sql.column(below, "_row"), sql.column("a", "as_of")
        value = sql.aggregate(node, meant, sql.column("f", "_row"))
        select = scope.select.select(exp.alias_(key, "_key"), exp.alias_(as_of, "as_of"), exp.alias_(value, "value"))
        select = select.where(condition) if condition is not None else select
        self.parts[context, node] = part = f"{self.prefix}part_{len(self.parts) + 1}"
        self.bodies.append((part, select.group_by(key.copy(), as_of.copy())))
        return part

    def text(self, select: Expression, anchors: Sequence[int]) -> str:
        """The whole statement, with the table of anchors in front."""
        if anchors:
            select = select.with_(sql.name(self.anchors), as_=self.anchor_table(anchors))
        for part, body in self.bodies:
            select = select.with_(sql.name(part), as_=body)
        return str(select.sql(dialect="duckdb", pretty=True))

    def anchor_table(self, anchors: Sequence[int]) -> Expression:
        names = ["as_of"] + [f"{edge}_{number}" for number in self.windows.values() for edge in ("start", "end")]
        rows = []
        for anchor in anchors:
            cells = [moment(anchor)]
            for window in self.windows:
                start = window.start_span
                cells.append(exp.null() if start is None else moment(shifted(anchor, start)))
                cells.append(moment(shifted(anchor, window.end_span)))
            rows.append(exp.Tuple(expressions=cells))
        alias = exp.TableAlias(this=sql.name("v"), columns=[sql.name(text) for text in names])
        return exp.select("*").from_(exp.Values(expressions=rows, alias=alias))


def shifted(instant_us: int, span: Any) -> int:
    """An instant moved by a span.

    Raises:
        DataError: it would leave the calendar.
    """
    try:
        return add(instant_us, span)
    except (OverflowError, ValueError):
        what = f"a window of {span} leaves the calendar"
        raise DataError(what, hint="check the times of the rows, or use a shorter window") from None
