"""Statement: a task → one set-based SQL statement over all anchors, built of expressions and never of text.

Each window becomes two columns of a small table of anchors; each aggregate one grouped join of its facts with that
table; the entities that exist at an anchor are then joined with what was aggregated. Facts are grouped by the foreign
key itself and meet their entity only afterwards. An aggregate that a row of the result must have is joined strictly,
so that no grid of all entities and anchors is made where facts are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlglot
from sqlglot import exp

from kincast.query import value as sql
from kincast.query.dialect import Source, write_sql
from kincast.query.family import ALWAYS_VALUED, Family, column_family
from kincast.query.grid import Grid, moment
from kincast.query.task import Task, TaskKind
from kincast.query.tree import (
    NULLNESS,
    Aggregate,
    And,
    Arithmetic,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Function,
    Not,
    Op,
    Operand,
    Or,
    Target,
    aggregates,
)
from kincast.schema import Link
from kincast.source.cast import kept_type, same_key_sql

Expression = Any
_RESULT = {TaskKind.BINARY: "INTEGER", TaskKind.REGRESSION: "DOUBLE", TaskKind.MULTICLASS: "VARCHAR"}
_NUMBERS = (TaskKind.BINARY, TaskKind.REGRESSION)
_TEXTS = (TaskKind.MULTILABEL, TaskKind.RANKING)
_LINKS = (TaskKind.TEMPORAL_LINK, TaskKind.STATIC_LINK)


def label_statement(task: Task, anchors: Sequence[int], dialect: str = "duckdb") -> str:
    """SQL of a windowed task's labels: ``row``, ``as_of_us``, ``target``; no row where the target has no value.

    A list of categories is a list of texts, of links a list of rows. Of a forecast ``target`` lists the values of the
    steps that have one, and ``step`` their numbers; both are NULL where no step has one and the values are zeros.

    Args:
        task: with a window.
        anchors: instants in microseconds, ascending.
        dialect: ``duckdb``, over the tables of a snapshot, or ``postgres``, over the user's own.
    """
    build = _Statement(task, anchors, dialect)
    scope = build.entities_at_anchors()
    conditions = [part for part in (task.query.where, task.query.assuming) if part]
    needed = {node for part in conditions for node in demanded(part)} | set(valued(task.query.target))
    if task.kind is TaskKind.FORECASTING:
        columns = build.forecast(task.query.target, scope, needed)
    else:
        columns = {"target": build.outcome(task.query.target, scope, needed)}
    filters = [build.condition(part, scope, needed) for part in conditions]
    return build.text(build.result(scope, columns, sql.column("a", "as_of"), filters))


def static_statement(task: Task, as_of_us: int | None, dialect: str = "duckdb") -> str:
    """SQL of a static task's labels: ``row``, ``as_of_us``, ``target``; no row where the target has no value.

    Args:
        task: without a window.
        as_of_us: the as-of instant of every row of a timeless entity; None when rows have their own time.
        dialect: as for ``label_statement``.
    """
    build = _Statement(task, (), dialect)
    scope = build.entities()
    needed = set(valued(task.query.target))
    columns = {"target": build.outcome(task.query.target, scope, needed)}
    filters = [build.condition(task.query.where, scope, set())] if task.query.where else []
    as_of = sql.column("e", "_time") if as_of_us is None else moment(as_of_us)
    return build.text(build.result(scope, columns, as_of, filters))


def rests_on_one_count(task: Task) -> bool:
    """True when all entities at an anchor have a label, and all without a fact in the window have the same one.

    Then only the others need to be computed, and no grid of entities and anchors is made by the database.
    """
    found = set(aggregates(task.query.target, nested=False))
    counted = all(node.function in sql.COUNTS | {Function.EXISTS} for node in found)
    filtered = task.query.assuming is not None or any(aggregates(task.query.where))
    return task.window is not None and task.kind in _NUMBERS and len(found) == 1 and counted and not filtered


def fact_statement(task: Task, anchors: Sequence[int]) -> str:
    """SQL of the labels of entities that have a fact in the window: ``row``, ``as_of_us``, ``target``, also NULL.

    Args:
        task: one that rests on one count.
        anchors: instants in microseconds, ascending.
    """
    build = _Statement(task, anchors, "duckdb")
    part = build.aggregate(next(aggregates(task.query.target)), task.entity, build.anchors, "")
    keys = zip(_key_names(part.keys), part.keys, strict=True)
    on = exp.and_(*(exp.EQ(this=sql.column(part.name, a), expression=sql.column("e", b)) for a, b in keys))
    table = exp.alias_(exp.Table(this=sql.name(part.name)), part.name, table=True, quoted=True)
    select = exp.select().from_(table).join(build.source.table(task.entity, "e"), on=on, join_type="INNER")
    scope = _Scope(task.entity, "e", select, build.anchors, joined={part.name})
    columns = {"target": build.outcome(task.query.target, scope, set()), "step": exp.null()}
    return build.text(build.result(scope, columns, sql.column(part.name, "as_of"), []))


def bare_statement(task: Task) -> str:
    """SQL of every entity that passes the filter: ``row``, ``born_us``, ``gone_us``, and its ``target`` without facts.

    Args:
        task: one that rests on one count.
    """
    build = _Statement(task, (), "duckdb")
    build.without_facts = True
    scope = build.entities()
    target = build.outcome(task.query.target, scope, set())
    where = build.condition(task.query.where, scope, set()) if task.query.where else exp.true()
    born, gone = (exp.Anonymous(this="epoch_us", expressions=[sql.column("e", name)]) for name in ("_time", "_end"))
    columns = {"row": sql.column("e", "_row"), "born_us": born, "gone_us": gone, "target": target}
    select = scope.select.select(*(exp.alias_(column, name) for name, column in columns.items()))
    return build.text(select.where(where).order_by("row"))


def seed_statement(task: Task, as_of_us: int) -> str:
    """SQL of the rows to predict for: ``row`` of every entity that exists at an instant and passes the filter."""
    build = _Statement(task, (as_of_us,), "duckdb")
    scope = build.entities_at_anchors()
    where = task.query.where
    filters = [build.condition(where, scope, set(demanded(where)))] if where else []
    select = scope.select.select(exp.alias_(sql.column("e", "_row"), "row"))
    for condition in filters:
        select = select.where(condition)
    return build.text(select.order_by("row"))


def demanded(node: Condition) -> list[Aggregate]:
    """Aggregates that must have rows for a condition to be true."""
    if isinstance(node, And):
        return [found for item in node.items for found in demanded(item)]
    if not isinstance(node, Compare) or node.op is Op.IS_NULL:
        return []
    found = [leaf for leaf in aggregates(node, nested=False) if leaf.function not in ALWAYS_VALUED]
    if not isinstance(node.left, Aggregate) or not node.right or len(node.constants) < len(node.right):
        return found
    values = [item.value for item in node.constants]
    if node.left.function is Function.EXISTS:
        return [node.left] if node.op is Op.EQ and values[0] in (True, 1) else []
    if node.left.function not in (Function.COUNT, Function.COUNT_DISTINCT):
        return found
    least = min((float(value) for value in values if not isinstance(value, str | datetime | None)), default=0)
    positive = (node.op is Op.GT and least >= 0) or (node.op in (Op.GE, Op.EQ, Op.BETWEEN, Op.IN) and least > 0)
    return [node.left] if positive else []


def valued(node: Target) -> list[Aggregate]:
    """Aggregates that must have rows for a target to have a value."""
    if isinstance(node, Not):
        return valued(node.item)
    if isinstance(node, And | Or) or (isinstance(node, Compare) and node.op in NULLNESS):
        return []
    return [leaf for leaf in aggregates(node, nested=False) if leaf.function not in ALWAYS_VALUED]


@dataclass
class _Scope:
    """The rows of one table that operands speak of, the instants they are looked at, and the joins values need."""

    table: str
    alias: str
    select: Expression
    grid: Grid
    hops: dict[Link, str] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Part:
    """An aggregate by itself: its name, and the columns of the context table that its ``_key`` columns equal."""

    name: str
    keys: tuple[str, ...]


class _Statement:
    """Collects the windows and the aggregates of one statement."""

    def __init__(self, task: Task, anchors: Sequence[int], dialect: str) -> None:
        self.schema = task.schema
        self.task = task
        self.dialect = dialect
        self.without_facts = False
        self.parts: dict[tuple[str, str, Aggregate, str], _Part] = {}
        self.bodies: list[tuple[str, Expression]] = []
        self.prefix = "_"
        while any(table.name.startswith(self.prefix) for table in self.schema):
            self.prefix += "_"
        self.source = Source(self.schema, f"{self.prefix}table_", dialect)
        self.anchors = Grid(f"{self.prefix}anchors", anchors)
        self.steps = Grid(f"{self.prefix}steps", anchors, task.steps, task.step_length)

    def from_table(self, table: str, alias: str) -> Expression:
        return exp.select().from_(self.source.table(table, alias))

    def join(self, select: Expression, name: str, alias: str, on: Expression, kind: str) -> Expression:
        source = exp.alias_(exp.Table(this=sql.name(name)), alias, table=True, quoted=True)
        return select.join(source, on=on, join_type=kind)

    def entities(self) -> _Scope:
        """Every entity, once."""
        return _Scope(self.task.entity, "e", self.from_table(self.task.entity, "e"), Grid(self.prefix, ()))

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
        anchors = exp.alias_(exp.Table(this=sql.name(self.anchors.name)), "a", table=True, quoted=True)
        on = exp.and_(*exists) if exists else exp.true()
        select = exp.select().from_(anchors).join(self.source.table(self.task.entity, "e"), on=on, join_type="INNER")
        return _Scope(self.task.entity, "e", select, self.anchors)

    def result(
        self, scope: _Scope, columns: dict[str, Expression], as_of: Expression, filters: list[Expression]
    ) -> Expression:
        microseconds = exp.Anonymous(this="epoch_us", expressions=[as_of])
        select = scope.select.select(
            exp.alias_(sql.column("e", "_row"), "row"),
            exp.alias_(microseconds, "as_of_us"),
            *(exp.alias_(column, name) for name, column in columns.items()),
        )
        for condition in filters:
            select = select.where(condition)
        if "step" in columns:
            return select
        return select.where(exp.Not(this=exp.Is(this=exp.paren(columns["target"].copy()), expression=exp.null())))

    def outcome(self, node: Target, scope: _Scope, needed: set[Aggregate]) -> Expression:
        """What a label says."""
        kind = self.task.kind
        if kind in _LINKS and isinstance(node, Aggregate):
            return self.operand(node, scope, needed, "row")
        if kind in _TEXTS and isinstance(node, Aggregate):
            return self.operand(node, scope, needed, "text")
        if kind in _TEXTS:
            return sql.cast(self.target(node, scope, needed), "VARCHAR[]")
        return sql.cast(self.target(node, scope, needed), _RESULT[kind])

    def forecast(self, node: Target, scope: _Scope, needed: set[Aggregate]) -> dict[str, Expression]:
        """Columns of a forecast: values and the numbers of their steps, in order."""
        if not isinstance(node, Aggregate):
            raise RuntimeError("a forecast of no aggregate passed the checks")
        part = self.aggregate(node, scope.table, self.steps, "")
        present = exp.Not(this=exp.Is(this=sql.column("p", "value"), expression=exp.null()))
        names = [*_key_names(part.keys), "as_of"]
        select = exp.select(*(sql.column("p", name) for name in names))
        for name, column in (
            ("value", sql.cast(sql.column("p", "value"), "DOUBLE")),
            ("step", sql.column("p", "step")),
        ):
            ordered = exp.Order(this=column, expressions=[exp.Ordered(this=sql.column("p", "step"), nulls_first=False)])
            select = select.select(exp.alias_(exp.ArrayAgg(this=ordered), name))
        source = exp.alias_(exp.Table(this=sql.name(part.name)), "p", table=True, quoted=True)
        select = select.from_(source).where(present).group_by(*(sql.column("p", name) for name in names))
        series = _Part(f"{part.name}_series", part.keys)
        self.bodies.append((series.name, select))
        self.attach(series, scope, "INNER" if node in needed else "LEFT")
        return {"target": sql.column(series.name, "value"), "step": sql.column(series.name, "step")}

    def target(self, node: Target, scope: _Scope, needed: set[Aggregate]) -> Expression:
        if isinstance(node, Condition):
            return self.condition(node, scope, needed)
        return self.operand(node, scope, needed)

    def condition(self, node: Condition, scope: _Scope, needed: set[Aggregate]) -> Expression:
        if isinstance(node, Compare):
            left = self.operand(node.left, scope, needed)
            other = [self.operand(item, scope, needed) for item in node.right if not isinstance(item, Constant)]
            return exp.paren(sql.comparison(node, left, *other))
        if isinstance(node, Not):
            return exp.Not(this=exp.paren(self.condition(node.item, scope, needed)))
        items = [self.condition(item, scope, needed) for item in node.items]
        return exp.paren(exp.and_(*items) if isinstance(node, And) else exp.or_(*items))

    def operand(self, node: Operand, scope: _Scope, needed: set[Aggregate], items: str = "") -> Expression:
        if isinstance(node, ColumnRef):
            bound = node.column
            return sql.column_value(self.hop(bound.hop, scope) if bound.hop else scope.alias, bound.column)
        if isinstance(node, Constant):
            return sql.constant(node.value)
        if isinstance(node, Arithmetic):
            left, right = (self.operand(side, scope, needed) for side in (node.left, node.right))
            return sql.arithmetic(node.sign, left, right)
        if self.without_facts:
            return self.or_nothing(node, scope, exp.null())
        part = self.aggregate(node, scope.table, scope.grid, items)
        self.attach(part, scope, "INNER" if node in needed else "LEFT")
        return self.or_nothing(node, scope, sql.column(part.name, "value"))

    def or_nothing(self, node: Aggregate, scope: _Scope, value: Expression) -> Expression:
        """The value of an aggregate, also where it has no rows."""
        if node.function in sql.COUNTS:
            return exp.Coalesce(this=value, expressions=[exp.Literal.number(0)])
        if node.function is Function.EXISTS:
            return exp.Coalesce(this=value, expressions=[exp.false()])
        if node.function is not Function.TIME_TO or node.window is None:
            return value
        end = sql.column("a", f"end_{scope.grid.windows[node.window]}")
        return sql.days_between(sql.column("a", "as_of"), exp.Coalesce(this=value, expressions=[end]))

    def attach(self, part: _Part, scope: _Scope, kind: str) -> None:
        """Join a part with the rows of its context table, once."""
        if part.name in scope.joined:
            return
        pairs = [
            (sql.column(part.name, name), sql.column(scope.alias, key))
            for name, key in zip(_key_names(part.keys), part.keys, strict=True)
        ]
        if scope.grid.anchors:
            pairs += [(sql.column(part.name, key), sql.column("a", key)) for key in scope.grid.keys]
        on = exp.and_(*(exp.EQ(this=left, expression=right) for left, right in pairs))
        scope.select = self.join(scope.select, part.name, part.name, on, kind)
        scope.joined.add(part.name)

    def hop(self, link: Link, scope: _Scope) -> str:
        """Alias of the row that a foreign key of the scope's rows points to."""
        if link not in scope.hops:
            alias = f"h{len(scope.hops) + 1}"
            source = self.source.table(link.target, alias)
            on = self.same_row(link, scope.alias, alias)
            scope.select = scope.select.join(source, on=on, join_type="LEFT")
            scope.hops[link] = alias
        return scope.hops[link]

    def same_key(self, link: Link, src: str, dst: str) -> Expression:
        """Condition: the foreign key of one alias names the row of another."""
        matches = []
        for a, b, types in self.key_types(link):
            left, right = sql.column(src, a).sql("duckdb"), sql.column(dst, b).sql("duckdb")
            matches.append(sqlglot.parse_one(same_key_sql(left, types[0], right, types[1]), read="duckdb"))
        return exp.and_(*matches)

    def same_row(self, link: Link, src: str, dst: str) -> Expression:
        """As ``same_key``; of versions, the one that was valid when the row of the first alias came to be."""
        same = self.same_key(link, src, dst)
        if not self.schema.table(link.target).versioned:
            return same
        moment, start, end = sql.column(src, "_time"), sql.column(dst, "_time"), sql.column(dst, "_end")
        valid = exp.or_(exp.Is(this=end, expression=exp.null()), exp.GT(this=end.copy(), expression=moment.copy()))
        return exp.and_(same, exp.LTE(this=start, expression=moment), valid)

    def key_types(self, link: Link) -> list[tuple[str, str, tuple[str, str]]]:
        """Per column of a foreign key: its name, its target's, and the types of both."""
        source, target = self.schema.table(link.table), self.schema.table(link.target)
        return [
            (a, b, (kept_type(source.column(a)), kept_type(target.column(b))))
            for a, b in zip(link.columns, link.target_columns, strict=True)
        ]

    def aggregate(self, node: Aggregate, context: str, grid: Grid, items: str) -> _Part:
        """The part that holds an aggregate's value by row of the context table and anchor.

        Args:
            node: the aggregate.
            context: table of the rows it is for.
            grid: the instants.
            items: what a list holds: ``text`` of its values, ``row`` of the rows they name, or the values themselves.
        """
        found = self.parts.get((context, grid.name, node, items))
        if found is not None:
            return found
        select = self.facts_at(node, grid)
        below = "f"
        for step, link in enumerate(reversed(node.path[1:]), start=1):
            target = self.source.table(link.target, f"p{step}")
            select = select.join(target, on=self.same_row(link, below, f"p{step}"), join_type="INNER")
            below = f"p{step}"
        first = node.path[0]
        alike = all(types[0] == types[1] for _, _, types in self.key_types(first))
        if alike:
            own, keys = [sql.column(below, name) for name in first.columns], first.target_columns
        else:  # several spellings of a foreign key may name one row, so rows must meet before they are grouped
            select = select.join(
                self.source.table(first.target, "p0"), on=self.same_key(first, below, "p0"), join_type="INNER"
            )
            own, keys = [sql.column("p0", "_row")], ("_row",)
        scope = _Scope(node.fact, "f", select, grid)
        condition = self.condition(node.where, scope, set(demanded(node.where))) if node.where else None
        value = self.folded(node, scope, items)
        groups = [exp.alias_(column, name) for column, name in zip(own, _key_names(keys), strict=True)]
        groups += [exp.alias_(sql.column("a", key), key) for key in grid.keys if grid.anchors]
        select = scope.select.select(*groups, exp.alias_(value, "value"))
        for column in own if alike else []:
            select = select.where(exp.Not(this=exp.Is(this=column.copy(), expression=exp.null())))
        select = select.where(condition) if condition is not None else select
        part = _Part(f"{self.prefix}part_{len(self.parts) + 1}", keys)
        self.parts[context, grid.name, node, items] = part
        self.bodies.append((part.name, select.group_by(*(group.this.copy() for group in groups))))
        return part

    def facts_at(self, node: Aggregate, grid: Grid) -> Expression:
        """Facts joined with the instants in whose window they lie."""
        select = self.from_table(node.fact, "f")
        if node.window is None:
            return select
        time = sql.column("f", "_time")
        inside = grid.inside(node.window, time, "a")
        source = exp.alias_(exp.Table(this=sql.name(grid.name)), "a", table=True, quoted=True)
        number = grid.windows[node.window]
        if self.dialect == "duckdb" and grid.is_disjoint(node.window):
            # At most one window holds a fact: the one that ends next. Far cheaper than comparing with every window.
            ends = exp.LTE(this=time.copy(), expression=sql.column("a", f"end_{number}"))
            select = select.join(exp.Join(this=source, method="ASOF", on=ends))
            select = select.where(exp.GT(this=time.copy(), expression=sql.column("a", f"start_{number}")))
        else:
            select = select.join(source, on=inside, join_type="INNER")
        # Rows lie in the order of time, so that whole blocks outside of the reach are never read.
        reach = grid.reach(node.window)
        if reach is not None:
            select = select.where(exp.LTE(this=time.copy(), expression=moment(reach[1])))
            if reach[0] is not None:
                select = select.where(exp.GT(this=time.copy(), expression=moment(reach[0])))
        return select

    def folded(self, node: Aggregate, scope: _Scope, items: str) -> Expression:
        """The aggregate function over a group of facts."""
        bound = node.column.bound
        if node.function is Function.TIME_TO:
            return exp.Min(this=sql.column("f", "_time"))
        if bound is None:
            meant = None
        elif items == "row":
            links = self.schema.links_from(node.fact)
            link = next(link for link in links if bound.column.name in link.columns)
            meant = sql.column(self.hop(link, scope), "_row")
        else:
            meant = sql.column_value("f", bound.column)
            meant = sql.cast(meant, "VARCHAR") if items == "text" else meant
        value = sql.aggregate(node, meant, sql.column("f", "_row"))
        if bound is not None and column_family(bound.column) is Family.BOOLEAN and isinstance(value, exp.Min | exp.Max):
            return (exp.LogicalAnd if isinstance(value, exp.Min) else exp.LogicalOr)(this=value.this)
        return value

    def text(self, select: Expression) -> str:
        """The whole statement, with the tables of instants in front."""
        for grid in (self.anchors, self.steps):
            if grid.anchors and (grid is self.anchors or grid.windows):
                select = select.with_(sql.name(grid.name), as_=grid.table())
        for name, body in self.source.bodies():
            select = select.with_(sql.name(name), as_=body)
        for part, body in self.bodies:
            select = select.with_(sql.name(part), as_=body)
        return write_sql(select, self.dialect)


def _key_names(keys: Sequence[str]) -> list[str]:
    return ["_key", *(f"_key_{i}" for i in range(2, len(keys) + 1))]
