"""Fit: choose the inputs of every table and fit their statistics on rows of the training period only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kincast.errors import DataError
from kincast.feature import convert
from kincast.feature.spec import (
    CLIP,
    SUMMARY,
    Categorical,
    FeatureSpec,
    Instant,
    Items,
    Numeric,
    Sequence,
    TableSpec,
    Text,
    Vector,
)
from kincast.feature.statistic import FLAT, Counts, Numbers
from kincast.feature.text import text_spec
from kincast.graph.snapshot import Snapshot
from kincast.project import FeatureSettings
from kincast.schema import Column, SemanticType, Table

MAX_CATEGORIES = 1_000
MIN_CATEGORY_ROWS = 2
NUM_BUCKETS = 256  # that all categories beyond the most frequent share
MAX_ITEMS = 64

Part = Numeric | Categorical | Items | Text | Vector | Sequence | Instant


def fit_features(
    snapshot: Snapshot,
    until_us: int,
    hidden: Collection[tuple[str, str]] = (),
    settings: FeatureSettings | None = None,
) -> FeatureSpec:
    """Fit the inputs of every table, reading its rows in batches.

    Keys and foreign keys are never inputs. Rows of timed tables later than ``until_us`` are not looked at.

    Args:
        snapshot: the rows.
        until_us: end of the training period.
        hidden: (table, column) pairs that must not be inputs, such as a target column.
        settings: how texts are read and numbers stored.

    Raises:
        DataError: the vectors of a column have different lengths.
        ProjectError: the text model cannot be used.
    """
    settings = settings or FeatureSettings()
    tables = tuple(_fit_table(snapshot, table, until_us, hidden, settings) for table in snapshot.schema)
    return FeatureSpec(tables, until_us, settings.storage)


def _fit_table(
    snapshot: Snapshot, table: Table, until_us: int, hidden: Collection[tuple[str, str]], settings: FeatureSettings
) -> TableSpec:
    wanted = [column for column in _candidates(snapshot, table) if (table.name, column.name) not in hidden]
    time_us = snapshot.tables[table.name].time_us
    num_rows = snapshot.tables[table.name].num_rows
    left = num_rows if time_us is None else int(np.searchsorted(time_us, until_us, side="right"))
    fits = {column.name: _new_fit(table.name, column, settings) for column in wanted}
    known = dict.fromkeys(fits, 0)
    for batch in snapshot.batches(table.name, list(fits)) if fits and left else ():
        for name, fit in fits.items():
            values = batch[name].slice(0, left)
            known[name] += len(values) - values.null_count
            fit.fold(values)
        left -= batch.num_rows
        if left <= 0:
            break
    # A column without a single value says nothing.
    found = [part for name, fit in fits.items() if known[name] and (part := fit.part()) is not None]
    return TableSpec(
        table=table.name,
        numeric=tuple(part for part in found if isinstance(part, Numeric)),
        categorical=tuple(part for part in found if isinstance(part, Categorical)),
        items=tuple(part for part in found if isinstance(part, Items)),
        text=tuple(part for part in found if isinstance(part, Text)),
        vectors=tuple(part for part in found if isinstance(part, Vector)),
        sequences=tuple(part for part in found if isinstance(part, Sequence)),
        instants=tuple(part for part in found if isinstance(part, Instant)),
        calendar=time_us is not None,
    )


def _candidates(snapshot: Snapshot, table: Table) -> list[Column]:
    """Columns that may be inputs: not keys, not foreign keys, not what gives the row its time."""
    names: set[str] = set(table.key)
    for link in snapshot.schema.links_from(table.name):
        names.update(link.columns)
    if table.time is not None:
        names.update(name for name in (table.time.column, table.time.clock) if name)
    if table.end_time:
        names.add(table.end_time)
    unusable = (SemanticType.ID, SemanticType.IGNORED)
    return [column for column in table.columns if column.name not in names and column.type not in unusable]


class _Fit(Protocol):
    """What is learnt of one column."""

    def fold(self, values: pa.ChunkedArray) -> None:
        """Look at more rows."""

    def part(self) -> Part | None:
        """The column's part of the spec; None when it says nothing."""


