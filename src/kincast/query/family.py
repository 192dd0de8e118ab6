"""Family: what can be done with the values of a column or aggregate: number, text, boolean, time or list."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from kincast.query.tree import Aggregate, Arithmetic, Constant, Function, Leaf, Operand
from kincast.schema import Column, SemanticType
from kincast.source.cast import kept_type

NUMBERS = frozenset(
    {Function.COUNT, Function.COUNT_DISTINCT, Function.SUM, Function.AVG}
    | {Function.MEDIAN, Function.STDDEV, Function.QUANTILE, Function.TIME_TO}
)
"""Functions whose values are numbers, whatever they are taken of."""

ALWAYS_VALUED = frozenset({Function.COUNT, Function.COUNT_DISTINCT, Function.SUM, Function.EXISTS, Function.TIME_TO})
"""Functions that have a value where there are no rows; the others have none there."""

_NUMBERS = ("DECIMAL", "FLOAT", "DOUBLE", "INTEGER")


class Family(StrEnum):
    """How values compare."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIME = "time"
    LIST = "list"
    OTHER = "other"


def column_family(column: Column) -> Family:
    """How the values of a column compare, by what it means and then by how it is stored.

    >>> column_family(Column("age", SemanticType.CATEGORICAL, "BIGINT"))
    <Family.NUMBER: 'number'>
    """
    stored = kept_type(column)
    if column.type is SemanticType.MULTICATEGORICAL:
        return Family.LIST if stored.endswith("]") or stored == "VARCHAR" else Family.OTHER
    if stored.endswith("]"):
        return Family.LIST
    if column.type is SemanticType.BOOLEAN or stored == "BOOLEAN":
        return Family.BOOLEAN if not is_time(stored) else Family.TIME
    if is_number(stored) or (column.type is SemanticType.NUMERICAL and stored == "VARCHAR"):
        return Family.NUMBER
    if is_time(stored):
        return Family.TIME
    return Family.TEXT if stored in ("VARCHAR", "UUID") or stored.startswith("ENUM") else Family.OTHER


def operand_family(operand: Operand) -> Family:
    """How the values of an operand compare; of LIST_DISTINCT, its items' family is ``item_family``."""
    if isinstance(operand, Constant):
        return _constant_family(operand)
    if isinstance(operand, Arithmetic):
        return Family.NUMBER
    if not isinstance(operand, Aggregate):
        return column_family(operand.column.column)
    if operand.function in NUMBERS:
        return Family.NUMBER
    if operand.function is Function.EXISTS:
        return Family.BOOLEAN
    if operand.function is Function.LIST_DISTINCT:
        return Family.LIST
    return column_family(operand.column.column.column)


def _constant_family(constant: Constant) -> Family:
    value = constant.value
    if isinstance(value, bool):
        return Family.BOOLEAN
    if isinstance(value, int | Decimal):
        return Family.NUMBER
    return Family.TIME if isinstance(value, datetime) else Family.TEXT if isinstance(value, str) else Family.OTHER


def item_family(operand: Leaf) -> Family:
    """How the items of a list compare; lists of lists are OTHER."""
    column = operand.column.column.column if isinstance(operand, Aggregate) else operand.column.column
    if isinstance(operand, Aggregate) and operand.function is Function.LIST_DISTINCT:
        return column_family(column)
    stored = kept_type(column)
    if not stored.endswith("]"):
        return Family.TEXT
    item = Column(column.name, SemanticType.IGNORED, stored[: stored.rindex("[")])
    return column_family(item) if not item.stored.endswith("]") else Family.OTHER


def is_number(stored: str) -> bool:
    """True for DuckDB's numeric types."""
    return stored.endswith("INT") or stored.startswith(_NUMBERS)


def is_time(stored: str) -> bool:
    """True for dates and timestamps."""
    return stored == "DATE" or stored.startswith("TIMESTAMP")
