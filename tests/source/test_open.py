"""Which kind of database a path or URL is."""

from __future__ import annotations

import importlib
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from kincast.errors import SourceError
from kincast.source.open import KINDS, open_source, without_password


def test_the_table_of_kinds_leads_somewhere() -> None:
    for place in KINDS.values():
        module, _, name = place.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "a.bin")) as connection:
        connection.execute("CREATE TABLE t (i INTEGER)")
    with closing(sqlite3.connect(tmp_path / "b.bin")) as lite:
        lite.execute("CREATE TABLE u (i INTEGER)")
    assert open_source("a.bin", tmp_path).inspect().has_table("t")
    assert open_source("b.bin", tmp_path).inspect().has_table("u")
    assert open_source(f"duckdb:///{tmp_path}/a.bin").inspect().has_table("t")
    assert open_source("sqlite:///b.bin", tmp_path).inspect().has_table("u")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.duckdb", None, "there is no such file or folder"),
        ("x.duckdb", b"just some text", "is neither a DuckDB nor a SQLite database"),
        ("x.db", b"", "is empty, not a database"),
        ("x.csv", b"a,b\n", "is a single table, not a database"),
    ],
)
def test_what_is_no_database(tmp_path: Path, name: str, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=what) as caught:
        open_source(name, tmp_path)
    assert caught.value.where == str(tmp_path / name)
    assert caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("head", [b"\0" * 8 + b"DUCK" + b"\0" * 5000, b"SQLite format 3\0" + b"x" * 5000])
def test_damaged_databases(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "x").write_bytes(head)
    with pytest.raises(SourceError, match=r"cannot be (opened|read)"):
        open_source("x", tmp_path).inspect()


def test_unknown_scheme() -> None:
    with pytest.raises(SourceError, match="databases of the kind oracle") as caught:
        open_source("oracle://ann:s3cret@host/x")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:pw@db:5432/shop", "postgresql://ann@db:5432/shop"),
        ("postgresql://ann:p@w@db/shop", "postgresql://ann@db/shop"),
        ("postgresql://db/shop?user=a&password=pw", "postgresql://db/shop?user=a"),
        ("postgresql://db/shop?sslpassword=pw", "postgresql://db/shop"),
        ("postgresql://db/shop", "postgresql://db/shop"),
    ],
)
def test_passwords_are_taken_out(url: str, shown: str) -> None:
    assert without_password(url) == shown
