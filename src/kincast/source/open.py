"""Opening a source: which kind of database a path or URL is."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from kincast.errors import SourceError
from kincast.source.base import Source

KINDS = {
    "duckdb": "kincast.source.duckdb_file:DuckDBSource",
    "sqlite": "kincast.source.sqlite:SqliteSource",
    "folder": "kincast.source.folder:FolderSource",
    "postgresql": "kincast.source.postgres:PostgresSource",
}
"""Kind of source → the class that reads it, as ``module:object``; made with (url, path)."""

_SCHEMES = {"duckdb": "duckdb", "sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_HINT = "give a .duckdb or SQLite file, a folder of Parquet or CSV files, or postgresql://user@host/database"


def open_source(url: str, base: Path = Path()) -> Source:
    """Open a database for reading.

    Args:
        url: path of a DuckDB or SQLite file or of a folder of Parquet and CSV files, or a PostgreSQL URL. A path may
            be written as ``duckdb:///path`` or ``sqlite:///path`` too.
        base: folder that relative paths start from.

    Raises:
        SourceError: there is nothing there, or it is of no known kind.
        MissingExtraError: reading it needs an optional package.
    """
    scheme = url.split("://", 1)[0].lower() if "://" in url else ""
    if scheme and scheme not in _SCHEMES:
        raise SourceError(f"cannot read databases of the kind {scheme}", where=without_password(url), hint=_HINT)
    if _SCHEMES.get(scheme) == "postgresql":
        return _make("postgresql", url, base)
    text = url.split("://", 1)[1] if scheme else url
    # As in SQLAlchemy: three slashes start a relative path, four an absolute one.
    path = base / Path(text.removeprefix("/") if scheme else text).expanduser()
    return _make(_SCHEMES.get(scheme) or _kind_of(path), url, path)


def without_password(url: str) -> str:
    """The URL without its password, wherever it was written.

    >>> without_password("postgresql://ann:secret@db/shop?password=x&sslmode=off")
    'postgresql://ann@db/shop?sslmode=off'
    """
    head, has_query, query = url.partition("?")
    scheme, separator, rest = head.partition("://")
    if separator and "@" in rest:
        # The last @ ends the user part: a password may hold one that was not escaped.
        user, _, host = rest.rpartition("@")
        head = f"{scheme}://{user.split(':', 1)[0]}@{host}"
    kept = [part for part in query.split("&") if "password" not in part.split("=", 1)[0].lower()]
    return head + ("?" + "&".join(kept) if has_query and any(kept) else "")


def password_of(url: str) -> str | None:
    """The password written in a URL; None without one or when the URL cannot be taken apart."""
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def _make(kind: str, url: str, path: Path) -> Source:
    module, _, name = KINDS[kind].partition(":")
    return cast(Source, getattr(import_module(module), name)(url, path))


def _kind_of(path: Path) -> str:
    try:
        if path.is_dir():
            return "folder"
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise SourceError("there is no such file or folder", where=str(path), hint=_HINT) from None
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if head[8:12] == b"DUCK":
        return "duckdb"
    if head == b"SQLite format 3\0":
        return "sqlite"
    if path.name.lower().endswith((".parquet", ".csv", ".csv.gz")):
        hint = f"give the folder it lies in: {path.parent}"
        raise SourceError("is a single table, not a database", where=str(path), hint=hint)
    what = "is empty, not a database" if not head else "is neither a DuckDB nor a SQLite database"
    raise SourceError(what, where=str(path), hint=_HINT)
