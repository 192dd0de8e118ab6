"""Reason: what moved a number, in the user's tables and keys, as JSON and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ColumnReason:
    """A column of one row.

    Attributes:
        column: its name.
        value: what it holds.
        amount: what it adds, by integrated gradients.
        change: the number minus what it is with the column at its average; None where that was not asked.
    """

    column: str
    value: Any
    amount: float
    change: float | None = None


@dataclass(frozen=True, slots=True)
class RowReason:
    """A linked row.

    Attributes:
        table: its table.
        key: as JSON has it; None in a table without keys.
        time: when it happened; None in a table without times.
        change: the number minus what it is without the row and what was reached through it.
        columns: those of its columns that add most.
    """

    table: str
    key: Any
    time: str | None
    change: float
    columns: tuple[ColumnReason, ...]

    @property
    def name(self) -> str:
        """The row in words."""
        key = "" if self.key is None else f" {self.key}"
        return f"{self.table}{key}" if self.time is None else f"{self.table}{key} ({self.time})"


@dataclass(frozen=True, slots=True)
class LinkReason:
    """All rows found along a link.

    Attributes:
        link: the edge type, such as ``customers.customer_id->orders.customer_id``.
        rows: how many different rows were found along it.
        change: the number minus what it is without them and what was reached through them.
    """

    link: str
    rows: int
    change: float


@dataclass(frozen=True, slots=True)
class ColumnTotal:
    """A column over all rows of its table that were read.

    Attributes:
        table: its table.
        column: its name.
        rows: how many.
        amount: what it adds, by integrated gradients.
    """

    table: str
    column: str
    rows: int
    amount: float


@dataclass(frozen=True, slots=True)
class Why:
    """What moved one number.

    Attributes:
        key: of the row that is predicted, as JSON has it.
        as_of: the instant.
        of: which number of the prediction, such as ``{"class": "shop"}``; empty where there is one.
        noun: ``probability``, ``value`` or ``score``; and whether it is the network's alone, which is only part of a
            blend.
        score: the number.
        average: what it is for the same neighbourhood with average rows in all places.
        num_rows: rows that were read, its own included.
        num_tried: linked rows that were taken out one by one.
        links: the largest changes first.
        rows: the same.
        own: columns of its own row, the largest changes first.
        columns: of all rows, the largest amounts first.
        rest: amounts of columns that are not in ``columns``.
        missed: by how much all amounts together miss the score minus the average.
        past_change: the number minus what it is when no past value is known; None but for forecasts that read any.
        past: past values of the target, each with its lag as column.
        item: columns of the item, what it is alone, and how much it is in demand; empty but for links.
    """

    key: Any
    as_of: str
    of: Plain
    noun: str
    score: float
    average: float
    num_rows: int
    num_tried: int
    links: tuple[LinkReason, ...]
    rows: tuple[RowReason, ...]
    own: tuple[ColumnReason, ...]
    columns: tuple[ColumnTotal, ...]
    rest: float
    missed: float
    past_change: float | None = None
    past: tuple[ColumnReason, ...] = ()
    item: tuple[ColumnReason, ...] = ()

    def as_dict(self) -> Plain:
        """Plain JSON values; what a kind of task has not is left out."""
        said: Plain = {
            "key": self.key,
            "as_of": self.as_of,
            "of": self.of,
            "noun": self.noun,
            "score": self.score,
            "average": self.average,
            "num_rows": self.num_rows,
            "num_tried": self.num_tried,
            "links": [{"link": one.link, "rows": one.rows, "change": one.change} for one in self.links],
            "rows": [_row(one) for one in self.rows],
            "own": [_column(one) for one in self.own],
            "columns": [
                {"table": one.table, "column": one.column, "rows": one.rows, "amount": one.amount}
                for one in self.columns
            ],
            "rest": self.rest,
            "missed": self.missed,
        }
        if self.past_change is not None:
            said["past"] = {"change": self.past_change, "values": [_column(one) for one in self.past]}
        if self.item:
            said["item"] = [_column(one) for one in self.item]
        return said

    def sentences(self, most: int) -> list[str]:
        """The largest changes as one line each, such as ``orders 5312 (2011-10-02), amount 12.0: +0.041``."""
        lines = [(link.change, f"{link.rows} {_rows(link)} along {link.link}") for link in self.links]
        for row in self.rows:
            first = f", {row.columns[0].column} {row.columns[0].value}" if row.columns else ""
            lines.append((row.change, f"{row.name}{first}"))
        lines += [(one.change or 0.0, f"own {one.column} {one.value}") for one in self.own]
        if self.past_change is not None:
            lines.append((self.past_change, "past values"))
        lines.sort(key=lambda line: -abs(line[0]))
        return [f"{text}: {signed(change)}" for change, text in lines[:most]]


def signed(number: float) -> str:
    """A change with its sign, to four digits.

    >>> signed(0.04123), signed(-1234.5)
    ('+0.04123', '-1,234')
    """
    return f"{number:+,.0f}" if abs(number) >= 1000 else f"{number:+.4g}"


def _rows(link: LinkReason) -> str:
    return "row" if link.rows == 1 else "rows"


def _column(one: ColumnReason) -> Plain:
    said = {"column": one.column, "value": one.value, "amount": one.amount}
    return said if one.change is None else said | {"change": one.change}


def _row(one: RowReason) -> Plain:
    said = {"table": one.table, "key": one.key, "time": one.time, "change": one.change}
    return said | {"columns": [_column(column) for column in one.columns]}
