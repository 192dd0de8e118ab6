"""Tree: the typed, frozen nodes of a parsed query, each with its place in the text.

Places and what the resolver adds (``bound``, ``path``) do not count when nodes are compared, so a query read back
from its canonical text equals the one it was printed from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from kincast.clock import Span, Unit
from kincast.schema import Column, Link

Value = bool | int | Decimal | str | datetime | None
"""A constant: dates are naive datetimes in UTC, decimals are kept exact."""


@dataclass(frozen=True, slots=True)
class At:
    """Where a node stands: offsets of its first character and behind its last."""

    start: int
    end: int

    def to(self, other: At) -> At:
        """From here to the end of another."""
        return At(self.start, other.end)


class Function(StrEnum):
    """The aggregates."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    COUNT_DISTINCT = "COUNT_DISTINCT"
    LIST_DISTINCT = "LIST_DISTINCT"
    FIRST = "FIRST"
    LAST = "LAST"


class Op(StrEnum):
    """What a condition compares with; ``==`` reads as ``=`` and ``<>`` as ``!=``."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "IN"
    NOT_IN = "NOT IN"
    BETWEEN = "BETWEEN"
    NOT_BETWEEN = "NOT BETWEEN"
    LIKE = "LIKE"
    NOT_LIKE = "NOT LIKE"
    STARTS_WITH = "STARTS WITH"
    ENDS_WITH = "ENDS WITH"
    CONTAINS = "CONTAINS"
    NOT_CONTAINS = "NOT CONTAINS"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


ORDERED = frozenset({Op.LT, Op.LE, Op.GT, Op.GE, Op.BETWEEN, Op.NOT_BETWEEN})
PATTERNS = frozenset({Op.LIKE, Op.NOT_LIKE, Op.STARTS_WITH, Op.ENDS_WITH})
MEMBERSHIP = frozenset({Op.CONTAINS, Op.NOT_CONTAINS})
NULLNESS = frozenset({Op.IS_NULL, Op.IS_NOT_NULL})


@dataclass(frozen=True, slots=True)
class Bound:
    """What a column name means: the column itself and, where it lies one many-to-one link away, that link."""

    table: str
    column: Column
    hop: Link | None = None


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """A dotted name: ``orders.amount``, ``orders.*``, or a table alone.

    Attributes:
        parts: the names between the dots, without the star.
        star: True for ``orders.*``.
        at: where it stands.
        bound: what it means; set by the resolver, None for a table or a star.
    """

    parts: tuple[str, ...]
    star: bool = False
    at: At = field(default=At(0, 0), compare=False)
    bound: Bound | None = field(default=None, compare=False)

    @property
    def column(self) -> Bound:
        """What it means, once resolved."""
        if self.bound is None:
            raise RuntimeError(f"{'.'.join(self.parts)} was not resolved")
        return self.bound


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant value."""

    value: Value
    at: At = field(default=At(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Window:
    """``start, end, unit``: facts count when anchor + start < time <= anchor + end; start None is -INF."""

    start: int | None
    end: int
    unit: Unit
    at: At = field(default=At(0, 0), compare=False)

    @property
    def start_span(self) -> Span | None:
        """Start as a span; None for -INF."""
        return None if self.start is None else Span(self.start, self.unit)

    @property
    def end_span(self) -> Span:
        """End as a span."""
        return Span(self.end, self.unit)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate of the rows of a fact table in a window.

    Attributes:
        function: which.
        column: what is aggregated; ``table.*`` for COUNT.
        where: which of the rows count.
        window: when; None where it is left out.
        via: foreign keys that settle which way leads to the fact table.
        at: where it stands.
        path: links from the fact table up to the table the aggregate is for, last link first (nearest to that
            table first); set by the resolver.
    """

    function: Function
    column: ColumnRef
    where: Condition | None = None
    window: Window | None = None
    via: tuple[ColumnRef, ...] = ()
    at: At = field(default=At(0, 0), compare=False)
    path: tuple[Link, ...] = field(default=(), compare=False)

    @property
    def fact(self) -> str:
        """The fact table, once resolved."""
        return self.path[-1].table


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison of an operand with constants.

    Attributes:
        left: what is compared.
        op: how.
        right: none for IS NULL, two for BETWEEN, any number for IN, else one.
        at: where it stands.
    """

    left: Operand
    op: Op
    right: tuple[Constant, ...] = ()
    at: At = field(default=At(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    item: Condition
    at: At = field(default=At(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more conditions."""

    items: tuple[Condition, ...]
    at: At = field(default=At(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more conditions."""

    items: tuple[Condition, ...]
    at: At = field(default=At(0, 0), compare=False)


Operand = ColumnRef | Aggregate
Condition = Compare | Not | And | Or
Target = Operand | Condition


@dataclass(frozen=True, slots=True)
class Modifier:
    """How the target is to be predicted: CLASSIFY, RANK, TOP k, FORECAST n TIMEFRAMES."""

    classify: bool = False
    rank: bool = False
    top: int | None = None
    forecast: int | None = None
    at: At = field(default=At(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Entity:
    """Whom the prediction is for.

    Attributes:
        ref: the key column, or the table alone.
        keys: the keys to predict for; None for every row.
        at: where it stands.
    """

    ref: ColumnRef
    keys: tuple[Constant, ...] | None = None
    at: At = field(default=At(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query.

    Attributes:
        target: what to predict.
        entity: whom for.
        modifier: how.
        where: which entities, by what is known at the anchor.
        assuming: which entities, by what is assumed of the future.
        verb: None, ``EVALUATE`` or ``EXPLAIN`` in front of PREDICT.
        at: where it stands.
    """

    target: Target
    entity: Entity
    modifier: Modifier | None = None
    where: Condition | None = None
    assuming: Condition | None = None
    verb: str | None = None
    at: At = field(default=At(0, 0), compare=False)


def operands(node: Target | None) -> Iterator[Operand]:
    """The columns and aggregates a target or condition compares, from left to right, without nested filters."""
    if isinstance(node, ColumnRef | Aggregate):
        yield node
    elif isinstance(node, Compare):
        yield node.left
    elif isinstance(node, Not):
        yield from operands(node.item)
    elif isinstance(node, And | Or):
        for item in node.items:
            yield from operands(item)


def comparisons(node: Target | None) -> Iterator[Compare]:
    """The comparisons of a target or condition, from left to right, without nested filters."""
    if isinstance(node, Compare):
        yield node
    elif isinstance(node, Not):
        yield from comparisons(node.item)
    elif isinstance(node, And | Or):
        for item in node.items:
            yield from comparisons(item)


def aggregates(node: Target | None, nested: bool = True) -> Iterator[Aggregate]:
    """The aggregates of a target or condition, from left to right; each before those nested in its filter."""
    for operand in operands(node):
        if isinstance(operand, Aggregate):
            yield operand
            if nested:
                yield from aggregates(operand.where)
