"""Labels of tables of versions: the same in the user's PostgreSQL as over the snapshot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.versions import SCHEMA, day, day_us, random_versions, write_versions

from kincast.query.compile import compile_task
from kincast.query.labels import label_sql
from kincast.source.open import open_source
from kincast.source.tables import stage

QUERIES = (
    "PREDICT COUNT(orders.*, 0, 20, days) FOR EACH customers",
    "PREDICT COUNT(orders.* WHERE customers.segment = 1, 0, 20, days) FOR EACH customers",
    "PREDICT COUNT(orders.*, 0, 20, days) > 0 FOR EACH customers WHERE customers.segment != 0",
)
ANCHORS = tuple(day_us(at) for at in (10, 25, 40))


def _cell(value: object) -> str:
    return "NULL" if value is None else str(value) if isinstance(value, int) else f"'{value}'"


@pytest.mark.parametrize("seed", [0, 1])
def test_both_engines_mean_the_same_versions(
    seed: int, postgres_database: Callable[[str], str], tmp_path: Path
) -> None:
    import adbc_driver_postgresql.dbapi as driver

    versions, orders = random_versions(seed)
    parts = [
        "CREATE TABLE customers (customer_id BIGINT, valid_from TIMESTAMP, valid_to TIMESTAMP, segment BIGINT);"
        "CREATE TABLE orders (order_id BIGINT PRIMARY KEY, customer_id BIGINT, ordered_at TIMESTAMP);"
    ]
    for key, start, end, segment in versions:
        cells = ", ".join(map(_cell, (key, day(start), day(end), segment)))
        parts.append(f"INSERT INTO customers VALUES ({cells});")
    for key, customer, at in orders:
        parts.append(f"INSERT INTO orders VALUES ({', '.join(map(_cell, (key, customer, day(at))))});")
    url = postgres_database("\n".join(parts))
    write_versions(tmp_path / "v.duckdb", versions, orders)
    with (
        stage(open_source(str(tmp_path / "v.duckdb")), SCHEMA, tmp_path / "tables") as tables,
        tables.connect() as connection,
        driver.connect(url) as theirs,
        theirs.cursor() as cursor,
    ):
        for query in QUERIES:
            task = compile_task(query, SCHEMA)
            ours = connection.execute(label_sql(task, ANCHORS)).fetchall()
            cursor.execute(label_sql(task, ANCHORS, dialect="postgres"))
            assert sorted(tuple(row) for row in cursor.fetchall()) == sorted(ours)
            assert ours
