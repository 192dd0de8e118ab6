"""Fit: choose the inputs of every table and fit their statistics on rows of the training period only."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kincast.feature import convert
from kincast.feature.spec import Categorical, FeatureSpec, Instant, Items, Numeric, TableSpec, Text, Transform
from kincast.graph.snapshot import Snapshot
from kincast.schema import Column, SemanticType, Table

MAX_CATEGORIES = 1_000
MIN_CATEGORY_ROWS = 2
MAX_ITEMS = 64
TEXT_WIDTH = 32
LONG_TAIL = 2.0  # skewness from which a column is read on a logarithmic scale


def fit_features(snapshot: Snapshot, until_us: int, hidden: Collection[tuple[str, str]] = ()) -> FeatureSpec:
    """Fit the inputs of every table.

    Keys and foreign keys are never inputs. Rows of timed tables later than ``until_us`` are not looked at.

    Args:
        snapshot: the rows.
        until_us: end of the training period.
        hidden: (table, column) pairs that must not be inputs, such as a target column.
    """
    tables = tuple(_fit_table(snapshot, table, until_us, hidden) for table in snapshot.schema)
    return FeatureSpec(tables, until_us)


def _fit_table(snapshot: Snapshot, table: Table, until_us: int, hidden: Collection[tuple[str, str]]) -> TableSpec:
    wanted = [column for column in _candidates(snapshot, table) if (table.name, column.name) not in hidden]
    time_us = snapshot.tables[table.name].time_us
    num_rows = snapshot.tables[table.name].num_rows
    num_fitted = num_rows if time_us is None else int(np.searchsorted(time_us, until_us, side="right"))
    rows = snapshot.columns(table.name, [column.name for column in wanted]).slice(0, num_fitted)
    parts: dict[type, list[Numeric | Categorical | Items | Text | Instant]] = {}
    for column in wanted:
        part = _fit_column(column, rows[column.name])
        if part is not None:
            parts.setdefault(type(part), []).append(part)
    return TableSpec(
        table=table.name,
        numeric=tuple(parts.get(Numeric, ())),  # type: ignore[arg-type]
        categorical=tuple(parts.get(Categorical, ())),  # type: ignore[arg-type]
        items=tuple(parts.get(Items, ())),  # type: ignore[arg-type]
        text=tuple(parts.get(Text, ())),  # type: ignore[arg-type]
        instants=tuple(parts.get(Instant, ())),  # type: ignore[arg-type]
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


def _fit_column(column: Column, values: pa.ChunkedArray) -> Numeric | Categorical | Items | Text | Instant | None:
    """The column's part of the spec; None when it says nothing (all missing, or one value only)."""
    if values.null_count == len(values):
        return None
    match column.type:
        case SemanticType.NUMERICAL | SemanticType.BOOLEAN:
            return _fit_numeric(column.name, convert.as_floats(values))
        case SemanticType.CATEGORICAL:
            return _fit_categorical(column.name, convert.as_texts(values))
        case SemanticType.MULTICATEGORICAL:
            return _fit_items(column, convert.as_lists(values, column.separator))
        case SemanticType.TEXT:
            return Text(column.name, TEXT_WIDTH)
        case SemanticType.TIMESTAMP:
            return Instant(column.name)
    return None


def _fit_numeric(name: str, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Numeric | None:
    known = values[~np.isnan(values)]
    flag_missing = known.size < values.size
    if known.size == 0 or (known.min() == known.max() and not flag_missing):
        return None
    spread = known.std()
    skewness = float(np.mean(((known - known.mean()) / spread) ** 3)) if spread > 0 else 0.0
    transform: Transform = "log" if abs(skewness) > LONG_TAIL else "none"
    seen = convert.transformed(known, transform)
    scale = float(seen.std())
    return Numeric(name, transform, float(seen.mean()), scale if scale > 1e-12 else 1.0, flag_missing)


def _fit_categorical(name: str, texts: pa.Array) -> Categorical | None:
    categories = _frequent(texts, MAX_CATEGORIES)
    return Categorical(name, categories) if categories else None


def _fit_items(column: Column, lists: pa.Array) -> Items | None:
    items = _frequent(pc.utf8_trim_whitespace(pc.list_flatten(lists)), MAX_ITEMS)
    return Items(column.name, items, column.separator) if items else None


def _frequent(texts: pa.Array, most: int) -> tuple[str, ...]:
    """The most frequent texts, at least twice each, by falling count and then by name."""
    counted = pc.value_counts(texts.drop_null())
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    ranked = sorted(((-count, text) for text, count in pairs if count >= MIN_CATEGORY_ROWS and text != ""))
    return tuple(text for _, text in ranked[:most])
