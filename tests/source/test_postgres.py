"""PostgreSQL, on a real server."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from kincast.errors import MissingExtraError, SourceError
from kincast.schema import Link, SemanticType
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.source.tables import stage

MakeDatabase = Callable[[str], str]

SHOP = """
CREATE SCHEMA sales;
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE customers (id integer PRIMARY KEY, name text, born date, signed timestamptz);
CREATE TABLE sales.orders (
    shop integer, number integer, customer integer REFERENCES customers, amount numeric(10, 2), odd numeric,
    tint colour, tags text[], extra jsonb, code uuid, paid boolean, at timestamp, PRIMARY KEY (number, shop));
CREATE TABLE sales.lines (
    line bigint PRIMARY KEY, order_shop integer, order_number integer,
    FOREIGN KEY (order_shop, order_number) REFERENCES sales.orders (shop, number));
INSERT INTO customers VALUES (1, 'Ann', '1990-05-01', '2024-01-01 12:00+02'), (2, 'Bob', 'infinity', NULL);
INSERT INTO sales.orders VALUES
    (1, 7, 1, 12.34, 0.5, 'red', '{a,b}', '{"x": 1}', '11111111-1111-1111-1111-111111111111', true, '2024-02-01 10:00'),
    (1, 8, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'infinity');
INSERT INTO sales.lines VALUES (1, 1, 7), (2, 1, NULL);
"""


def test_reads_the_catalogue(postgres_database: MakeDatabase) -> None:
    schema = open_source(postgres_database(SHOP)).inspect()
    assert [table.name for table in schema] == ["customers", "sales.lines", "sales.orders"]
    assert schema.table("sales.orders").key == ("number", "shop")
    assert {c.name: c.stored for c in schema.table("sales.orders").columns} == {
        "shop": "INTEGER",
        "number": "INTEGER",
        "customer": "INTEGER",
        "amount": "DECIMAL(10,2)",
        "odd": "DOUBLE",
        "tint": "VARCHAR",
        "tags": "VARCHAR[]",
        "extra": "VARCHAR",
        "code": "VARCHAR",
        "paid": "BOOLEAN",
        "at": "TIMESTAMP",
    }
    assert schema.table("sales.orders").column("tint").type is SemanticType.CATEGORICAL
    assert schema.table("sales.orders").column("extra").type is SemanticType.IGNORED
    assert schema.table("sales.orders").column("code").type is SemanticType.ID
    # The columns of a composite link come in the order of the key, whatever order the foreign key names them in.
    assert set(schema.links) == {
        Link("sales.orders", ("customer",), "customers", ("id",)),
        Link("sales.lines", ("order_number", "order_shop"), "sales.orders", ("number", "shop")),
    }


def test_reads_rows(postgres_database: MakeDatabase) -> None:
    source = open_source(postgres_database(SHOP))
    people = source.scan("customers").read_all().sort_by("id").to_pylist()
    assert people == [
        {"id": 1, "name": "Ann", "born": date(1990, 5, 1), "signed": datetime(2024, 1, 1, 10)},
        {"id": 2, "name": "Bob", "born": None, "signed": None},
    ]
    orders = source.scan("sales.orders", ["number", "amount", "tags", "tint", "at"]).read_all().sort_by("number")
    assert orders.to_pylist()[0] == {
        "number": 7,
        "amount": "12.34",
        "tags": ["a", "b"],
        "tint": "red",
        "at": datetime(2024, 2, 1, 10),
    }


def test_stages_what_it_infers(postgres_database: MakeDatabase, tmp_path: Path) -> None:
    source = open_source(postgres_database(SHOP))
    schema = infer_schema(source).schema
    assert set(schema.links) == set(source.inspect().links)
    with stage(source, schema, tmp_path / "t") as tables, tables.connect() as connection:
        rows = connection.execute('SELECT amount, odd FROM "sales.orders" ORDER BY _row').fetchall()
    assert str(rows[0][0]) == "12.34"
    assert rows[0][1] == 0.5


def test_since_and_until_are_half_open(postgres_database: MakeDatabase) -> None:
    url = postgres_database(
        "CREATE TABLE t (i integer, at timestamptz); "
        "INSERT INTO t VALUES (1, '1970-01-01 00:00:01Z'), (2, '1970-01-01 00:00:02Z'), (3, '1970-01-01 00:00:03Z')"
    )
    rows = open_source(url).scan("t", ["i"], since=1_000_000, until=2_000_000, time="at").read_all()
    assert rows.column("i").to_pylist() == [2]


def test_names_that_need_quotes_and_differ_in_case(postgres_database: MakeDatabase) -> None:
    url = postgres_database(
        'CREATE TABLE "a ""b"".c" (x integer, "X" integer); INSERT INTO "a ""b"".c" VALUES (1, 2); '
        'CREATE TABLE t (i integer); CREATE TABLE "T" (i integer); INSERT INTO "T" VALUES (5); CREATE TABLE none ()'
    )
    source = open_source(url)
    assert sorted(table.name for table in source.inspect()) == ["T", 'a "b".c', "none", "t_1"]
    assert source.scan('a "b".c').read_all().to_pylist() == [{"x": 1, "X_1": 2}]
    assert source.scan("T").read_all().to_pylist() == [{"i": 5}]
    assert source.scan("t_1").read_all().num_rows == 0
    assert not infer_schema(source).schema.has_table("none")


def test_writes_a_table_again_and_nothing_else(postgres_database: MakeDatabase) -> None:
    source = open_source(postgres_database("CREATE TABLE t (i integer)"))
    for value in (0.25, 0.75):
        source.write("predictions", pa.table({"i": [1], "p": [value]}))
        assert source.scan("predictions").read_all().to_pylist() == [{"i": 1, "p": value}]
    assert source.scan("t").read_all().num_rows == 0


def test_the_password_never_shows(postgres_database: MakeDatabase) -> None:
    url = postgres_database("CREATE TABLE t (i integer)").replace("s3cret", "wr0ng")
    source = open_source(url)
    assert "wr0ng" not in source.url
    with pytest.raises(SourceError) as caught:
        source.inspect()
    assert "wr0ng" not in str(caught.value)
    assert "password" in str(caught.value)


def test_no_server() -> None:
    source = open_source("postgresql://ann:s3cret@127.0.0.1:1/shop")
    with pytest.raises(SourceError, match="cannot be opened") as caught:
        source.inspect()
    assert "s3cret" not in str(caught.value)


def test_an_empty_database(postgres_database: MakeDatabase) -> None:
    with pytest.raises(SourceError, match="no tables"):
        open_source(postgres_database("")).inspect()


def test_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: object, **more: object) -> object:
        if name.startswith("adbc_driver_postgresql"):
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError) as caught:
        open_source("postgresql://localhost/shop")
    assert 'pip install "kincast[postgres]"' in str(caught.value)
