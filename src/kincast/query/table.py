"""Label tables of the user's own: keys become rows, and what cannot be used is refused with a count and samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.split import WORDS, split_by_dates
from kincast.query.task import Task, TaskKind
from kincast.source.base import first_line, quote
from kincast.source.cast import kept_type, moment_sql, path_literal, same_key_sql
from kincast.source.tables import Tables

_READERS = {".parquet": "read_parquet({})", ".csv": "read_csv({}, all_varchar = true)"}
_TARGETS = {
    TaskKind.BINARY: "CAST(TRY_CAST(t.{} AS BOOLEAN) AS DOUBLE)",
    TaskKind.REGRESSION: "TRY_CAST(t.{} AS DOUBLE)",
}
_LISTED = {
    TaskKind.MULTILABEL: "VARCHAR[]",
    TaskKind.RANKING: "VARCHAR[]",
    TaskKind.TEMPORAL_LINK: "VARCHAR[]",
    TaskKind.STATIC_LINK: "VARCHAR[]",
    TaskKind.FORECASTING: "DOUBLE[]",
}
_NAMED = ("as_of", "target", "split", "weight")
Found = dict[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Labels as they stand, before their targets become numbers.

    Attributes:
        rows: [n] int64 row in the entity table.
        as_of_us: [n] int64 instant in microseconds.
        target: [n] a float, a text, or a list of floats, texts or rows.
        split: [n] int8.
        weight: [n] float64; None without.
        extra: further columns; None without.
    """

    rows: NDArray[np.int64]
    as_of_us: NDArray[np.int64]
    target: pa.ChunkedArray
    split: NDArray[np.int8]
    weight: NDArray[np.float64] | None = None
    extra: pa.Table | None = None


def label_columns(task: Task, tables: Tables, path: Path, split: SplitSettings) -> LabelTable:
    """Read, match and check a label table.

    Args:
        task: says which columns the key has and what targets mean.
        tables: the rows.
        path: Parquet or CSV file.
        split: start dates, used where the table has no ``split``.

    Returns:
        The labels in the file's order.

    Raises:
        DataError: see ``read_labels``.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError("a label table is a .parquet or .csv file", where=str(path))
    if not path.is_file():
        raise DataError("there is no such file", where=str(path))
    try:
        with tables.connect() as connection:
            connection.execute(f"CREATE TEMP TABLE arriving AS FROM {reader.format(path_literal(path))}")
            found = {row[0].lower(): (row[0], row[1]) for row in connection.execute("DESCRIBE arriving").fetchall()}
            return _columns(task, connection, path, split, found)
    except duckdb.Error as error:
        raise DataError(f"cannot be read: {first_line(error)}", where=str(path)) from None


def _columns(
    task: Task,
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    split: SplitSettings,
    found: Found,
) -> LabelTable:
    entity = task.entity_table
    missing = [name for name in (*entity.key, "as_of", "target") if name.lower() not in found]
    if missing:
        have = ", ".join(name for name, _ in found.values())
        raise DataError(f"lacks the column {', '.join(missing)}", where=str(path), hint=f"it has {have}")
    dated = split.validation_start_us is not None and split.test_start_us is not None
    if "split" not in found and not dated:
        hint = "add one with train, validation and test, or set validation_start and test_start"
        raise DataError("lacks the column split", where=str(path), hint=hint)
    _match(task, connection, found)
    _refuse(connection, path, task, found)
    if task.item_table is not None:
        _match_items(task, task.item_table, connection, path)
    own = {*(name.lower() for name in entity.key), *_NAMED}
    extra = [name for lower, (name, _) in found.items() if lower not in own]
    more = "".join(f", a.{quote(name)} AS {quote(f'x{i}')}" for i, name in enumerate(extra))
    value = "items" if task.item_table is not None else "value"
    result: pa.Table = connection.sql(
        f"SELECT m.row, epoch_us(m.as_of) AS as_of_us, m.{value} AS value, m.part, m.weight{more} "
        "FROM matched m JOIN arriving a ON a.rowid = m.place ORDER BY m.place"
    ).to_arrow_table()
    rows, instants = (result[name].to_numpy().astype(np.int64) for name in ("row", "as_of_us"))
    if "split" in found:
        splits = np.array([WORDS[word] for word in result["part"].to_pylist()], dtype=np.int8)
    else:
        splits = split_by_dates(instants, int(split.validation_start_us or 0), int(split.test_start_us or 0))
    weight = result["weight"].to_numpy().astype(np.float64) if "weight" in found else None
    further = result.select([f"x{i}" for i in range(len(extra))]).rename_columns(extra) if extra else None
    return LabelTable(rows, instants, result["value"], splits, weight, further)


def _match(task: Task, connection: duckdb.DuckDBPyConnection, found: Found) -> None:
    """Make ``matched``: per label its row, instant, target, split and weight, NULL where they cannot be read."""
    entity = task.entity_table
    on = " AND ".join(
        same_key_sql(
            f"t.{quote(found[name.lower()][0])}",
            found[name.lower()][1],
            f"e.{quote(name)}",
            kept_type(entity.column(name)),
        )
        for name in entity.key
    )
    keys = " || '/' || ".join(f"coalesce(CAST(t.{quote(found[n.lower()][0])} AS VARCHAR), '')" for n in entity.key)
    target = quote(found["target"][0])
    part = f"CAST(t.{quote(found['split'][0])} AS VARCHAR)" if "split" in found else "NULL"
    weight = f"CAST(t.{quote(found['weight'][0])} AS VARCHAR)" if "weight" in found else "NULL"
    as_of = f"CAST(t.{quote(found['as_of'][0])} AS VARCHAR)"
    if entity.versioned:  # of all versions, the one that a prediction at that instant would be made for
        on += f" AND e._time <= {moment_sql(as_of)} AND (e._end IS NULL OR e._end > {moment_sql(as_of)})"
    connection.execute(
        f"CREATE TEMP TABLE matched AS SELECT t.rowid AS place, {keys} AS label_key, e._row AS row, e._time AS born, "
        f"{moment_sql(as_of)} AS as_of, {as_of} AS as_of_text, {_target(task, target, found['target'][1])} AS value, "
        f"CAST(t.{target} AS VARCHAR) AS target_text, lower(trim({part})) AS part, "
        f"TRY_CAST({weight} AS DOUBLE) AS weight, {weight} AS weight_text "
        f"FROM arriving t LEFT JOIN {quote(entity.name)} e ON {on}"
    )


def _target(task: Task, target: str, stored: str) -> str:
    listed = _LISTED.get(task.kind)
    if listed is None:
        return _TARGETS.get(task.kind, "CAST(t.{} AS VARCHAR)").format(target)
    if stored.endswith("]"):
        return f"TRY_CAST(t.{target} AS {listed})"
    pieces = f"list_transform(string_split(t.{target}, ','), lambda x: trim(x))"
    return f"CASE WHEN trim(t.{target}) = '' THEN [] ELSE TRY_CAST({pieces} AS {listed}) END"


def _match_items(task: Task, table: str, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Replace keys of the rows linked to by the rows: adds ``items`` to ``matched``."""
    target = task.schema.table(table)
    if len(target.key) != 1:
        raise DataError(f"links to {table}, whose key has several columns, cannot be read", where=str(path))
    on = same_key_sql("w.item", "VARCHAR", f"e.{quote(target.key[0])}", kept_type(target.column(target.key[0])))
    connection.execute(
        "CREATE TEMP TABLE linked AS SELECT w.place, w.item, e._row AS found FROM "
        f"(SELECT place, unnest(value) AS item FROM matched) w LEFT JOIN {quote(table)} e ON {on}"
    )
    what = f"links lead to a key that {table} does not have"
    _refuse_where(connection, path, "FROM linked WHERE found IS NULL", what, "coalesce(item, 'null')")
    connection.execute("ALTER TABLE matched ADD COLUMN items BIGINT[]")
    connection.execute(
        "UPDATE matched SET items = coalesce((SELECT list(found) FROM linked l WHERE l.place = matched.place), [])"
    )


