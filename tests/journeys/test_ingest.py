"""A PostgreSQL database whose changes are followed, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as driver
import pytest

from kincast.cli.main import main
from kincast.graph.compact import compact
from kincast.graph.follow import Live

pytestmark = pytest.mark.journey

SHOP = """
CREATE TABLE customers (id integer PRIMARY KEY, name text, joined timestamp);
CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, at timestamp, amount float8);
INSERT INTO customers SELECT i, 'c' || i, timestamp '2024-01-01' + i * interval '1 hour' FROM generate_series(1, 40) i;
INSERT INTO orders
    SELECT i, 1 + i % 40, timestamp '2024-02-01' + i * interval '1 hour', i FROM generate_series(1, 300) i;
"""


def elsewhere(folder: Path, url: str) -> Path:
    """A project of the same rows and card that follows nothing."""
    other = folder / "other"
    other.mkdir(exist_ok=True)
    (other / "kincast.yaml").write_text(f"source: {url}\nschema: {folder / 'schema.yaml'}\n")
    return other


def test_from_a_first_build_to_a_quarantine_and_back(
    postgres_database: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGPASSWORD", "s3cret")  # kincast.yaml never holds it
    url = postgres_database(SHOP)
    slot = url.rpartition("/")[2]
    root = tmp_path / ".kincast" / "snapshots"

    def change(sql: str) -> None:
        with driver.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executescript(sql)

    def kincast(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*words, "--json"]) == code
        text = capsys.readouterr().out
        return json.loads(text) if text else None

    def has(table: str, keys: list[int]) -> list[bool]:
        return [bool(row >= 0) for row in Live(root).view.rows_of(table, keys)]

    def rebuilt() -> str:
        return str(kincast("build", "--project", str(elsewhere(tmp_path, url)))["snapshot"])

    kincast("init", url)
    with (tmp_path / "kincast.yaml").open("a") as file:
        file.write(f"live: {{stream: postgresql, slot: {slot}}}\n")
    assert kincast("ingest", "--once", code=1) is None  # there is no snapshot yet
    kincast("build")
    try:
        change("INSERT INTO orders VALUES (999, 3, '2024-03-01', 5), (998, 3, NULL, 5)")
        change("DELETE FROM orders WHERE id < 10")
        status = kincast("ingest", "--once")
        assert (status["rows"], status["rejected"], status["quarantined"]) == (11, 1, {})
        assert has("orders", [999, 998, 1]) == [True, False, False]
        assert [letter["rule"] for letter in kincast("deadletters", "list")] == ["time.missing"]
        assert kincast("deadletters", "replay") == {"kept": 0, "left": 1}
        assert compact(root).id == rebuilt()

        change("ALTER TABLE orders RENAME COLUMN amount TO total; INSERT INTO orders VALUES (997, 3, '2024-03-01', 5)")
        change("INSERT INTO customers VALUES (41, 'new', '2024-03-01')")
        status = kincast("ingest", "--once")
        assert list(status["quarantined"]) == ["orders"]
        assert has("customers", [41]) == [True]
        assert has("orders", [997]) == [False]

        (tmp_path / "schema.yaml").write_text((tmp_path / "schema.yaml").read_text().replace("amount", "total"))
        kincast("build")
        change("UPDATE orders SET total = 6 WHERE id = 997")
        status = kincast("ingest", "--once")
        assert (status["rows"], status["quarantined"]) == (1, {})
        assert compact(root).id == rebuilt()
    finally:
        change(f"SELECT pg_drop_replication_slot('{slot}')")
