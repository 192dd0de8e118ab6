"""One suite that every kind of source must pass: the same rows come out of all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from kincast.errors import SourceError
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.base import Source
from kincast.source.open import KINDS, open_source
from kincast.source.tables import stage

STATEMENTS = """
CREATE TABLE people (id INTEGER PRIMARY KEY, name VARCHAR(40), height DOUBLE PRECISION, joined TIMESTAMP);
CREATE TABLE visits (person INTEGER REFERENCES people (id), "the day" DATE, paid BOOLEAN, note VARCHAR(40));
INSERT INTO people VALUES (3, 'Zoë', 1.5, '2024-01-02 03:04:05'), (1, 'O''Hara, "Jo"', NULL, '2024-01-01 00:00:00'),
    (2, NULL, 2.25, '2024-01-01 00:00:00');
INSERT INTO visits VALUES (1, '2024-02-01', TRUE, 'a'), (NULL, '2024-02-03', NULL, NULL), (3, '2024-02-02', FALSE, 'b');
"""
SCHEMA = Schema(
    (
        Table(
            "people",
            (
                Column("id", SemanticType.ID, "BIGINT"),
                Column("name", SemanticType.TEXT, "VARCHAR"),
                Column("height", SemanticType.NUMERICAL, "DOUBLE"),
                Column("joined", SemanticType.TIMESTAMP, "TIMESTAMP"),
            ),
            ("id",),
            RowTime("joined"),
        ),
        Table(
            "visits",
            (
                Column("person", SemanticType.ID, "BIGINT"),
                Column("the day", SemanticType.TIMESTAMP, "DATE"),
                Column("paid", SemanticType.BOOLEAN, "BOOLEAN"),
                Column("note", SemanticType.CATEGORICAL, "VARCHAR"),
            ),
            (),
            RowTime("the day"),
        ),
    ),
    (Link("visits", ("person",), "people", ("id",)),),
)
DECLARES = ("duckdb", "sqlite", "postgresql")


def _rows(folder: Path) -> dict[str, pa.Table]:
    with duckdb.connect() as connection:
        connection.execute(STATEMENTS)
        return {name: connection.sql(f"FROM {name}").to_arrow_table() for name in ("people", "visits")}


@pytest.fixture(params=["duckdb", "sqlite", "parquet", "csv", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Source:
    if kind == "postgresql":
        make: Callable[[str], str] = request.getfixturevalue("postgres_database")
        return open_source(make(STATEMENTS))
    if kind == "duckdb":
        with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
            connection.execute(STATEMENTS)
        return open_source("x.duckdb", tmp_path)
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
            connection.executescript(STATEMENTS)
        return open_source("x.db", tmp_path)
    folder = tmp_path / "x"
    folder.mkdir()
    for name, rows in _rows(tmp_path).items():
        if kind == "parquet":
            pq.write_table(rows, folder / f"{name}.parquet")
        else:
            with duckdb.connect() as connection:
                connection.register("rows", rows)
                connection.execute(f"COPY rows TO '{folder}/{name}.csv' (HEADER, NULLSTR '\\N')")
    return open_source("x", tmp_path)


def test_every_kind_is_here() -> None:
    assert set(KINDS) == {"duckdb", "sqlite", "folder", "postgresql"}


def test_inspect(source: Source, kind: str) -> None:
    schema = source.inspect()
    assert [table.name for table in schema] == ["people", "visits"]
    assert [column.name for column in schema.table("visits").columns] == ["person", "the day", "paid", "note"]
    assert schema.links == (SCHEMA.links if kind in DECLARES else ())
    assert schema.table("people").key == (("id",) if kind in DECLARES else ())


def test_the_same_rows_come_out(source: Source, tmp_path: Path) -> None:
    with stage(source, SCHEMA, tmp_path / "staged") as tables, tables.connect() as connection:
        people = connection.execute(
            "SELECT id, name, height, CAST(_time AS VARCHAR) FROM people ORDER BY _row"
        ).fetchall()
        visits = connection.execute(
            "SELECT person, CAST(_time AS VARCHAR), paid, note FROM visits ORDER BY _row"
        ).fetchall()
    assert people == [
        (1, 'O\'Hara, "Jo"', None, "2024-01-01 00:00:00"),
        (2, None, 2.25, "2024-01-01 00:00:00"),
        (3, "Zoë", 1.5, "2024-01-02 03:04:05"),
    ]
    assert visits == [
        (1, "2024-02-01 00:00:00", True, "a"),
        (3, "2024-02-02 00:00:00", False, "b"),
        (None, "2024-02-03 00:00:00", None, None),
    ]
    assert not any(count.unreadable for count in tables.counts.values())


def test_scan_gives_the_columns_asked_for_in_that_order(source: Source) -> None:
    rows = source.scan("visits", ["note", "person"]).read_all()
    assert rows.column_names == ["note", "person"]
    assert rows.num_rows == 3
    assert source.scan("visits", ["note"]).read_all().num_rows == 3  # and again


def test_scan_of_what_is_not_there(source: Source) -> None:
    with pytest.raises(SourceError, match="there is no table visit") as caught:
        source.scan("visit")
    assert "people, visits" in str(caught.value)
    with pytest.raises(SourceError, match="visits has no column nope"):
        source.scan("visits", ["nope"])


def test_scan_between_instants(source: Source, kind: str) -> None:
    day = 19_754 * 86_400_000_000  # 2024-02-01
    rows = source.scan("visits", ["person"], since=day, until=day + 86_400_000_000, time="the day").read_all()
    assert [str(value) for value in rows.column("person").to_pylist()] == ["3"]
    with pytest.raises(SourceError, match="must name the time column"):
        source.scan("visits", since=day)


def test_write_creates_and_replaces(source: Source) -> None:
    for value in (0.5, 0.75):
        source.write("kincast predictions", pa.table({"id": [1, None], "p": [value, 1.0]}))
        rows = source.scan("kincast predictions").read_all()
        assert rows.column("p").to_pylist() == [value, 1.0]
        assert rows.column("id").to_pylist() == [1, None]
    assert [table.name for table in source.inspect()] == ["kincast predictions", "people", "visits"]
    assert source.scan("people").read_all().num_rows == 3