def _refuse(connection: duckdb.DuckDBPyConnection, path: Path, task: Task, found: Found) -> None:
    words = ", ".join(f"'{word}'" for word in WORDS)
    checks = [
        ("row IS NULL", f"labels have a key that {task.entity} does not have", "label_key"),
        ("as_of_text IS NULL", "labels have no as_of", "label_key"),
        ("as_of IS NULL", "labels have an as_of that is no date", "as_of_text"),
        ("target_text IS NULL", "labels have no target", "label_key"),
        ("value IS NULL", f"labels have a target that is no {_noun(task)}", "target_text"),
        ("weight_text IS NOT NULL AND (weight IS NULL OR NOT weight >= 0 OR isinf(weight))", _WEIGHT, "weight_text"),
        ("born > as_of", f"labels are about {task.entity} at an instant before they exist", "label_key"),
    ]
    if task.kind is TaskKind.REGRESSION:
        checks.append(("isnan(value)", "labels have a target that is no number", "target_text"))
    if "weight" in found:
        checks.append(("weight_text IS NULL", "labels have no weight", "label_key"))
    if "split" in found:
        checks.append(
            (f"part IS NULL OR part NOT IN ({words})", "labels have an unknown split", "coalesce(part, 'null')")
        )
    for condition, what, sample in checks:
        _refuse_where(connection, path, f"FROM matched WHERE {condition}", what, sample)
    twice = "FROM (SELECT *, count(*) OVER (PARTITION BY row, as_of) AS n FROM matched) WHERE n > 1"
    _refuse_where(connection, path, twice, "labels are about the same row at the same instant", "label_key")


def _refuse_where(connection: duckdb.DuckDBPyConnection, path: Path, rows: str, what: str, sample: str) -> None:
    found = connection.execute(f"SELECT count(*) {rows}").fetchall()
    count = found[0][0]
    if count:
        samples = connection.execute(f"SELECT {sample} {rows} ORDER BY place LIMIT 3").fetchall()
        shown = ", ".join(str(row[0]) for row in samples)
        raise DataError(f"{count:,} {what}: {shown}", where=str(path), hint="correct or remove them")


_WEIGHT = "labels have a weight that is no number of 0 or more"
_NOUNS = {TaskKind.BINARY: "yes or no", TaskKind.REGRESSION: "number", TaskKind.FORECASTING: "list of numbers"}


def _noun(task: Task) -> str:
    return _NOUNS.get(task.kind, "list" if task.kind in _LISTED else "text")
