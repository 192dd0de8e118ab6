"""Text: values that PostgreSQL writes as text, as the Arrow columns that reading the table itself gives."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from kincast.schema import Column

_PADDED = frozenset({1042, 1014})
"""Numbers of the types char(n) and char(n)[], whose spaces at the end do not count."""

_INFINITE = frozenset({"infinity", "-infinity"})
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^{},"]+)', re.DOTALL)
_BOUNDS = re.compile(r"^(\[[^\]]*\])+=")


def text_column(values: Sequence[str | None], column: Column, type_oid: int) -> pa.Array:
    """The values of one column.

    Lists and bytes are taken apart; all else stays text, which is then read as any other text of its stored type.

    Args:
        values: [n] as PostgreSQL's output functions write them, under ISO dates and UTC.
        column: what they are; ``stored`` decides.
        type_oid: number of the type in PostgreSQL.
    """
    if column.stored == "VARCHAR[]":
        lists = [None if value is None else parse_array(value, type_oid in _PADDED) for value in values]
        return pa.array(lists, pa.list_(pa.string()))
    if column.stored == "BLOB":
        return pa.array([None if value is None else bytes.fromhex(value[2:]) for value in values], pa.binary())
    if column.stored == "DATE" or column.stored.startswith("TIMESTAMP"):
        return pa.array([None if value in _INFINITE else value for value in values], pa.string())
    if type_oid in _PADDED:
        return pa.array([value and value.rstrip(" ") for value in values], pa.string())
    return pa.array(values, pa.string())


def parse_array(text: str, padded: bool = False) -> list[str | None]:
    """The items of an array as PostgreSQL writes it; those of several dimensions one after the other.

    Args:
        text: such as ``{a,"b c",NULL}``.
        padded: leave out spaces at the end of items.

    >>> parse_array('{a,"b \\\\"c\\\\"",NULL,"NULL"}')
    ['a', 'b "c"', None, 'NULL']
    """
    items: list[str | None] = []
    for match in _ITEM.finditer(_BOUNDS.sub("", text)):
        quoted, plain = match.groups()
        item = None if plain is not None and plain.upper() == "NULL" else plain
        if quoted is not None:
            item = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        items.append(item.rstrip(" ") if padded and item is not None else item)
    return items
