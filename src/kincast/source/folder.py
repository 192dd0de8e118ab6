"""Folder: one table per Parquet or CSV file."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kincast.errors import SourceError
from kincast.schema import Column, Schema, Table
from kincast.source.base import (
    check_window,
    chosen_columns,
    first_line,
    guess_semantic,
    literal,
    quote,
    require_table,
    storage_or,
    unique_names,
)
from kincast.source.cast import moment_sql, path_literal
from kincast.source.duckdb_file import readable, simplified, stream, window
from kincast.source.words import names_something

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_NULLS = ("", "NA", r"\N")
# A column of numbers or dates with at most this share of other values is read as numbers or dates, and the others
# become null and are counted.
_TOLERATED = 0.01


class FolderSource:
    """Reads a folder of Parquet and CSV files (``.csv.gz`` too); the first line of a CSV file names its columns.

    Empty cells, ``NA`` and ``\\N`` are nulls. A CSV column's type is the narrowest that its values over the whole
    file have; numbers with a leading zero stay text, so that no key changes.
    """

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self._path = path

    def inspect(self) -> Schema:
        """See ``Source.inspect``; files declare no keys."""
        return Schema(tuple(self._inspect_file(name, path) for name, path in self._files.items()))

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        time: str | None = None,
    ) -> pa.RecordBatchReader:
        """See ``Source.scan``; every column of a CSV file arrives as text."""
        check_window(since, until, time, self.url)
        if table not in self._files:
            require_table(Schema(tuple(Table(name, ()) for name in self._files)), table, self.url)
        found = self._tables.get(table) or self._inspect_file(table, self._files[table])
        names = chosen_columns(found, columns, self.url)
        path = self._files[table]
        connection = _connect()
        if path.name.lower().endswith(".parquet"):
            chosen = ", ".join(f"{readable(quote(n), found.column(n).stored)} AS {quote(n)}" for n in names)
        else:
            chosen = ", ".join(quote(name) for name in names)
        moment = moment_sql(quote(time)) if time else ""
        return stream(connection, f"SELECT {chosen} FROM {_read(path)}{window(moment, since, until)}", str(path))

    def write(self, table: str, rows: pa.Table) -> None:
        """See ``Source.write``; the table becomes a Parquet file."""
        if not table or "/" in table or "\\" in table or table.startswith("."):
            raise SourceError(f"'{table}' cannot be the name of a file", where=self.url)
        target = self._path / f"{table}.parquet"
        try:
            handle, temporary = tempfile.mkstemp(dir=self._path, prefix=".", suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    pq.write_table(rows, file, compression="zstd")
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                os.replace(temporary, target)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except (OSError, pa.ArrowException) as error:
            what = f"cannot be written: {first_line(error)}"
            raise storage_or(error, SourceError(what, where=str(target))) from None
        self.__dict__.pop("_files", None)
        self._tables.pop(table, None)

    @cached_property
    def _tables(self) -> dict[str, Table]:
        return {}

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Table name → file, in the order of names."""
        try:
            paths = sorted(p for p in self._path.iterdir() if p.name.lower().endswith(_SUFFIXES) and p.is_file())
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}", where=str(self._path)) from None
        paths = [path for path in paths if not path.name.startswith(".")]
        if not paths:
            hint = "put one .parquet, .csv or .csv.gz file per table there"
            raise SourceError("the folder has no tables", where=str(self._path), hint=hint)
        stems = [re.sub(r"(\.csv(\.gz)?|\.parquet)$", "", path.name, flags=re.IGNORECASE) for path in paths]
        twice = next((stem for stem in stems if stems.count(stem) > 1), None)
        if twice is not None:
            found = ", ".join(p.name for p, stem in zip(paths, stems, strict=True) if stem == twice)
            raise SourceError(f"table {twice} is there twice: {found}", where=str(self._path), hint="keep one of them")
        return dict(zip(unique_names(stems), paths, strict=True))

    def _inspect_file(self, name: str, path: Path) -> Table:
        if name not in self._tables:
            connection = _connect()
            try:
                if path.name.lower().endswith(".parquet"):
                    described = connection.execute(f"DESCRIBE SELECT * FROM {_read(path)}").fetchall()
                    types = {row[0]: row[1] for row in described}
                else:
                    _check_encoding(path)
                    types = _sniff_types(connection, path)
            except duckdb.Error as error:
                raise _unreadable(error, path) from None
            finally:
                connection.close()
            columns = (Column(column, guess_semantic(stored), simplified(stored)) for column, stored in types.items())
            self._tables[name] = Table(name, tuple(columns))
        return self._tables[name]


