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
    """Where a node stands: offsets of its first character and behind its last.

    Attributes:
        start: of the first character.
        end: behind the last.
        origin: name of the target in the project file whose text it is; empty for the query's own.
    """

    start: int
    end: int
    origin: str = ""

    def to(self, other: At) -> At:
        """From here to the end of another."""
        return At(self.start, other.end, self.origin)


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
    MEDIAN = "MEDIAN"
    STDDEV = "STDDEV"
    QUANTILE = "QUANTILE"
    EXISTS = "EXISTS"
    TIME_TO = "TIME_TO"


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
        column: what is aggregated; ``table.*`` for COUNT, EXISTS and TIME_TO.
        where: which of the rows count.
        level: of QUANTILE, from 0 to 1.
        window: when; None where it is left out.
        via: foreign keys that settle which way leads to the fact table.
        by: column of the fact table that names the relation; None where links are all of one kind.
        at: where it stands.
        path: links from the fact table up to the table the aggregate is for, last link first (nearest to that
            table first); set by the resolver.
    """

    function: Function
    column: ColumnRef
    where: Condition | None = None
    level: Decimal | None = None
    window: Window | None = None
    via: tuple[ColumnRef, ...] = ()
    by: ColumnRef | None = None
    at: At = field(default=At(0, 0), compare=False)
    path: tuple[Link, ...] = field(default=(), compare=False)

    @property
    def fact(self) -> str:
        """The fact table, once resolved."""
        return self.path[-1].table


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two numbers put together; a division by zero has no value.

    Attributes:
        sign: one of ``+ - * /``.
        left: an aggregate, a constant or arithmetic.
        right: the same.
        at: where it stands.
    """

    sign: str
    left: Operand
    right: Operand
    at: At = field(default=At(0, 0), compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison of an operand, with constants or with another operand.

    Attributes:
        left: what is compared; never a constant.
        op: how.
        right: none for IS NULL, two constants for BETWEEN, any number of them for IN, else one operand.
        at: where it stands.
    """

    left: Operand
    op: Op
    right: tuple[Operand, ...] = ()
    at: At = field(default=At(0, 0), compare=False)

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The constants it compares with; empty when the right side is another operand."""
        return tuple(item for item in self.right if isinstance(item, Constant))

    @property
    def sides(self) -> tuple[Operand, ...]:
        """Both sides, without constants."""
        return tuple(item for item in (self.left, *self.right) if not isinstance(item, Constant))


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


Leaf = ColumnRef | Aggregate
Operand = ColumnRef | Aggregate | Arithmetic | Constant
Condition = Compare | Not | And | Or
Target = Operand | Condition
Key = tuple[Constant, ...]
"""A key of one or more columns."""


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
        more: the further key columns, where a key of several is written out.
        keys: the keys to predict for; None for every row.
        at: where it stands.
    """

    ref: ColumnRef
    more: tuple[ColumnRef, ...] = ()
    keys: tuple[Key, ...] | None = None
    at: At = field(default=At(0, 0), compare=False)


class Mode(StrEnum):
    """What is to be done with a query."""

    PREDICT = "PREDICT"
    EVALUATE = "EVALUATE"
    EXPLAIN = "EXPLAIN"


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query.

    Attributes:
        target: what to predict.
        entity: whom for.
        modifier: how.
        where: which entities, by what is known at the anchor.
        assuming: which entities, by what is assumed of the future.
        mode: PREDICT, or what stands in front of it: ``EVALUATE`` or ``EXPLAIN``.
        more: further targets, behind commas.
        within: the window of WITHIN, kept while it waits for a target named in the project file.
        at: where it stands.
    """

    target: Target
    entity: Entity
    modifier: Modifier | None = None
    where: Condition | None = None
    assuming: Condition | None = None
    mode: Mode = Mode.PREDICT
    more: tuple[Target, ...] = ()
    within: Window | None = None
    at: At = field(default=At(0, 0), compare=False)

    @property
    def targets(self) -> tuple[Target, ...]:
        """All targets, the first one first."""
        return (self.target, *self.more)

    @property
    def parts(self) -> tuple[Target | None, ...]:
        """Everything that compares or aggregates: the targets and the two filters."""
        return (*self.targets, self.where, self.assuming)


def leaves(node: Target | None) -> Iterator[Leaf]:
    """The columns and aggregates of a target or condition, from left to right, without nested filters."""
    if isinstance(node, ColumnRef | Aggregate):
        yield node
    elif isinstance(node, Compare):
        for side in (node.left, *node.right):
            yield from leaves(side)
    elif isinstance(node, Arithmetic):
        yield from leaves(node.left)
        yield from leaves(node.right)
    elif isinstance(node, Not):
        yield from leaves(node.item)
    elif isinstance(node, And | Or):
        for item in node.items:
            yield from leaves(item)


def arithmetics(node: Target | None) -> Iterator[Arithmetic]:
    """Every two numbers put together, outermost first, without nested filters."""
    if isinstance(node, Arithmetic):
        yield node
        yield from arithmetics(node.left)
        yield from arithmetics(node.right)
    elif isinstance(node, Compare):
        for side in (node.left, *node.right):
            yield from arithmetics(side)
    elif isinstance(node, Not):
        yield from arithmetics(node.item)
    elif isinstance(node, And | Or):
        for item in node.items:
            yield from arithmetics(item)


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
    for leaf in leaves(node):
        if isinstance(leaf, Aggregate):
            yield leaf
            if nested:
                yield from aggregates(leaf.where)
