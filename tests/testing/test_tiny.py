"""The tiny shop: the same every time, with the keys and links its schema says."""

from __future__ import annotations

from pathlib import Path

import duckdb

from kincast.testing.tiny import NUM_CUSTOMERS, NUM_ORDERS, tiny_database, tiny_rows, tiny_schema


def test_is_the_same_every_time(tmp_path: Path) -> None:
    assert tiny_rows() == tiny_rows()
    with duckdb.connect(str(tiny_database(tmp_path)), read_only=True) as connection:
        for table, rows in tiny_rows().items():
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == rows


def test_declares_the_keys_and_links_of_its_schema(tmp_path: Path) -> None:
    schema = tiny_schema()
    with duckdb.connect(str(tiny_database(tmp_path)), read_only=True) as connection:
        declared = connection.execute(
            "SELECT table_name, constraint_type, constraint_column_names FROM duckdb_constraints()"
        ).fetchall()
    keys = {table: tuple(columns) for table, kind, columns in declared if kind == "PRIMARY KEY"}
    foreign = {(table, tuple(columns)) for table, kind, columns in declared if kind == "FOREIGN KEY"}
    assert keys == {table.name: table.key for table in schema if table.key}
    assert foreign == {(link.table, link.columns) for link in schema.links}


def test_is_small_and_has_gaps() -> None:
    rows = tiny_rows()
    assert (len(rows["customers"]), len(rows["orders"])) == (NUM_CUSTOMERS, NUM_ORDERS)
    assert any(order[4] is None for order in rows["orders"])
    assert any(customer[7] is None for customer in rows["customers"])
