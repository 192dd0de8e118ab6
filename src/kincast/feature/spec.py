"""Spec: how each column becomes numbers, with the statistics fitted on the training period; plain JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kincast.errors import VersionError
from kincast.project import FeatureStorage

MISSING_CODE = 0
UNSEEN_CODE = 1
FIRST_CODE = 2  # code of the first known category
CLIP = 8.0  # standard deviations beyond which a value says no more
SUMMARY = ("length", "mean", "spread", "least", "greatest", "last")  # of a sequence of numbers

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
        extent: largest input, in magnitude, over the training period; what int8 storage can tell apart ends there.
    """

    column: str
    transform: Transform
    center: float
    scale: float
    flag_missing: bool
    extent: float = CLIP

    @property
    def width(self) -> int:
        """Number of inputs."""
        return 2 if self.flag_missing else 1

    @property
    def extents(self) -> tuple[float, ...]:
        """Largest magnitude of each input."""
        return (self.extent, 1.0) if self.flag_missing else (self.extent,)


@dataclass(frozen=True, slots=True)
class Categorical:
    """A categorical column: one code a row; 0 missing, 1 not seen in training, then the categories in order.

    Attributes:
        column: its name.
        categories: the frequent ones.
        buckets: where training saw more categories than are kept: all others share this many codes by their CRC-32,
            instead of the code for what was not seen; else 0.
    """

    column: str
    categories: tuple[str, ...]
    buckets: int = 0

    @property
    def num_codes(self) -> int:
        """Number of different codes."""
        return FIRST_CODE + len(self.categories) + self.buckets


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
    """A text column: ``width`` numbers of unit length, from hashed words or from a model of the user's.

    Attributes:
        column: its name.
        width: number of inputs.
        model: folder of a sentence-transformers model; None hashes words.
        digest: of the files in that folder; a model that was exchanged is refused.
    """

    column: str
    width: int
    model: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """A column of vectors of one length, such as embeddings made elsewhere.

    Each dimension is standardised by itself, or each vector brought to length 1.

    A missing vector, or one of another length, becomes zeros and sets the flag.

    Attributes:
        column: its name.
        center: mean of each dimension over the training period.
        scale: standard deviation of each.
        extent: largest input of each, in magnitude, over the training period.
        unit: each vector has length 1; mean and deviation are then 0 and 1.
    """

    column: str
    center: tuple[float, ...]
    scale: tuple[float, ...]
    extent: tuple[float, ...]
    unit: bool = False

    @property
    def width(self) -> int:
        """Number of inputs: the dimensions and the flag."""
        return len(self.center) + 1


@dataclass(frozen=True, slots=True)
class Sequence:
    """A column of lists of numbers of any length: their summary, each figure as a numeric column of its own.

    Attributes:
        column: its name.
        figures: one for each of ``SUMMARY``, in that order; those that never differed are left out.
    """

    column: str
    figures: tuple[Numeric, ...]

    @property
    def width(self) -> int:
        """Number of inputs."""
        return sum(figure.width for figure in self.figures)


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
    vectors: tuple[Vector, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    instants: tuple[Instant, ...] = ()
    calendar: bool = False  # day of week, day of year and hour of the row's own time; False for a timeless table

    @property
    def numeric_width(self) -> int:
        """Numbers a row: in this order numeric columns, items, texts, vectors, sequences, calendar."""
        width = sum(part.width for part in self.numeric) + sum(part.width for part in self.items)
        width += sum(part.width for part in self.text) + sum(part.width for part in self.vectors)
        width += sum(part.width for part in self.sequences)
        return width + (CALENDAR_WIDTH if self.calendar else 0)

    @property
    def columns(self) -> list[str]:
        """Names of all columns that are inputs."""
        groups = (self.numeric, self.categorical, self.items, self.text, self.vectors, self.sequences, self.instants)
        return [part.column for group in groups for part in group]

    @property
    def int8_scales(self) -> NDArray[np.float32]:
        """float32 [numeric_width]: how much one step of an 8-bit number is worth, so that 127 steps are the extent."""
        extents = [extent for part in self.numeric for extent in part.extents]
        extents += [1.0] * (sum(part.width for part in self.items) + sum(part.width for part in self.text))
        extents += [extent for part in self.vectors for extent in (*part.extent, 1.0)]
        extents += [extent for part in self.sequences for figure in part.figures for extent in figure.extents]
        extents += [1.0] * (CALENDAR_WIDTH if self.calendar else 0)
        return (np.array(extents) / INT8_STEPS).astype(np.float32)


CALENDAR_WIDTH = 6  # sine and cosine of three cycles
INT8_STEPS = 127


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The inputs of every table, up to which instant their statistics were fitted, and how numbers are stored.

    The storage belongs to the model: it reads the same rounded numbers when it is trained and when it predicts.
    """

    tables: tuple[TableSpec, ...]
    until_us: int
    storage: FeatureStorage = "float32"

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
        tables = tuple(table_spec(table) for table in values["tables"])
        return FeatureSpec(tables, int(values["until_us"]), values.get("storage", "float32"))

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


def table_spec(values: dict[str, Any]) -> TableSpec:
    """The inputs of a table from their plain JSON values."""
    return TableSpec(
        table=values["table"],
        numeric=tuple(Numeric(**part) for part in values["numeric"]),
        categorical=tuple(Categorical(**_tuples(part)) for part in values["categorical"]),
        items=tuple(Items(**_tuples(part)) for part in values["items"]),
        text=tuple(Text(**part) for part in values["text"]),
        vectors=tuple(Vector(**_tuples(part)) for part in values.get("vectors", ())),
        sequences=tuple(
            Sequence(part["column"], tuple(Numeric(**figure) for figure in part["figures"]))
            for part in values.get("sequences", ())
        ),
        instants=tuple(Instant(**part) for part in values["instants"]),
        calendar=values["calendar"],
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON gives lists; the spec holds tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
