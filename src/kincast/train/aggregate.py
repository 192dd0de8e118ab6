"""Aggregate: automatic, time-correct SQL aggregates of linked tables: what a data scientist would write by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent
from kincast.sample.batch import Seeds
from kincast.schema import Column, Schema, SemanticType

WINDOWS_DAYS = (7, 30, 90, 365)
MAX_COLUMNS = 12  # of one linked table; more would cost much and say little
MAX_PATHS = 24  # child and grandchild tables; a wide schema has hundreds
_NUMBERS = (SemanticType.NUMERICAL, SemanticType.BOOLEAN)
_NAMES = (SemanticType.CATEGORICAL,)


@dataclass(frozen=True, slots=True)
class Aggregates:
    """One row of features per seed.

    Attributes:
        names: of the features, such as ``orders.amount mean 90 days``.
        values: float64 [num_seeds, features]; NaN where there is nothing.
        categorical: positions of features that are codes, not amounts.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    categorical: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Select:
    """One statement: features by name, and where their rows come from. Names are quoted, nothing else varies."""

    features: dict[str, str]
    source: str
    grouped: bool

    @property
    def sql(self) -> str:
        columns = ", ".join(f"{expression} AS {quoted(name)}" for name, expression in self.features.items())
        group = "GROUP BY s.seed" if self.grouped else ""
        return f"SELECT {columns} FROM __seeds s {self.source} {group} ORDER BY s.seed"


def make_aggregates(
    snapshot: Snapshot,
    seeds: Seeds,
    hidden: Collection[tuple[str, str]] = (),
    progress: Progress = silent,
    *,
    strict: bool = False,
) -> Aggregates:
    """Features of each seed from its own row, the rows it points to, and the rows that point to it.

    Own and parent columns as they are. Of each child table and of the children's children: counts over several
    windows, days since the first and the last row, mean, sum, minimum, maximum and last value of numbers, distinct
    values and last value of categories; over rows visible to the seed only.

    Args:
        snapshot: the rows.
        seeds: rows of one table with their instants.
        hidden: (table, column) pairs that must not be used.
        progress: told after each statement.
        strict: leave out linked rows at the very instant of a seed.
    """
    names: list[str] = []
    columns: list[NDArray[np.float64]] = []
    categorical: list[int] = []
    with snapshot.open_tables() as tables, tables.connect() as con:
        _register(con, snapshot, seeds)
        selects = list(_selects(snapshot.schema, seeds.table, frozenset(hidden), "<" if strict else "<="))
        for done, select in enumerate(selects):
            progress("aggregate linked tables", done, len(selects))
            if not select.features:
                continue
            result = con.sql(select.sql).to_arrow_table()
            for name in result.column_names:
                column = result[name].combine_chunks()
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    categorical.append(len(columns))
                    column = column.dictionary_encode().indices
                values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
                columns.append(np.asarray(values, dtype=np.float64))
                names.append(name)
        progress("aggregate linked tables", len(selects), len(selects))
    matrix = np.stack(columns, axis=1) if columns else np.zeros((len(seeds), 0))
    return Aggregates(tuple(names), matrix, tuple(categorical))


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _register(con: duckdb.DuckDBPyConnection, snapshot: Snapshot, seeds: Seeds) -> None:
    """Make the seeds and the links visible to SQL, by row numbers."""
    visible = pa.array(seeds.visible, pa.int64()).cast(pa.timestamp("us"))
    con.register("__seeds", pa.table({"seed": np.arange(len(seeds)), "entity": seeds.rows, "visible": visible}))
    for index, link in enumerate(snapshot.links):
        child, parent = np.arange(len(link.forward)), np.asarray(link.forward, np.int64)
        versions = snapshot.tables[link.link.target].versions
        if versions is not None:  # a pair for each version; of those of one key only one is visible at any instant
            child, first = child[parent >= 0], parent[parent >= 0]
            counts = np.diff(versions.offsets)[first]
            starts = np.repeat(versions.offsets[first], counts)
            within = np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts)
            child, parent = np.repeat(child, counts), np.asarray(versions.rows[starts + within], np.int64)
        con.register(f"__link_{index}", pa.table({"child": child, "parent": parent}))


def _selects(schema: Schema, entity: str, hidden: frozenset[tuple[str, str]], until: str) -> Iterator[_Select]:
    """The statements; ``until`` compares the time of a linked row with the seed's instant: < or <=."""
    own = _plain(schema, entity, hidden, "t", "")
    yield _Select(own, f"JOIN {quoted(entity)} t ON t._row = s.entity", grouped=False)
    for index, link in enumerate(schema.links):
        if link.table == entity:
            pairs = f"__link_{index} l JOIN {quoted(link.target)} t ON t._row = l.parent"
            rows = f"SELECT l.child AS __child, t.* FROM {pairs}"
            source = f"LEFT JOIN ({rows}) t ON t.__child = s.entity AND {_visible('t', until)}"
            yield _Select(_plain(schema, link.target, hidden, "t", f"{link.columns[0]}."), source, grouped=False)
    children = [index for index, link in enumerate(schema.links) if link.target == entity]
    paths: list[tuple[int, ...]] = [(index,) for index in children]
    for child in children:
        table = schema.links[child].table
        paths += [(child, index) for index, link in enumerate(schema.links) if link.target == table]
    for path in paths[:MAX_PATHS]:
        yield _of_path(schema, path, hidden, until)


