"""A new project file can be read, and suggests a query that suits the schema."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kincast.cli.init import project_text, source_from, suggest_query
from kincast.project import PROJECT_FILE, read_project
from kincast.query.compile import compile_task
from kincast.schema import Column, RowTime, Schema, SemanticType, Table
from kincast.testing.tiny import tiny_schema


def test_the_suggestion_compiles_and_asks_about_people() -> None:
    query = suggest_query(tiny_schema())
    assert query is not None
    assert compile_task(query, tiny_schema()).entity == "customers"


def test_there_is_no_suggestion_without_dated_facts() -> None:
    products = tiny_schema().table("products")
    assert suggest_query(Schema((products,))) is None


def test_a_single_table_is_asked_about_its_flag() -> None:
    columns = (
        Column("id", SemanticType.ID, "BIGINT"),
        Column("paid_at", SemanticType.TIMESTAMP, "TIMESTAMP"),
        Column("is_fraud", SemanticType.BOOLEAN, "BOOLEAN"),
    )
    schema = Schema((Table("payments", columns, ("id",), RowTime("paid_at")),))
    query = suggest_query(schema)
    assert query == "PREDICT payments.is_fraud FOR EACH payments.id"
    assert compile_task(query, schema).is_static


@pytest.mark.parametrize("query", [None, "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id"])
@pytest.mark.parametrize("source", ["shop.duckdb", "odd: name #1", "yes", "1e3", "postgresql://ann@db/shop"])
def test_the_file_can_be_read_with_and_without_its_comments(tmp_path: Path, source: str, query: str | None) -> None:
    text = project_text(source, query)
    (tmp_path / PROJECT_FILE).write_text(text)
    assert read_project(tmp_path).source == source
    if query is not None:
        lines = text.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("# tasks:"))
        (tmp_path / PROJECT_FILE).write_text("\n".join([*lines[:start], *(line[2:] for line in lines[start:])]))
        assert read_project(tmp_path).tasks["first"].query == query
    assert yaml.safe_load(text)["schema"] == "schema.yaml"


def test_a_source_below_the_project_moves_with_it(tmp_path: Path) -> None:
    assert source_from(str(tmp_path / "data" / "shop.db"), tmp_path) == "data/shop.db"
    assert source_from("/elsewhere/shop.db", tmp_path) == "/elsewhere/shop.db"


def test_a_password_is_never_written_down(tmp_path: Path) -> None:
    assert source_from("postgresql://ann:secret@db/shop", tmp_path) == "postgresql://ann@db/shop"
