"""Source protocol: what every kind of database offers, and the few things all kinds share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from kincast.errors import KincastError, SchemaError, SourceError, StorageError
from kincast.schema import Link, Schema, SemanticType, Table

BATCH_ROWS = 65_536
"""Rows of an Arrow batch read from a source."""

DISK_FULL = ("no space left", "disk full", "read-only file system", "database or disk is full")


class Source(Protocol):
    """A database, opened for reading.

    ``scan`` may give a column as text although its stored type is another (CSV, SQLite): whoever reads casts it to
    the stored type and counts the values that will not go. Timestamps with a time zone arrive as UTC without one.

    Attributes:
        url: as the user wrote it, without the password.
    """

    url: str

    def inspect(self) -> Schema:
        """Tables, columns with stored types, declared keys and foreign keys: the catalogue's truth, nothing inferred.

        Raises:
            SourceError: the database cannot be read or has no table.
        """

    def scan(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        until: int | None = None,
        time: str | None = None,
    ) -> pa.RecordBatchReader:
        """The rows of a table, in whatever order the source has.

        Args:
            table: name as in ``inspect``.
            columns: names as in ``inspect``; all when None.
            since: only rows whose ``time`` column is later than this instant, microseconds UTC.
            until: only rows whose ``time`` column is not later than this instant, microseconds UTC.
            time: date or timestamp column that ``since`` and ``until`` look at.

        Raises:
            SourceError: the table or a column is not there, or reading fails.
        """

    def write(self, table: str, rows: pa.Table) -> None:
        """Create or replace a table of the source, all or nothing.

        Raises:
            SourceError: the source cannot be written.
        """


@runtime_checkable
class FileSource(Protocol):
    """What a source adds whose tables lie in files that DuckDB can read itself, more than once."""

    def relation(self, table: str, columns: Sequence[str]) -> str | None:
        """SQL of the rows: columns c0, c1, … as ``scan`` gives them and ``_src``, their place; None to scan instead.

        Raises:
            SourceError: the table or a column is not there.
        """

    def file_of(self, table: str) -> Path | None:
        """The file that a relation reads; None where there is none."""


@runtime_checkable
class Fingerprinted(Protocol):
    """What a source adds that can tell whether its rows are still the same."""

    def fingerprint(self) -> str | None:
        """A text that is another one once a file was written; None where that cannot be told."""


def files_fingerprint(paths: Iterable[Path]) -> str | None:
    """``Fingerprinted.fingerprint`` of files; one that is not there counts as such."""
    try:
        return repr([(str(path), stamp_of(path) if path.exists() else None) for path in paths])
    except OSError:
        return None


def stamp_of(path: Path) -> tuple[int, ...]:
    """Device, inode, length, and times of the last write and change of a file, in nanoseconds."""
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def quote(name: str) -> str:
    """A name as a quoted SQL identifier, in DuckDB, SQLite and PostgreSQL alike.

    >>> quote('an "odd" name')
    '"an ""odd"" name"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def unique_names(names: Iterable[str]) -> list[str]:
    """Names made different even where case does not count: the second of ``a, A`` becomes ``A_1``, as in DuckDB.

    >>> unique_names(["a", "A", "b"])
    ['a', 'A_1', 'b']
    """
    given = list(names)
    taken: set[str] = set()
    unique = []
    for name in given:
        candidate, number = name, 0
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate.casefold())
        unique.append(candidate)
    return unique


_NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_BY_STORED = {
    **dict.fromkeys((*_NUMERIC, "UHUGEINT", "FLOAT", "DOUBLE"), SemanticType.NUMERICAL),
    "BOOLEAN": SemanticType.BOOLEAN,
    "DATE": SemanticType.TIMESTAMP,
    "VARCHAR": SemanticType.TEXT,
    "UUID": SemanticType.ID,
}


def guess_semantic(stored: str) -> SemanticType:
    """What a column means as far as its stored type tells."""
    if stored.endswith("]"):
        item_stored, length = stored[: stored.rindex("[")], stored[stored.rindex("[") + 1 : -1]
        item = guess_semantic(item_stored)
        # Lists of fractions are vectors, as are lists of numbers that always are as many; lists of lists are nothing.
        if item is SemanticType.NUMERICAL and (length or not item_stored.startswith(_NUMERIC)):
            return SemanticType.VECTOR
        sets = item in (SemanticType.TEXT, SemanticType.CATEGORICAL, SemanticType.ID, SemanticType.NUMERICAL)
        return SemanticType.MULTICATEGORICAL if sets else SemanticType.IGNORED
    if stored.startswith("DECIMAL"):
        return SemanticType.NUMERICAL
    if stored.startswith("TIMESTAMP"):
        return SemanticType.TIMESTAMP
    if stored.startswith("ENUM"):
        return SemanticType.CATEGORICAL
    return _BY_STORED.get(stored, SemanticType.IGNORED)


def is_integer(stored: str) -> bool:
    """True for whole-number types of every width, signed or not."""
    return stored in _NUMERIC or stored == "UHUGEINT" or (stored.startswith("DECIMAL") and stored.endswith(",0)"))


def fitting_links(tables: Iterable[Table], links: Iterable[Link]) -> tuple[Link, ...]:
    """The declared foreign keys that end at a primary key, each once, their columns in the key's order."""
    keys = {table.name: table.key for table in tables}
    fitting: dict[Link, None] = {}
    for link in links:
        own = dict(zip(link.target_columns, link.columns, strict=True))
        key = keys.get(link.target, ())
        if key and set(own) == set(key):
            fitting[Link(link.table, tuple(own[name] for name in key), link.target, key)] = None
    return tuple(fitting)


def chosen_columns(table: Table, columns: Sequence[str] | None, url: str) -> list[str]:
    """The columns asked for, or all of them.

    Raises:
        SourceError: one of them is not there.
    """
    for name in columns or ():
        if not table.has_column(name):
            names = ", ".join(column.name for column in table.columns)
            raise SourceError(f"table {table.name} has no column {name}", where=url, hint=f"it has {names}")
    return [column.name for column in table.columns] if columns is None else list(columns)


def require_table(schema: Schema, table: str, url: str) -> Table:
    """The table of that name.

    Raises:
        SourceError: there is none.
    """
    try:
        return schema.table(table)
    except SchemaError as error:
        raise SourceError(error.what, where=url, hint=error.hint) from None


def check_window(since: int | None, until: int | None, time: str | None, url: str) -> None:
    """Refuse a window of time that does not say which column it means.

    Raises:
        SourceError: ``since`` or ``until`` without ``time``.
    """
    if time is None and (since is not None or until is not None):
        raise SourceError("a scan from or to an instant must name the time column", where=url)


def storage_or(error: Exception, other: KincastError) -> KincastError:
    """A ``StorageError`` when the error says the disk refused, else the other error."""
    text = str(error).lower()
    if any(sign in text for sign in DISK_FULL):
        return StorageError(f"the disk refused: {first_line(error)}", where=other.where, hint="free some space")
    return other


def first_line(error: Exception) -> str:
    """The first line of an error's text, without the final stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
