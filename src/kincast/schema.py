"""Schema: what a database looks like: tables, columns with their meaning, keys, time and links."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from kincast.clock import Span
from kincast.errors import SchemaError


class SemanticType(StrEnum):
    """What a column means to a model; how it is stored is another matter."""

    NUMERICAL = "numerical"
    CATEGORICAL = "categorical"
    MULTICATEGORICAL = "multicategorical"  # a list, or text with separators
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    VECTOR = "vector"  # numbers, always as many: an embedding made elsewhere, a position
    SEQUENCE = "sequence"  # numbers, now more, now fewer
    ID = "id"  # names a row; never a feature
    IGNORED = "ignored"  # the user's or the inference's decision to leave it out


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: as the database has it.
        type: what it means.
        stored: type name in DuckDB's spelling as read from the source, such as ``BIGINT`` or ``VARCHAR``.
        format: how stored text or numbers are read as time: ``epoch_s``, ``epoch_ms``, ``epoch_us`` or a
            strptime pattern; None where the stored type is already a date or timestamp.
        separator: what separates the items of a multicategorical text column; None for lists.
    """

    name: str
    type: SemanticType
    stored: str
    format: str | None = None
    separator: str | None = None


@dataclass(frozen=True, slots=True)
class RowTime:
    """Where the time of a table's rows comes from: its own column, or the row a foreign key points to.

    Attributes:
        column: own date or timestamp column; None when the time comes through a link.
        clock: own time-of-day column, added to a date ``column`` where it is not null.
        via: foreign key column of this table whose target row gives the time; None for own time.
        shift: added to the time found, such as -1 day for a qualifying session before its race.
    """

    column: str | None = None
    clock: str | None = None
    via: str | None = None
    shift: Span | None = None

    def __post_init__(self) -> None:
        if (self.column is None) == (self.via is None):
            raise SchemaError("the time of a table is either a column or a link ('via'), exactly one of them")


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: as the database has it; ``schema.table`` where that is needed to find it.
        columns: in the database's order.
        key: primary key columns; empty when the table has none (its rows are then known by their order).
        time: where its rows' time comes from; None for a timeless table.
        end_time: column with the instant from which a row no longer exists; None without one.
        versioned: the rows are versions of what the key names, each valid from its time up to its end; one key may
            have many, one after the other. A link to such a table leads to the version valid at the instant asked for.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    time: RowTime | None = None
    end_time: str | None = None
    versioned: bool = False

    def column(self, name: str) -> Column:
        """The column of that exact name.

        Raises:
            SchemaError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        names = ", ".join(column.name for column in self.columns)
        raise SchemaError(f"table {self.name} has no column {name}", hint=f"it has {names}")

    def has_column(self, name: str) -> bool:
        """True when a column has exactly that name."""
        return any(column.name == name for column in self.columns)


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key: ``columns`` of ``table`` name a row of ``target`` by its ``target_columns``."""

    table: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """``orders.customer_id -> customers.customer_id``; composite keys as ``goals.(date, home) -> …``."""
        return f"{_dotted(self.table, self.columns)} -> {_dotted(self.target, self.target_columns)}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables and the links between them; frozen, checked when made."""

    tables: tuple[Table, ...]
    links: tuple[Link, ...] = field(default=())

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise SchemaError(problem)

    def __iter__(self) -> Iterator[Table]:
        return iter(self.tables)

    def table(self, name: str) -> Table:
        """The table of that exact name.

        Raises:
            SchemaError: there is none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise SchemaError(f"there is no table {name}", hint=f"there are {', '.join(t.name for t in self.tables)}")

    def has_table(self, name: str) -> bool:
        """True when a table has exactly that name."""
        return any(table.name == name for table in self.tables)

    def links_from(self, table: str) -> tuple[Link, ...]:
        """Foreign keys that the table has."""
        return tuple(link for link in self.links if link.table == table)

    def links_to(self, table: str) -> tuple[Link, ...]:
        """Foreign keys that point at the table."""
        return tuple(link for link in self.links if link.target == table)

    def time_link(self, table: Table) -> Link | None:
        """The link through which the table's rows take their time; None when they do not."""
        if table.time is None or table.time.via is None:
            return None
        return next(link for link in self.links_from(table.name) if table.time.via in link.columns)

    def in_time_order(self) -> list[Table]:
        """Tables such that each comes after the table it takes its time from.

        Raises:
            SchemaError: the times go round in a circle.
        """
        ordered: list[Table] = []
        waiting = list(self.tables)
        while waiting:
            done = {table.name for table in ordered}
            ready = [t for t in waiting if (link := self.time_link(t)) is None or link.target in done]
            if not ready:
                raise SchemaError(f"the times of {', '.join(t.name for t in waiting)} go round in a circle")
            ordered += ready
            waiting = [t for t in waiting if t not in ready]
        return ordered

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``Schema.from_dict`` reads them back."""
        values = asdict(self)
        for table in values["tables"]:
            if not table["versioned"]:  # so that the digest of a schema without versions stays what it was
                del table["versioned"]
        return values

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Schema:
        """Inverse of ``as_dict``."""
        return Schema(
            tables=tuple(_table_from(table) for table in values["tables"]),
            links=tuple(
                Link(v["table"], tuple(v["columns"]), v["target"], tuple(v["target_columns"])) for v in values["links"]
            ),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the schema in canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def _problems(self) -> Iterator[str]:
        names = [table.name for table in self.tables]
        for name in {n for n in names if names.count(n) > 1}:
            yield f"table {name} is there twice"
        for table in self.tables:
            yield from self._table_problems(table)
        for link in self.links:
            yield from self._link_problems(link)

    def _table_problems(self, table: Table) -> Iterator[str]:
        columns = [column.name for column in table.columns]
        for name in {n for n in columns if columns.count(n) > 1}:
            yield f"column {table.name}.{name} is there twice"
        time = table.time or RowTime(column="")
        named: list[tuple[str, str | None]] = [("key", column) for column in table.key]
        for role, used in [
            *named,
            ("time", time.column),
            ("clock", time.clock),
            ("via", time.via),
            ("end_time", table.end_time),
        ]:
            if used and used not in columns:
                yield f"the {role} of table {table.name} names column {used}, which it does not have"
        if table.versioned and not (table.key and time.column and table.end_time):
            yield f"table {table.name} has versions, so it needs a key and the columns they are valid from and to"
        if time.via and not any(time.via in link.columns for link in self.links_from(table.name)):
            yield f"table {table.name} takes its time via {time.via}, but no link starts from that column"

    def _link_problems(self, link: Link) -> Iterator[str]:
        for name, columns in ((link.table, link.columns), (link.target, link.target_columns)):
            if not self.has_table(name):
                yield f"link {link.name} names table {name}, which is not there"
                return
            for column in columns:
                if not self.table(name).has_column(column):
                    yield f"link {link.name} names column {name}.{column}, which is not there"
        if len(link.columns) != len(link.target_columns):
            yield f"link {link.name} has not as many columns on one side as on the other"
        time = self.table(link.table).time
        if self.table(link.target).versioned and time is not None and time.via in link.columns:
            yield f"table {link.table} cannot take its time from {link.target}, which has versions and so many times"
        if self.table(link.target).key != link.target_columns:
            yield f"link {link.name} must end at the primary key of {link.target}"


def _dotted(table: str, columns: tuple[str, ...]) -> str:
    return f"{table}.{columns[0]}" if len(columns) == 1 else f"{table}.({', '.join(columns)})"


def _table_from(values: dict[str, Any]) -> Table:
    time = values["time"]
    if time is not None:
        shift = time["shift"]
        time = RowTime(time["column"], time["clock"], time["via"], Span(**shift) if shift else None)
    return Table(
        name=values["name"],
        columns=tuple(Column(**{**c, "type": SemanticType(c["type"])}) for c in values["columns"]),
        key=tuple(values["key"]),
        time=time,
        end_time=values["end_time"],
        versioned=values.get("versioned", False),
    )
