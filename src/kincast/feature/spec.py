"""Spec: how each column becomes numbers, with the statistics fitted on the training period; plain JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kincast.errors import VersionError

MISSING_CODE = 0
UNSEEN_CODE = 1
FIRST_CODE = 2  # code of the first known category

Transform = Literal["none", "log"]


@dataclass(frozen=True, slots=True)
class Numeric:
    """A numerical or boolean column: ``clip((f(x) - center) / scale)``; a missing value becomes 0.

    Attributes:
        column: its name.
        transform: ``log`` is ``sign(x) log(1 + |x|)``, for long tails.
        center: mean over the training period, after the transform.
        scale: standard deviation over the training period, after the transform.
        flag_missing: one more input that says the value was missing.
    """

    column: str
    transform: Transform
    center: float
    scale: float
    flag_missing: bool

    @property
    def width(self) -> int:
        """Number of inputs."""
        return 2 if self.flag_missing else 1


@dataclass(frozen=True, slots=True)
class Categorical:
    """A categorical column: one code a row; 0 missing, 1 not seen in training, then the categories in order."""

    column: str
    categories: tuple[str, ...]

    @property
    def num_codes(self) -> int:
        """Number of different codes."""
        return FIRST_CODE + len(self.categories)


@dataclass(frozen=True, slots=True)
class Items:
    """A multi-categorical column: one input for each of its known items, 1 where the row has it."""

    column: str
    items: tuple[str, ...]
    separator: str | None

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Text:
    """A text column: its words hashed into ``width`` signed counts of unit length."""

    column: str
    width: int


@dataclass(frozen=True, slots=True)
class Instant:
    """A timestamp column that is not the row's own time; the model sees its distance to the seed's as-of instant."""

    column: str


@dataclass(frozen=True, slots=True)
class TableSpec:
    """All inputs of one table."""

    table: str
    numeric: tuple[Numeric, ...] = ()
    categorical: tuple[Categorical, ...] = ()
    items: tuple[Items, ...] = ()
    text: tuple[Text, ...] = ()
    instants: tuple[Instant, ...] = ()
    calendar: bool = False  # day of week, day of year and hour of the row's own time

    @property
    def numeric_width(self) -> int:
        """Columns of the float32 matrix."""
        width = sum(numeric.width for numeric in self.numeric) + sum(items.width for items in self.items)
        width += sum(text.width for text in self.text)
        return width + (CALENDAR_WIDTH if self.calendar else 0)

    @property
    def columns(self) -> list[str]:
        """Names of all columns that are inputs."""
        groups = (self.numeric, self.categorical, self.items, self.text, self.instants)
        return [part.column for group in groups for part in group]


CALENDAR_WIDTH = 6  # sine and cosine of three cycles


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The inputs of every table, and up to which instant their statistics were fitted."""

    tables: tuple[TableSpec, ...]
    until_us: int

    def table(self, name: str) -> TableSpec:
        """The spec of that table.

        Raises:
            VersionError: the model was not trained with that table.
        """
        for table in self.tables:
            if table.table == name:
                return table
        raise VersionError(f"the model knows no table {name}", hint="train again on this schema")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> FeatureSpec:
        """Inverse of ``as_dict``."""
        return FeatureSpec(tuple(_table_from(table) for table in values["tables"]), int(values["until_us"]))

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _table_from(values: dict[str, Any]) -> TableSpec:
    return TableSpec(
        table=values["table"],
        numeric=tuple(Numeric(**part) for part in values["numeric"]),
        categorical=tuple(Categorical(part["column"], tuple(part["categories"])) for part in values["categorical"]),
        items=tuple(Items(part["column"], tuple(part["items"]), part["separator"]) for part in values["items"]),
        text=tuple(Text(**part) for part in values["text"]),
        instants=tuple(Instant(**part) for part in values["instants"]),
        calendar=values["calendar"],
    )
