"""Kinds: the table of task kinds: which target is which kind of task.

Adding a kind of task is a row here and an objective in ``train``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kincast.query.family import NUMBERS, Family, column_family
from kincast.query.task import TaskKind
from kincast.query.tree import Aggregate, Arithmetic, ColumnRef, Function, Modifier, Target
from kincast.schema import Schema, SemanticType


class Shape(Enum):
    """What the target is."""

    CONDITION = "a condition"
    COLUMN = "a column"
    AGGREGATE = "an aggregate in a window"
    ARITHMETIC = "arithmetic of aggregates"
    TIMELESS = "an aggregate without a window"
    RELATIONAL = "an aggregate without a window, of facts of several relations"


class Form(Enum):
    """What the modifier asks for."""

    PLAIN = "nothing"
    CLASSIFY = "CLASSIFY"
    RANK = "RANK TOP k"
    FORECAST = "FORECAST n TIMEFRAMES"


class Value(Enum):
    """What the target's values are."""

    ANY = "anything"
    BOOLEAN = "boolean"
    NUMBER = "numbers"
    CATEGORY = "categories"
    LIST = "lists of categories"
    LINK = "keys of another table"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of target: all five must fit; an empty ``functions`` fits a target that is no aggregate."""

    kind: TaskKind
    shape: Shape
    functions: frozenset[Function]
    value: Value
    form: Form


_NONE: frozenset[Function] = frozenset()
_COUNTS = NUMBERS - {Function.TIME_TO}
_TIMES = frozenset({Function.TIME_TO})
_PICKS = frozenset({Function.FIRST, Function.LAST, Function.MIN, Function.MAX})
_LISTS = frozenset({Function.LIST_DISTINCT})

KINDS: tuple[Row, ...] = (
    Row(TaskKind.BINARY, Shape.CONDITION, _NONE, Value.ANY, Form.PLAIN),
    Row(TaskKind.BINARY, Shape.COLUMN, _NONE, Value.BOOLEAN, Form.PLAIN),
    Row(TaskKind.BINARY, Shape.AGGREGATE, _PICKS, Value.BOOLEAN, Form.PLAIN),
    Row(TaskKind.REGRESSION, Shape.COLUMN, _NONE, Value.NUMBER, Form.PLAIN),
    Row(TaskKind.REGRESSION, Shape.AGGREGATE, _COUNTS, Value.ANY, Form.PLAIN),
    Row(TaskKind.REGRESSION, Shape.AGGREGATE, _PICKS, Value.NUMBER, Form.PLAIN),
    Row(TaskKind.REGRESSION, Shape.AGGREGATE, _TIMES, Value.ANY, Form.PLAIN),
    Row(TaskKind.REGRESSION, Shape.ARITHMETIC, _NONE, Value.ANY, Form.PLAIN),
    Row(TaskKind.MULTICLASS, Shape.COLUMN, _NONE, Value.CATEGORY, Form.PLAIN),
    Row(TaskKind.MULTICLASS, Shape.COLUMN, _NONE, Value.LINK, Form.PLAIN),
    Row(TaskKind.MULTICLASS, Shape.AGGREGATE, _PICKS, Value.CATEGORY, Form.PLAIN),
    Row(TaskKind.FORECASTING, Shape.AGGREGATE, _COUNTS, Value.ANY, Form.FORECAST),
    Row(TaskKind.FORECASTING, Shape.AGGREGATE, _PICKS, Value.NUMBER, Form.FORECAST),
    Row(TaskKind.MULTILABEL, Shape.COLUMN, _NONE, Value.LIST, Form.CLASSIFY),
    Row(TaskKind.MULTILABEL, Shape.AGGREGATE, _LISTS, Value.ANY, Form.CLASSIFY),
    Row(TaskKind.RANKING, Shape.COLUMN, _NONE, Value.LIST, Form.RANK),
    Row(TaskKind.TEMPORAL_LINK, Shape.AGGREGATE, _LISTS, Value.LINK, Form.RANK),
    Row(TaskKind.RANKING, Shape.AGGREGATE, _LISTS, Value.ANY, Form.RANK),
    Row(TaskKind.STATIC_LINK, Shape.TIMELESS, _LISTS, Value.LINK, Form.RANK),
    Row(TaskKind.KNOWLEDGE, Shape.RELATIONAL, _LISTS, Value.LINK, Form.RANK),
)
"""The first row that fits says the kind."""


def shape_of(target: Target) -> Shape:
    """What a target is."""
    if isinstance(target, ColumnRef):
        return Shape.COLUMN
    if isinstance(target, Aggregate):
        if target.by is not None:
            return Shape.RELATIONAL
        return Shape.AGGREGATE if target.window else Shape.TIMELESS
    if isinstance(target, Arithmetic):
        return Shape.ARITHMETIC
    return Shape.CONDITION


def form_of(modifier: Modifier | None) -> Form:
    """What a modifier asks for."""
    if modifier is None:
        return Form.PLAIN
    if modifier.forecast is not None:
        return Form.FORECAST
    return Form.CLASSIFY if modifier.classify else Form.RANK


def value_of(target: Target, schema: Schema) -> Value:
    """What a target's values are."""
    if not isinstance(target, ColumnRef | Aggregate):
        return Value.ANY
    ref = target if isinstance(target, ColumnRef) else target.column
    if ref.star or ref.bound is None:
        return Value.ANY
    if any(ref.bound.column.name in link.columns for link in schema.links_from(ref.bound.table)):
        return Value.LINK
    meaning, family = ref.bound.column.type, column_family(ref.bound.column)
    if meaning in (SemanticType.CATEGORICAL, SemanticType.ID):
        return Value.CATEGORY
    fitting = {
        (SemanticType.BOOLEAN, Family.BOOLEAN): Value.BOOLEAN,
        (SemanticType.NUMERICAL, Family.NUMBER): Value.NUMBER,
        (SemanticType.MULTICATEGORICAL, Family.LIST): Value.LIST,
    }
    return fitting.get((meaning, family), Value.ANY)


def find_kind(target: Target, modifier: Modifier | None, schema: Schema) -> Row | None:
    """The row of the table that a resolved target and its modifier fit; None when none does."""
    shape, form, value = shape_of(target), form_of(modifier), value_of(target, schema)
    function = target.function if isinstance(target, Aggregate) else None
    for row in KINDS:
        fits = row.shape is shape and row.form is form and row.value in (Value.ANY, value)
        if fits and ((function is None and not row.functions) or function in row.functions):
            return row
    return None
