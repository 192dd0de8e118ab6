"""Columns of every stored type: a query is refused with a reason, or its labels can be made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from kincast.clock import parse_instant
from kincast.errors import QueryError
from kincast.query.compile import compile_task
from kincast.query.labels import label_sql
from kincast.query.tree import Function
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.open import open_source
from kincast.source.tables import Tables, stage

VALUES = {
    "BOOLEAN": "true",
    "TINYINT": "-7",
    "UBIGINT": "18446744073709551615",
    "HUGEINT": "9999999999999999999999999999999999999",
    "DECIMAL(38,2)": "999999999999999999999999999999999999.99",
    "DOUBLE": "1e308",
    "VARCHAR": "'it''s 5'",
    "DATE": "DATE '2024-01-31'",
    "TIMESTAMP": "TIMESTAMP '2024-01-31 13:00'",
    "TIME": "TIME '13:00'",
    "UUID": "'2f4e9a3c-6a5d-4c3b-8e7a-0123456789ab'",
    "BLOB": "'\\xAA'::BLOB",
    "INTEGER[]": "[1, 2]",
    "VARCHAR[]": "['a', NULL]",
}
WRITTEN = """
= 5 | = -5 | != 0.5 | < 9223372036854775807 | BETWEEN 0 AND 300 | IN (1, 2) | = true | != 1 | = 'a' | > 'a' | LIKE '%5'
| STARTS WITH 'a' | CONTAINS 'a' | CONTAINS 1 | NOT CONTAINS 'a' | > 2024-01-31 | = '2024-01-31' | IS NULL | IS NOT NULL
"""
TESTS = WRITTEN.split("|")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    folder: Path = tmp_path_factory.mktemp("odd")
    names = [f"c{i}" for i in range(len(VALUES))]
    with duckdb.connect(str(folder / "odd.duckdb")) as connection:
        columns = ", ".join(f"{name} {stored}" for name, stored in zip(names, VALUES, strict=True))
        connection.execute("CREATE TABLE owner (id INTEGER PRIMARY KEY)")
        connection.execute(f"CREATE TABLE fact (id INTEGER PRIMARY KEY, owner INTEGER, seen TIMESTAMP, {columns})")
        connection.execute("INSERT INTO owner VALUES (1), (2)")
        for key, values in enumerate([VALUES.values(), ["NULL"] * len(VALUES), VALUES.values()]):
            connection.execute(f"INSERT INTO fact VALUES ({key}, 1, '2024-01-0{key + 1}', {', '.join(values)})")
    found = open_source(str(folder / "odd.duckdb")).inspect()
    tables = tuple(
        dataclasses.replace(t, key=("id",), time=RowTime(column="seen") if t.name == "fact" else None) for t in found
    )
    schema = Schema(tables, (Link("fact", ("owner",), "owner", ("id",)),))
    with stage(open_source(str(folder / "odd.duckdb")), schema, folder / "tables") as staged:
        yield staged


def meant(schema: Schema, meaning: SemanticType) -> Schema:
    """The schema with every odd column meaning the same."""

    def column(c: Column) -> Column:
        return dataclasses.replace(c, type=meaning) if c.name.startswith("c") else c

    def table(t: Table) -> Table:
        return dataclasses.replace(t, columns=tuple(column(c) for c in t.columns))

    return Schema(tuple(table(t) for t in schema), schema.links)


@pytest.mark.parametrize("meaning", [m for m in SemanticType if m is not SemanticType.TIMESTAMP])
def test_what_is_accepted_can_be_labelled(odd: Tables, meaning: SemanticType) -> None:
    schema = meant(odd.schema, meaning)
    fact = schema.table("fact")
    accepted = 0
    with odd.connect() as connection:
        for column in (c for c in fact.columns if c.name.startswith("c")):
            queries = [f"{function}(fact.{column.name}, 0, 9, days)" for function in Function]
            queries += [f"fact.{column.name}", *(f"fact.{column.name} {test}" for test in TESTS)]
            queries += [f"LAST(fact.{column.name}, 0, 9, days) {test}" for test in TESTS[::3]]
            for query in queries:
                entity = "fact" if query.startswith("fact") else "owner"
                with contextlib.suppress(QueryError):
                    task = compile_task(f"PREDICT {query} FOR EACH {entity}", schema)
                    accepted += 1
                    connection.execute(label_sql(task, [parse_instant("2023-12-31")])).fetchall()
    assert accepted > 20
