"""The commands on snapshots: list, history, diff, verify, gc."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from kincast.cli.main import main
from kincast.testing.tiny import tiny_database


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """A project with two snapshots: one order was added in between."""
    monkeypatch.chdir(tmp_path)
    tiny_database(tmp_path)
    assert main(["init", "tiny.duckdb", "--quiet"]) == 0
    found = []
    for number in range(2):
        if number:
            with duckdb.connect("tiny.duckdb") as connection:
                sql = "INSERT INTO orders SELECT * REPLACE (9999 AS order_id) FROM orders LIMIT 1"
                connection.execute(sql)
        assert main(["build", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["snapshot"])
    gc.collect()
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["snapshots", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_list_and_history(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "list")
    assert [(info["id"], info["is_current"], info["problem"]) for info in listed] == [
        (ids[0], False, None),
        (ids[1], True, None),
    ]
    told = said(capsys, "history")
    assert [(p["number"], p["snapshot"]) for p in told] == [(2, ids[1]), (1, ids[0])]
    assert said(capsys, "history", "--at", told[1]["at"])["snapshot"] == ids[0]
    assert said(capsys, "history", "--at", "2100-01-01")["snapshot"] == ids[1]
    assert main(["snapshots", "history", "--at", "1999-01-01"]) == 1
    assert "no snapshot was current" in capsys.readouterr().err


def test_diff(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "diff", ids[0])
    assert (found["first"], found["second"], found["schema"]) == (ids[0], ids[1], [])
    assert found["rows"]["orders"] == [300, 301]
    before, after = found["degrees"]["orders.customer_id -> customers.customer_id"]
    assert after["num_edges"] == before["num_edges"] + 1
    assert main(["snapshots", "diff", ids[0], ids[1]]) == 0
    assert "+1" in capsys.readouterr().out


def test_verify(ids: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert said(capsys, "verify")["snapshot"] == ids[1]
    (path,) = tmp_path.rglob(f"{ids[0]}/link/0.rows.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert main(["snapshots", "verify", ids[0]]) == 1
    assert "does not match its hash" in capsys.readouterr().err
    assert said(capsys, "verify")["snapshot"] == ids[1]


def test_gc(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "gc")["removed"] == []
    assert said(capsys, "gc", "--keep", "1", "--dry-run")["removed"] == [ids[0]]
    assert said(capsys, "gc", "--keep", "1")["removed"] == [ids[0]]
    assert [info["id"] for info in said(capsys, "list")] == [ids[1]]


def test_without_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_database(tmp_path)
    assert main(["init", "tiny.duckdb", "--quiet"]) == 0
    assert said(capsys, "list") == []
    assert said(capsys, "gc")["removed"] == []
    assert main(["snapshots", "verify"]) == 1
    assert "kincast build" in capsys.readouterr().err