def read_rows(path: Path) -> pa.Table:
    """All rows of one Parquet or CSV file; the columns of a CSV file are text.

    Raises:
        SourceError: it is not there, or is no such file.
    """
    if not path.name.lower().endswith(_SUFFIXES):
        raise SourceError("the file has another kind", where=str(path), hint=f"give one of {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise SourceError("there is no such file", where=str(path))
    if not path.name.lower().endswith(".parquet"):
        _check_encoding(path)
    connection = _connect()
    try:
        return connection.sql(f"FROM {_read(path)}").to_arrow_table()
    except duckdb.Error as error:
        raise _unreadable(error, path) from None
    finally:
        connection.close()


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _read(path: Path) -> str:
    if path.name.lower().endswith(".parquet"):
        return f"read_parquet({path_literal(path)})"
    nulls = ", ".join(literal(text) for text in _NULLS)
    return (
        f"read_csv({path_literal(path)}, header = true, all_varchar = true, null_padding = true, parallel = false, "
        f"nullstr = [{nulls}])"
    )


def _unreadable(error: Exception, path: Path) -> SourceError:
    line = re.search(r"Line: (\d+)", str(error))
    reason = next((part.strip() for part in str(error).splitlines()[1:] if part.strip()), first_line(error))
    if not line:
        return SourceError(f"cannot be read: {first_line(error)}", where=str(path))
    return SourceError(f"cannot be read: {reason}", where=f"{path}:{line[1]}", hint="correct that line")


def _check_encoding(path: Path) -> None:
    """Refuse a file that is empty or not UTF-8, with the line at fault."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, empty = 1, True
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            while block := file.read(1 << 20):
                empty = False
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    line = lines + block.count(b"\n", 0, max(error.start - (len(error.object) - len(block)), 0))
                    byte = error.object[error.start]
                    what = f"byte 0x{byte:02x} is not UTF-8"
                    encoding = "UTF-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
                    hint = f"convert it, for instance: iconv -f {encoding} -t UTF-8 {path.name} > new.csv"
                    raise SourceError(what, where=f"{path}:{line}", hint=hint) from None
                lines += block.count(b"\n")
    except (OSError, EOFError) as error:
        raise SourceError(f"cannot be read: {first_line(error)}", where=str(path)) from None
    if empty:
        raise SourceError("the file is empty", where=str(path), hint="it needs at least a line of column names")


_TESTS = {
    "BOOLEAN": "lower({c}) IN ('true', 'false')",
    "DATE": r"regexp_full_match({c}, '\d{{4}}-\d{{1,2}}-\d{{1,2}}') AND TRY_CAST({c} AS DATE) IS NOT NULL",
    "TIME": r"regexp_full_match({c}, '\d{{1,2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?') AND TRY_CAST({c} AS TIME) IS NOT NULL",
    "TIMESTAMP": r"regexp_matches({c}, '^\d{{4}}-\d{{1,2}}-\d') AND TRY_CAST({c} AS TIMESTAMPTZ) IS NOT NULL",
    "BIGINT": r"regexp_full_match({c}, '\s*[+-]?(0|[1-9]\d*)\s*') AND TRY_CAST({c} AS BIGINT) IS NOT NULL",
    "DOUBLE": r"NOT regexp_full_match({c}, '[+-]?0\d+') AND TRY_CAST({c} AS DOUBLE) IS NOT NULL",
}
"""Stored type → when a text is of it; the first type that fits a column is taken. A leading zero makes a text."""


def _sniff_types(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Column → the first stored type of ``_TESTS`` that its values over the whole file have, else text."""
    names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {_read(path)}").fetchall()]
    left = {name: list(_TESTS) for name in names}
    # The first rows rule most types out; each pass over the whole file then tests one type a column.
    start = f"(FROM {_read(path)} LIMIT 5000)"
    for name, fits in _fitting(connection, start, {name: list(_TESTS) for name in names}).items():
        left[name] = [stored for stored in left[name] if stored in fits]
    types: dict[str, str] = {}
    while waiting := {name: stored for name, stored in left.items() if name not in types}:
        found = _fitting(connection, _read(path), {name: stored[:1] for name, stored in waiting.items() if stored})
        for name, stored in waiting.items():
            if not stored or found[name]:
                types[name] = (stored or ["VARCHAR"])[0]
            left[name] = stored[1:]
    return {name: types[name] for name in names}


def _fitting(connection: duckdb.DuckDBPyConnection, rows: str, tests: dict[str, list[str]]) -> dict[str, list[str]]:
    """The types tested that each column's values have."""
    if not tests:
        return {}
    counts = []
    for name, stored in tests.items():
        counts.append(f"count({quote(name)})")
        counts += [f"count(*) FILTER ({_TESTS[kind].format(c=quote(name))})" for kind in (*stored, "DOUBLE")]
    values = iter(connection.execute(f"SELECT {', '.join(counts)} FROM {rows}").fetchone() or ())
    fitting = {}
    for name, stored in tests.items():
        filled = next(values)
        # Names and codes must be kept to the letter: one 'A17' among numbers makes all of them text.
        needed = filled if names_something(name) else filled * (1 - _TOLERATED)
        found = {kind: next(values) for kind in stored}
        # One fraction makes all of them fractions, however many are whole.
        fractions = next(values) > found.get("BIGINT", 0)
        fitting[name] = [
            kind for kind in stored if filled and found[kind] >= needed and not (kind == "BIGINT" and fractions)
        ]
    return fitting
