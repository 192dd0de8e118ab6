"""Label tables of the user's own: keys become rows, and what cannot be used is refused with a count and samples."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.split import SPLITS, split_by_dates
from kincast.query.task import Task, TaskKind
from kincast.source.base import first_line, quote
from kincast.source.cast import kept_type, moment_sql, path_literal, same_key_sql
from kincast.source.tables import Tables

_READERS = {".parquet": "read_parquet({})", ".csv": "read_csv({}, all_varchar = true)"}
_TARGETS = {
    TaskKind.BINARY: "CAST(TRY_CAST(t.{} AS BOOLEAN) AS DOUBLE)",
    TaskKind.REGRESSION: "TRY_CAST(t.{} AS DOUBLE)",
}
Columns = tuple[NDArray[np.int64], NDArray[np.int64], pa.ChunkedArray, NDArray[np.int8]]


def label_columns(task: Task, tables: Tables, path: Path, split: SplitSettings) -> Columns:
    """Read, match and check a label table.

    Args:
        task: says which columns the key has and what targets mean.
        tables: the rows.
        path: Parquet or CSV file.
        split: start dates, used where the table has no ``split``.

    Returns:
        In the file's order: rows [n] int64, instants [n] int64, targets (a float or a text each), splits [n] int8.

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
    found: dict[str, tuple[str, str]],
) -> Columns:
    entity = task.entity_table
    missing = [name for name in (*entity.key, "as_of", "target") if name.lower() not in found]
    if missing:
        have = ", ".join(name for name, _ in found.values())
        raise DataError(f"lacks the column {', '.join(missing)}", where=str(path), hint=f"it has {have}")
    dated = split.validation_start_us is not None and split.test_start_us is not None
    if "split" not in found and not dated:
        hint = "add one with train, validation and test, or set validation_start and test_start"
        raise DataError("lacks the column split", where=str(path), hint=hint)
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
    value = _TARGETS.get(task.kind, "CAST(t.{} AS VARCHAR)").format(target)
    part = f"CAST(t.{quote(found['split'][0])} AS VARCHAR)" if "split" in found else "NULL"
    as_of = f"CAST(t.{quote(found['as_of'][0])} AS VARCHAR)"
    connection.execute(
        f"CREATE TEMP TABLE matched AS SELECT t.rowid AS place, {keys} AS label_key, e._row AS row, e._time AS born, "
        f"{moment_sql(as_of)} AS as_of, {as_of} AS as_of_text, {value} AS value, "
        f"CAST(t.{target} AS VARCHAR) AS target_text, lower(trim({part})) AS part "
        f"FROM arriving t LEFT JOIN {quote(entity.name)} e ON {on}"
    )
    _refuse(connection, path, task, "split" in found)
    result: pa.Table = connection.sql(
        "SELECT row, epoch_us(as_of) AS as_of_us, value, part FROM matched ORDER BY place"
    ).to_arrow_table()
    rows, instants = (result[name].to_numpy().astype(np.int64) for name in ("row", "as_of_us"))
    if "split" in found:
        splits = np.array([_SPLIT_WORDS[word] for word in result["part"].to_pylist()], dtype=np.int8)
    else:
        splits = split_by_dates(instants, int(split.validation_start_us or 0), int(split.test_start_us or 0))
    return rows, instants, result["value"], splits


_SPLIT_WORDS = {**{name: i for i, name in enumerate(SPLITS)}, **{str(i): i for i in range(3)}, "val": 1, "valid": 1}


def _refuse(connection: duckdb.DuckDBPyConnection, path: Path, task: Task, has_split: bool) -> None:
    words = ", ".join(f"'{word}'" for word in _SPLIT_WORDS)
    checks = [
        ("row IS NULL", f"labels have a key that {task.entity} does not have", "label_key"),
        ("as_of_text IS NULL", "labels have no as_of", "label_key"),
        ("as_of IS NULL", "labels have an as_of that is no date", "as_of_text"),
        ("target_text IS NULL", "labels have no target", "label_key"),
        ("value IS NULL OR NOT (value = value)", f"labels have a target that is no {_noun(task)}", "target_text"),
        ("born > as_of", f"labels are about {task.entity} at an instant before they exist", "label_key"),
    ]
    if has_split:
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


def _noun(task: Task) -> str:
    return {TaskKind.BINARY: "yes or no", TaskKind.REGRESSION: "number"}.get(task.kind, "text")
