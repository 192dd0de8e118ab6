"""Grid: the small table of instants that facts are joined with: one row an anchor, or one a step of a forecast."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlglot import exp

from kincast.clock import Span, add
from kincast.errors import DataError
from kincast.query import value as sql
from kincast.query.tree import Window

Expression = Any
_EPOCH = datetime(1970, 1, 1)


@dataclass
class Grid:
    """Instants, and for each window used two columns with where it starts and ends.

    Attributes:
        name: of the table in the statement.
        anchors: instants in microseconds, ascending.
        steps: windows in a row that a forecast covers; 1 otherwise.
        length: from one step to the next; None for one step.
        windows: window → its number.
    """

    name: str
    anchors: Sequence[int]
    steps: int = 1
    length: Span | None = None
    windows: dict[Window, int] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that tell its rows apart."""
        return ("as_of",) if self.length is None else ("as_of", "step")

    def inside(self, window: Window, time: Expression, alias: str) -> Expression:
        """Condition: a time lies in a row's window."""
        number = self.windows.setdefault(window, len(self.windows))
        inside = exp.LTE(this=time, expression=sql.column(alias, f"end_{number}"))
        if window.start is None:
            return inside
        return exp.and_(exp.GT(this=time.copy(), expression=sql.column(alias, f"start_{number}")), inside)

    def reach(self, window: Window) -> tuple[int | None, int] | None:
        """From after which instant to which one the windows of all rows reach; None without rows."""
        edges = list(self.edges(window))
        starts = [start for start, _ in edges if start is not None]
        if not edges:
            return None
        return (min(starts) if len(starts) == len(edges) else None), max(end for _, end in edges)

    def is_disjoint(self, window: Window) -> bool:
        """True when no two rows' windows share an instant."""
        edges = sorted((start, end) for start, end in self.edges(window) if start is not None)
        if len(edges) != len(self.anchors) * self.steps:
            return False
        return all(end <= following for (_, end), (following, _) in itertools.pairwise(edges))

    def edges(self, window: Window) -> Iterator[tuple[int | None, int]]:
        """Start and end of a window, row by row."""
        for anchor in self.anchors:
            for step in range(self.steps):
                start, end = window.start_span, window.end_span
                yield (None if start is None else self.moved(anchor, step, start)), self.moved(anchor, step, end)

    def moved(self, anchor: int, step: int, span: Span) -> int:
        """An instant a span after a step of an anchor; in calendar units months are clipped once, from the anchor."""
        if self.length is None or not step:
            return shifted(anchor, span)
        if span.unit == self.length.unit:
            return shifted(anchor, Span(span.count + step * self.length.count, span.unit))
        return shifted(shifted(anchor, self.length * step), span)

    def table(self) -> Expression:
        """The rows as a table of constants."""
        names = list(self.keys)
        names += [f"{edge}_{number}" for number in self.windows.values() for edge in ("start", "end")]
        columns = [list(self.edges(window)) for window in self.windows]
        rows = []
        for place, anchor in enumerate(anchor for anchor in self.anchors for _ in range(self.steps)):
            cells = [moment(anchor)]
            if self.length is not None:
                cells.append(exp.Literal.number(place % self.steps))
            for edges in columns:
                start, end = edges[place]
                cells += [exp.null() if start is None else moment(start), moment(end)]
            rows.append(exp.Tuple(expressions=cells))
        alias = exp.TableAlias(this=sql.name("v"), columns=[sql.name(text) for text in names])
        return exp.select("*").from_(exp.Values(expressions=rows, alias=alias))


def moment(instant_us: int) -> Expression:
    """A timestamp constant of an instant."""
    return sql.moment(_EPOCH + timedelta(microseconds=instant_us))


def shifted(instant_us: int, span: Span) -> int:
    """An instant moved by a span.

    Raises:
        DataError: it would leave the calendar.
    """
    try:
        moved = add(instant_us, span)
        _EPOCH + timedelta(microseconds=moved)
    except (OverflowError, ValueError):
        what = f"a window of {span} leaves the calendar"
        raise DataError(what, hint="check the times of the rows, or use a shorter window") from None
    return moved
