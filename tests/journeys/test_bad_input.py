"""Every mistake a user can make ends in words, the right exit code, and nothing half-written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.journeys.conftest import KINCAST_YAML, Kincast, Said

pytestmark = pytest.mark.journey

QUERY = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id"


def _refused(said: Said, code: int, *pieces: str) -> None:
    assert said.code == code, said.err
    assert said.err.startswith("kincast: ")
    for piece in pieces:
        assert piece in said.err
    assert "Traceback" not in said.err
    assert "this is a bug" not in said.err


@pytest.fixture
def project(kincast: Kincast, home: Path) -> Path:
    """The tiny database with its card and two tasks."""
    assert kincast("init", "tiny.duckdb", "--quiet").code == 0
    (home / "kincast.yaml").write_text(KINCAST_YAML)
    return home


def _database(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_missing_file(kincast: Kincast, home: Path) -> None:
    _refused(kincast("init", "nothing.duckdb"), 3, "nothing.duckdb", "no such file", "hint:")
    assert not (home / "kincast.yaml").exists()


def test_an_unreadable_database(kincast: Kincast, home: Path) -> None:
    (home / "broken.duckdb").write_bytes(b"\0" * 8 + b"DUCK" + b"\xff" * 4096)
    _refused(kincast("init", "broken.duckdb"), 3, "broken.duckdb")
    (home / "notes.txt").write_text("hello")
    _refused(kincast("init", "notes.txt"), 3, "notes.txt", "neither a DuckDB nor a SQLite database")


def test_a_database_that_has_gone(kincast: Kincast, project: Path) -> None:
    (project / "tiny.duckdb").unlink()
    _refused(kincast("build"), 3, "tiny.duckdb", "no such file")
    assert list((project / ".kincast").glob("snapshots/*")) == []


@pytest.mark.parametrize("name", ["kincast.yaml", "schema.yaml"])
def test_broken_yaml_names_the_line(kincast: Kincast, project: Path, name: str) -> None:
    (project / name).write_text("source: tiny.duckdb\ntasks: [\n")
    _refused(kincast("build"), 2, f"{name}:")


def test_an_unknown_setting_is_named(kincast: Kincast, project: Path) -> None:
    (project / "kincast.yaml").write_text(KINCAST_YAML.replace("max_epochs", "max_epoch"))
    _refused(kincast("train", "churn"), 2, "tasks.churn.train.max_epoch")


def test_a_query_typo_is_underlined(kincast: Kincast, project: Path) -> None:
    said = kincast("query", "run", "EXPLAIN " + QUERY.replace("orders", "oders"))
    _refused(said, 2, "oders", "^^^^^", "orders")


def test_an_unknown_task(kincast: Kincast, project: Path) -> None:
    _refused(kincast("train", "chrun"), 2, "there is no task 'chrun'", "churn, spend")
    _refused(kincast("train"), 2, "the task's name is needed")


def test_an_empty_table(kincast: Kincast, project: Path) -> None:
    _database(project / "tiny.duckdb", "DELETE FROM tickets", "DELETE FROM orders")
    checked = kincast("check")
    assert "orders" in checked.out
    assert kincast("build").code == 0
    _refused(kincast("explain", "churn"), 1, "orders")
    _refused(kincast("train", "churn"), 1, "orders")
    assert list((project / ".kincast").glob("versions/*")) == []


def test_no_time_column(kincast: Kincast, home: Path) -> None:
    _database(
        home / "timeless.duckdb",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name VARCHAR)",
        "CREATE TABLE visits (visit INTEGER PRIMARY KEY, person INTEGER REFERENCES people, pages INTEGER)",
        "INSERT INTO people SELECT i, 'p' || i FROM range(50) t(i)",
        "INSERT INTO visits SELECT i, i % 50, i % 7 FROM range(500) t(i)",
    )
    assert kincast("init", "timeless.duckdb").code == 0
    assert kincast("build").code == 0
    query = "PREDICT COUNT(visits.*, 0, 30, days) = 0 FOR EACH people.id"
    _refused(kincast("query", "run", f"EXPLAIN {query}"), 2, "visits", "time")


def test_no_positive_label(kincast: Kincast, project: Path) -> None:
    impossible = KINCAST_YAML.replace("COUNT(orders.*, 0, 30, days) = 0", "COUNT(orders.*, 0, 30, days) > 100000")
    (project / "kincast.yaml").write_text(impossible)
    assert kincast("build").code == 0
    _refused(kincast("train", "churn"), 1, "training labels are 'false'", "hint:")
    assert list((project / ".kincast").glob("versions/*")) == []


def test_a_full_disk_while_building(kincast: Kincast, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    _refused(kincast("build"), 3, "No space left on device", "hint:")
    monkeypatch.undo()
    monkeypatch.chdir(project)
    left = {path.name for path in (project / ".kincast").rglob("*") if path.is_file()}
    assert left <= {".lock"}
    assert kincast("build").code == 0


def test_commands_in_the_wrong_order(kincast: Kincast, project: Path) -> None:
    _refused(kincast("train", "churn"), 1, "there is no snapshot yet", "kincast build")
    assert kincast("build").code == 0
    for command in ("evaluate", "predict", "serve", "drift"):
        _refused(kincast(command, "churn"), 1, "task churn has no model yet", "kincast train churn")


def test_a_bad_instant_and_a_bad_address(kincast: Kincast, project: Path) -> None:
    _refused(kincast("predict", "churn", "--as-of", "yesterday"), 2, "'yesterday' is not a date")


def test_a_failed_check_is_exit_code_one(kincast: Kincast, home: Path) -> None:
    _database(
        home / "twice.duckdb",
        "CREATE TABLE people (id INTEGER, joined TIMESTAMP)",
        "INSERT INTO people SELECT i, TIMESTAMP '2024-01-01' + i * INTERVAL 1 DAY FROM range(50) t(i)",
    )
    assert kincast("init", "twice.duckdb").code == 0
    _database(home / "twice.duckdb", "INSERT INTO people SELECT 3, TIMESTAMP '2024-06-01' FROM range(9)")
    said = kincast("check")
    assert said.code == 1
    assert "people" in said.out
    assert said.err == ""


def test_one_flipped_bit_in_the_snapshot_is_never_read(kincast: Kincast, project: Path) -> None:
    assert kincast("build").code == 0
    array = next((project / ".kincast").glob("snapshots/*/link/0.forward.npy"))
    spoiled = bytearray(array.read_bytes())
    spoiled[-1] ^= 1
    array.write_bytes(spoiled)
    for command in ("explain", "train"):
        _refused(kincast(command, "spend"), 1, "0.forward.npy", "is damaged", "kincast build")
    assert kincast("build").code == 0
    assert kincast("explain", "spend").code == 0
