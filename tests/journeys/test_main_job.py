"""From an empty directory to a promoted, served, watched and reported model, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from tests.journeys.conftest import KINCAST_YAML, Kincast

pytestmark = pytest.mark.journey


def _ok(kincast: Kincast, *words: str) -> str:
    said = kincast(*words)
    assert said.code == 0, said.err
    assert "Traceback" not in said.err
    return said.out


def test_the_main_job(kincast: Kincast, home: Path) -> None:
    assert "customers" in _ok(kincast, "init", "tiny.duckdb")
    assert "PREDICT COUNT(orders.*, 0, 30, days)" in (home / "kincast.yaml").read_text()
    (home / "kincast.yaml").write_text(KINCAST_YAML)
    _ok(kincast, "check")
    explained = _ok(kincast, "explain", "churn")
    assert "positive" in explained
    assert "SELECT" in explained
    assert "snapshot" in _ok(kincast, "build")
    trained = _ok(kincast, "train", "churn")
    assert "network, trees and linear model" in trained
    compared = _ok(kincast, "evaluate", "churn")
    for rival in ("LightGBM", "last value", "entity mean", "global mean"):
        assert rival in compared

    _ok(kincast, "predict", "churn", "--output", "churn.parquet", "--to-source", "churn_scores")
    rows = pq.read_table(home / "churn.parquet")
    assert rows.column_names == ["customer_id", "as_of", "score"]
    assert rows.num_rows > 30
    with duckdb.connect(str(home / "tiny.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM churn_scores").fetchone() == (rows.num_rows,)

    served = json.loads(_ok(kincast, "serve", "churn", "--once", "--json"))
    (answer,) = served["answer"]["predictions"]
    scores = dict(zip(rows["customer_id"].to_pylist(), rows["score"].to_pylist(), strict=True))
    assert answer["score"] == pytest.approx(scores[answer["key"]], abs=1e-6)

    assert "ok" in _ok(kincast, "drift", "churn")
    with duckdb.connect(str(home / "tiny.duckdb")) as connection:
        connection.execute("UPDATE orders SET amount = amount * 50")
    _ok(kincast, "build", "--quiet")
    moved = kincast("drift", "churn")
    assert "orders.amount" in moved.out, moved.err
    _ok(kincast, "report")
    page = (home / "kincast-report.html").read_text()
    assert all(word in page for word in ("churn", "LightGBM", "Calibration", "kincast train spend"))


def test_promotion_goes_through_the_gate_and_back(kincast: Kincast, home: Path) -> None:
    (home / "kincast.yaml").write_text(KINCAST_YAML)
    kincast("init", "tiny.duckdb", "--project", "card")
    (home / "card" / "schema.yaml").rename(home / "schema.yaml")
    _ok(kincast, "build", "--quiet")
    _ok(kincast, "train", "spend", "--quiet")
    assert "challenger" in _ok(kincast, "versions", "list", "spend")
    # One epoch on 40 customers learns little: whichever way the gate decides, the alias follows its verdict.
    promoted = kincast("versions", "promote", "challenger", "--task", "spend")
    listed = json.loads(_ok(kincast, "versions", "list", "spend", "--json"))
    assert promoted.code == (0 if "champion" in listed[0]["aliases"] else 1)
    refused = kincast("versions", "rollback", "spend")
    assert refused.code == 1
    assert "no previous champion" in refused.err


def test_the_same_rows_give_the_same_snapshot(kincast: Kincast, home: Path) -> None:
    _ok(kincast, "init", "tiny.duckdb")
    first = json.loads(_ok(kincast, "build", "--json"))
    again = json.loads(_ok(kincast, "build", "--json"))
    assert first["snapshot"] == again["snapshot"]
    assert first["rows"]["customers"] == 40


def test_init_never_overwrites_without_force(kincast: Kincast, home: Path) -> None:
    _ok(kincast, "init", "tiny.duckdb")
    (home / "schema.yaml").write_text("mine")
    refused = kincast("init", "tiny.duckdb")
    assert refused.code == 2
    assert "schema.yaml: is already there" in refused.err
    assert (home / "schema.yaml").read_text() == "mine"
    _ok(kincast, "init", "tiny.duckdb", "--force")
    assert (home / "schema.yaml").read_text() != "mine"


def test_init_keeps_a_project_file_that_lacks_its_card(kincast: Kincast, home: Path) -> None:
    mine = KINCAST_YAML.replace("tasks:", "schema: cards/shop.yaml\ntasks:", 1)
    (home / "cards").mkdir()
    (home / "kincast.yaml").write_text(mine)
    said = _ok(kincast, "init", "tiny.duckdb")
    assert "kincast.yaml is as it was" in said
    assert (home / "kincast.yaml").read_text() == mine
    assert "positive" in _ok(kincast, "explain", "churn")  # reads the card that it names
