"""SQLite files, whose columns may hold anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kincast.errors import SourceError
from kincast.schema import Link, SemanticType
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.source.tables import stage


def make(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def test_mixed_values_do_not_crash_and_are_counted(tmp_path: Path) -> None:
    numbers = ", ".join(f"({i}, {i}.5)" for i in range(2, 300))
    create = "CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL)"
    make(tmp_path / "x", f"{create}; INSERT INTO t VALUES (1, 'oops'), {numbers}")
    source = open_source("x", tmp_path)
    assert source.inspect().table("t").column("v").stored == "DOUBLE"
    with stage(source, source.inspect(), tmp_path / "s") as tables, tables.connect() as connection:
        assert connection.execute("SELECT v FROM t WHERE id <= 2 ORDER BY id").fetchall() == [(None,), (2.5,)]
    assert dict(tables.counts["t"].unreadable) == {"v": 1}
    assert tables.counts["t"].samples["v"] == ("oops",)


def test_types_follow_the_values(tmp_path: Path) -> None:
    make(
        tmp_path / "x",
        "CREATE TABLE t (a, b INTEGER, c TEXT, d BOOLEAN, e BOOLEAN, f BLOB, g REAL, h NUMERIC, i DATETIME, j);"
        "INSERT INTO t VALUES (1, 2, 'x', 1, 5, x'00ff', 1, 1.5, '2024-01-01 10:00:00', 1),"
        "(2, 3, 7, 0, 6, x'01', 2.5, 2, '2024-01-02 10:00:00', 'x')",
    )
    source = open_source("x", tmp_path)
    assert {c.name: c.stored for c in source.inspect().table("t").columns} == {
        "a": "BIGINT",
        "b": "BIGINT",
        "c": "VARCHAR",
        "d": "BOOLEAN",
        "e": "BIGINT",
        "f": "BLOB",
        "g": "DOUBLE",
        "h": "DOUBLE",
        "i": "VARCHAR",
        "j": "VARCHAR",
    }
    rows = source.scan("t").read_all().to_pylist()
    assert rows[1] == {
        "a": 2, "b": 3, "c": "7", "d": False, "e": 6, "f": b"\x01", "g": 2.5, "h": 2.0, "i": "2024-01-02 10:00:00",
        "j": "x",
    }  # fmt: skip
    assert infer_schema(source).schema.table("t").column("i").type is SemanticType.TIMESTAMP


def test_keys_and_foreign_keys_whatever_their_case(tmp_path: Path) -> None:
    make(
        tmp_path / "x",
        "CREATE TABLE Games (day TEXT, home TEXT, PRIMARY KEY (home, day));"
        "CREATE TABLE goals (id INTEGER PRIMARY KEY, DAY TEXT, HOME TEXT, other INTEGER REFERENCES GOALS,"
        " FOREIGN KEY (day, home) REFERENCES games (day, home));",
    )
    schema = open_source("x", tmp_path).inspect()
    assert schema.table("Games").key == ("home", "day")
    assert set(schema.links) == {
        Link("goals", ("HOME", "DAY"), "Games", ("home", "day")),
        Link("goals", ("other",), "goals", ("id",)),
    }


def test_a_locked_database_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "x", "CREATE TABLE t (i INTEGER)")
    source = open_source("x", tmp_path)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{**k, "timeout": 0.01}))
    with closing(real(tmp_path / "x", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceError, match="locked") as caught:
            source.inspect()
        assert "another program" in str(caught.value)
    assert source.inspect().has_table("t")


def test_reading_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path / "x", "CREATE TABLE t (i INTEGER); INSERT INTO t VALUES (1)")
    before = (tmp_path / "x").read_bytes()
    source = open_source("x", tmp_path)
    infer_schema(source)
    assert source.scan("t").read_all().num_rows == 1
    assert (tmp_path / "x").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_broken_text_is_read_with_marks(tmp_path: Path) -> None:
    make(tmp_path / "x", "CREATE TABLE t (s TEXT); INSERT INTO t VALUES (CAST(x'63e9' AS TEXT))")
    assert open_source("x", tmp_path).scan("t").read_all().to_pylist() == [{"s": "c\ufffd"}]


def test_no_tables(tmp_path: Path) -> None:
    make(tmp_path / "x", "CREATE TABLE t (i INTEGER); DROP TABLE t")
    with pytest.raises(SourceError, match="no tables"):
        open_source("x", tmp_path).inspect()