def _of_path(schema: Schema, path: tuple[int, ...], hidden: frozenset[tuple[str, str]], until: str) -> _Select:
    """Aggregates over the rows reached by following links backwards from the entity."""
    source, parent = "", "s.entity"
    for place, index in enumerate(path):
        table = schema.links[index].table
        source += (
            f" LEFT JOIN __link_{index} l{place} ON l{place}.parent = {parent}"
            f" LEFT JOIN {quoted(table)} t{place} ON t{place}._row = l{place}.child AND {_visible(f't{place}', until)}"
        )
        parent = f"t{place}._row"
    last = f"t{len(path) - 1}"
    link = schema.links[path[-1]]
    prefix = " of ".join(f"{schema.links[index].table} by {schema.links[index].columns[0]}" for index in reversed(path))
    features = {f"{prefix}: rows": f"count({last}._row)"}
    if schema.table(link.table).time is not None:
        for days in WINDOWS_DAYS:
            features[f"{prefix}: rows {days} days"] = f"count({last}._row) FILTER (WHERE {_recent(last, days)})"
        features[f"{prefix}: days since last"] = f"epoch(any_value(s.visible) - max({last}._time)) / 86400"
        features[f"{prefix}: days since first"] = f"epoch(any_value(s.visible) - min({last}._time)) / 86400"
    for column in _columns(schema, link.table, hidden, _NUMBERS):
        features |= _of_number(f"{prefix}: {column.name}", f"{last}.{quoted(column.name)}", last)
    for column in _columns(schema, link.table, hidden, _NAMES):
        value = f"{last}.{quoted(column.name)}"
        features[f"{prefix}: {column.name} distinct"] = f"count(DISTINCT {value})"
        features[f"{prefix}: {column.name} last"] = f"arg_max({value}, {last}._row)::VARCHAR"
    return _Select(features, source, grouped=True)


def _of_number(name: str, column: str, table: str) -> dict[str, str]:
    value = f"CASE WHEN isfinite({column}::DOUBLE) THEN {column}::DOUBLE END"
    recent = f"FILTER (WHERE {_recent(table, 90)})"
    return {
        f"{name} mean": f"avg({value})",
        f"{name} sum": f"sum({value})",
        f"{name} min": f"min({value})",
        f"{name} max": f"max({value})",
        f"{name} last": f"arg_max({value}, {table}._row)",
        f"{name} mean 90 days": f"avg({value}) {recent}",
        f"{name} sum 90 days": f"sum({value}) {recent}",
    }


def _plain(schema: Schema, table: str, hidden: frozenset[tuple[str, str]], alias: str, prefix: str) -> dict[str, str]:
    """Columns of one row as they are; instants as days before the seed's."""
    features = {}
    if schema.table(table).time is not None:
        features[f"{prefix}age days"] = f"epoch(s.visible - {alias}._time) / 86400"
    for column in _columns(schema, table, hidden, _NUMBERS):
        features[f"{prefix}{column.name}"] = f"{alias}.{quoted(column.name)}::DOUBLE"
    for column in _columns(schema, table, hidden, _NAMES):
        features[f"{prefix}{column.name}"] = f"{alias}.{quoted(column.name)}::VARCHAR"
    for column in _columns(schema, table, hidden, (SemanticType.TIMESTAMP,)):
        features[f"{prefix}{column.name} days ago"] = f"epoch(s.visible - {alias}.{quoted(column.name)}) / 86400"
    return features


def _columns(
    schema: Schema, name: str, hidden: frozenset[tuple[str, str]], types: tuple[SemanticType, ...]
) -> list[Column]:
    table = schema.table(name)
    keys = {column for link in schema.links_from(name) for column in link.columns} | set(table.key)
    if table.time is not None:
        keys |= {table.time.column or "", table.time.clock or ""}
    keys.add(table.end_time or "")
    found = [c for c in table.columns if c.type in types and c.name not in keys and (name, c.name) not in hidden]
    return found[:MAX_COLUMNS]


def _visible(table: str, until: str) -> str:
    return (
        f"({table}._time IS NULL OR {table}._time {until} s.visible) AND "
        f"({table}._end IS NULL OR {table}._end > s.visible)"
    )


def _recent(table: str, days: int) -> str:
    return f"{table}._time > s.visible - INTERVAL {days} DAY"
