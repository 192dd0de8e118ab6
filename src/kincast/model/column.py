"""Column: which inputs of an encoder a column of the user's becomes."""

from __future__ import annotations

from dataclasses import dataclass

from kincast.feature.spec import CALENDAR_WIDTH, TableSpec
from kincast.schema import Table

TIME = "time"
"""Name of the time of rows that take it from another table."""


@dataclass(frozen=True, slots=True)
class ColumnInputs:
    """The inputs of one column.

    Attributes:
        column: its name; ``TIME`` where the time of a row comes through a link.
        numbers: places among the numbers.
        codes: places among the codes.
        ages: places among the ages.
    """

    column: str
    numbers: tuple[slice, ...] = ()
    codes: tuple[int, ...] = ()
    ages: tuple[int, ...] = ()


def column_inputs(spec: TableSpec, table: Table) -> tuple[ColumnInputs, ...]:
    """Every column that a model reads of a table, each once, in the order of the inputs.

    Args:
        spec: the table's inputs.
        table: says which column its rows' time is.
    """
    found: dict[str, ColumnInputs] = {}

    def add(name: str, *, numbers: slice | None = None, code: int | None = None, age: int | None = None) -> None:
        known = found.get(name, ColumnInputs(name))
        found[name] = ColumnInputs(
            name,
            known.numbers + (() if numbers is None else (numbers,)),
            known.codes + (() if code is None else (code,)),
            known.ages + (() if age is None else (age,)),
        )

    start = 0
    blocks: list[tuple[str, int]] = []  # in the order of ``numeric_width``
    for group in (spec.numeric, spec.items, spec.text, spec.vectors, spec.sequences):
        blocks += [(part.column, part.width) for part in group]
    for name, width in blocks:
        add(name, numbers=slice(start, start + width))
        start += width
    for place, categorical in enumerate(spec.categorical):
        add(categorical.column, code=place)
    for place, instant in enumerate(spec.instants, start=1):
        add(instant.column, age=place)
    if spec.calendar:
        own = TIME if table.time is None or table.time.column is None else table.time.column
        add(own, numbers=slice(start, start + CALENDAR_WIDTH), age=0)
    return tuple(found.values())
