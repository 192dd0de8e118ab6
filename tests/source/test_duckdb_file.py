"""DuckDB files."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from kincast.errors import SourceError
from kincast.schema import Link, SemanticType
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.source.tables import stage


def make(path: Path, sql: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(sql)


def test_types_that_arrow_and_parquet_cannot_hold(tmp_path: Path) -> None:
    make(
        tmp_path / "x",
        "CREATE TABLE t (e ENUM('a', 'b'), h HUGEINT, u UUID, i INTERVAL, l VARCHAR[], f FLOAT[2], s STRUCT(x INT),"
        " z TIMESTAMPTZ, n TIMESTAMP_NS, d DECIMAL(9, 2), m MAP(INT, INT), b BIT);"
        "INSERT INTO t VALUES ('b', 170141183460469231731687303715884105, uuid(), INTERVAL 1 DAY, ['q', NULL], [1, 2],"
        " {'x': 1}, '2024-01-01 02:00:00+02', '2024-01-01 00:00:00.123456001', 1.25, MAP {1: 2}, '101')",
    )
    source = open_source("x", tmp_path)
    types = {c.name: (c.stored, c.type) for c in source.inspect().table("t").columns}
    assert types["e"] == ("VARCHAR", SemanticType.CATEGORICAL)
    assert types["l"] == ("VARCHAR[]", SemanticType.MULTICATEGORICAL)
    assert types["f"][1] is SemanticType.VECTOR
    assert types["s"] == ("VARCHAR", SemanticType.IGNORED)
    assert types["u"] == ("VARCHAR", SemanticType.ID)
    assert types["z"] == ("TIMESTAMP WITH TIME ZONE", SemanticType.TIMESTAMP)
    with stage(source, source.inspect(), tmp_path / "s") as tables, tables.connect() as connection:
        row = connection.execute("SELECT e, h, l, z, n, d FROM t").fetchone()
    assert row == (
        "b",
        Decimal("170141183460469231731687303715884105"),
        ["q", None],
        datetime(2024, 1, 1),
        datetime(2024, 1, 1, 0, 0, 0, 123456),
        Decimal("1.25"),
    )


def test_schemas_and_names(tmp_path: Path) -> None:
    make(
        tmp_path / "x",
        'CREATE SCHEMA "a b"; CREATE TABLE "a b".t (i INTEGER PRIMARY KEY); CREATE TABLE "a b.t" (i INTEGER);'
        'CREATE TABLE "a b"."q ""x""" (t INTEGER, FOREIGN KEY (t) REFERENCES "a b".t (i)); CREATE VIEW v AS SELECT 1',
    )
    schema = open_source("x", tmp_path).inspect()
    assert [table.name for table in schema] == ["a b.t", 'a b.q "x"', "a b.t_1"]
    assert schema.links == (Link('a b.q "x"', ("t",), "a b.t_1", ("i",)),)


def test_open_for_writing_elsewhere(tmp_path: Path) -> None:
    make(tmp_path / "x.duckdb", "CREATE TABLE t (i INTEGER)")
    source = open_source("x.duckdb", tmp_path)
    with duckdb.connect(str(tmp_path / "x.duckdb")), pytest.raises(SourceError, match="cannot be opened") as caught:
        source.inspect()
    assert "another program has it open" in str(caught.value)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path / "x.duckdb", "CREATE TABLE t AS SELECT DATE '2024-01-01' AS d")
    before = (tmp_path / "x.duckdb").read_bytes()
    source = open_source("x.duckdb", tmp_path)
    assert source.scan("t").read_all().to_pylist() == [{"d": date(2024, 1, 1)}]
    assert (tmp_path / "x.duckdb").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.duckdb"]


def test_numbers_at_the_limits_and_lists_of_anything(tmp_path: Path) -> None:
    make(
        tmp_path / "x",
        "CREATE TABLE t (id BIGINT, u UBIGINT, h HUGEINT, d DOUBLE, l INT[][], s STRUCT(a INT)[], z TIMESTAMPTZ[]);"
        "INSERT INTO t VALUES (-9223372036854775808, 18446744073709551615, -170141183460469231731687303715884105727,"
        " 1e308, [[1]], [{'a': 1}], ['2024-01-01 00:00:00+02']), (9223372036854775807, 0, 0, 'nan', NULL, NULL, NULL)",
    )
    source = open_source("x", tmp_path)
    schema = infer_schema(source).schema
    assert {c.type for c in schema.table("t").columns if c.name in "lsz"} == {SemanticType.IGNORED}
    with stage(source, schema, tmp_path / "s") as tables, tables.connect() as connection:
        rows = connection.execute("SELECT id, u, h, d FROM t ORDER BY id").fetchall()
    # The first 128-bit number has 39 digits, more than exact decimals hold.
    assert rows == [(-(2**63), 2**64 - 1, None, 1e308), (2**63 - 1, 0, 0, None)]
    assert dict(tables.counts["t"].unreadable) == {"h": 1}
