"""Fact: rows that were read, in the user's own words: keys, times and the values of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.clock import format_instant
from kincast.model.column import TIME
from kincast.model.history import HISTORY_TABLE
from kincast.model.score import InputLoader
from kincast.predict.meant import plain_key

Int64s = NDArray[np.int64]
MOST_LETTERS = 200
"""Of a value that is shown."""


class Facts:
    """Keys, times and values of rows that a loader reads.

    Args:
        loader: reads them.
    """

    def __init__(self, loader: InputLoader) -> None:
        self._loader = loader
        self._schema = loader.graph.schema

    def keys(self, table: str, rows: Int64s) -> list[Any]:
        """The key of each row, as JSON has it; None in a table without keys. A past label has its entity's."""
        history = self._loader.history
        if table == HISTORY_TABLE and history is not None:
            table, rows = history.entity, history.rows[rows]
        if not self._schema.table(table).key:
            return [None] * len(rows)
        return [plain_key(row) for row in self._loader.snapshot.keys_of(table, rows).to_pylist()]

    def times(self, table: str, rows: Int64s) -> list[str | None]:
        """The time of each row; None in a table without times."""
        tables = self._loader.graph.tables if table == HISTORY_TABLE else self._loader.snapshot.tables
        time_us = tables[table].time_us
        if time_us is None:
            return [None] * len(rows)
        return [format_instant(instant) for instant in np.asarray(time_us[rows]).tolist()]

    def values(self, table: str, rows: Int64s, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The values of some columns of each row, as JSON has them; the time that comes through a link included."""
        history, snapshot = self._loader.history, self._loader.snapshot
        stored = [name for name in dict.fromkeys(columns) if name != TIME or self._has(table, name)]
        if table == HISTORY_TABLE and history is not None:
            found = history.columns(snapshot, stored, rows).to_pylist()
        else:
            found = snapshot.take(table, stored, rows).to_pylist() if stored else [{} for _ in rows]
        said = [{name: plain(value) for name, value in row.items()} for row in found]
        if len(stored) < len(set(columns)):
            for row, time in zip(said, self.times(table, rows), strict=True):
                row[TIME] = time
        return said

    def _has(self, table: str, name: str) -> bool:
        return any(column.name == name for column in self._schema.table(table).columns)


def plain(value: Any) -> Any:
    """A value as JSON has it; long ones are cut.

    >>> plain("a" * 201) == "a" * 199 + "…"
    True
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, datetime):
        value = value.replace(tzinfo=None).isoformat(sep=" ").removesuffix(" 00:00:00")
    elif isinstance(value, date):
        value = value.isoformat()
    elif isinstance(value, timedelta):
        value = f"{value.total_seconds():g} s"
    text = str(value)
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