def _new_fit(table: str, column: Column, settings: FeatureSettings) -> _Fit:
    match column.type:
        case SemanticType.NUMERICAL | SemanticType.BOOLEAN:
            return _NumericFit(column.name)
        case SemanticType.CATEGORICAL:
            return _CategoricalFit(column.name)
        case SemanticType.MULTICATEGORICAL:
            return _ItemsFit(column)
        case SemanticType.VECTOR:
            return _VectorFit(table, column.name, settings.vectors == "unit")
        case SemanticType.SEQUENCE:
            return _SequenceFit(column.name)
        case SemanticType.TEXT:
            return _PlainFit(text_spec(column.name, settings.text))
    return _PlainFit(Instant(column.name))


class _PlainFit:
    """A column with nothing to learn of it."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def fold(self, values: pa.ChunkedArray) -> None:
        """Nothing."""

    def part(self) -> Part:
        """As given."""
        return self._part


class _NumericFit:
    def __init__(self, name: str) -> None:
        self._name, self._numbers = name, Numbers()

    def fold(self, values: pa.ChunkedArray) -> None:
        self._numbers.fold(convert.as_floats(values)[:, None])

    def part(self) -> Numeric | None:
        return self._numbers.numeric(self._name)


class _CategoricalFit:
    def __init__(self, name: str) -> None:
        self._name, self._counts = name, Counts()

    def fold(self, values: pa.ChunkedArray) -> None:
        self._counts.fold(convert.as_texts(values))

    def part(self) -> Categorical | None:
        categories, num_all = self._counts.frequent(MAX_CATEGORIES, MIN_CATEGORY_ROWS)
        buckets = NUM_BUCKETS if num_all > len(categories) else 0
        return Categorical(self._name, categories, buckets) if categories else None


class _ItemsFit:
    def __init__(self, column: Column) -> None:
        self._column, self._counts = column, Counts()

    def fold(self, values: pa.ChunkedArray) -> None:
        lists = convert.as_lists(values, self._column.separator)
        self._counts.fold(pc.utf8_trim_whitespace(pc.list_flatten(lists)))

    def part(self) -> Items | None:
        items, _ = self._counts.frequent(MAX_ITEMS, MIN_CATEGORY_ROWS)
        return Items(self._column.name, items, self._column.separator) if items else None


class _VectorFit:
    def __init__(self, table: str, name: str, unit: bool) -> None:
        self._table, self._name, self._unit = table, name, unit
        self._numbers: Numbers | None = None
        self._width = 0

    def fold(self, values: pa.ChunkedArray) -> None:
        lengths = convert.vector_lengths(values)
        if not len(lengths):
            return
        if self._numbers is None:
            self._width = int(lengths[0])
            self._numbers = Numbers(self._width)
        if (lengths != self._width).any():
            other = int(lengths[lengths != self._width][0])
            what = f"the vectors have different lengths: {self._width} and {other}"
            hint = "make it 'type: sequence' in the schema card, which reads their summary, or ignored"
            raise DataError(what, where=f"{self._table}.{self._name}", hint=hint)
        vectors = convert.as_vectors(values, self._width)
        self._numbers.fold(convert.as_units(vectors) if self._unit else vectors)

    def part(self) -> Vector | None:
        if self._numbers is None or not self._width:
            return None
        found = self._numbers.plain
        mean, scale = found.mean, np.where(found.spread > FLAT, found.spread, 1.0)
        if self._unit:
            mean, scale = np.zeros(self._width), np.ones(self._width)
        ends = np.abs(np.stack([found.least, found.greatest]) - mean) / scale
        extent = np.clip(np.where(np.isfinite(ends), ends, 0.0).max(axis=0), FLAT, CLIP)
        center, scales, extents = (tuple(values.tolist()) for values in (mean, scale, extent))
        return Vector(self._name, center, scales, extents, self._unit)


class _SequenceFit:
    def __init__(self, name: str) -> None:
        self._name, self._numbers = name, Numbers(len(SUMMARY))

    def fold(self, values: pa.ChunkedArray) -> None:
        self._numbers.fold(convert.summaries(values))

    def part(self) -> Sequence | None:
        figures = [self._numbers.numeric(name, place) for place, name in enumerate(SUMMARY)]
        known = tuple(figure for figure in figures if figure is not None)
        return Sequence(self._name, known) if known else None
