"""Columns and rows that tell the label are named before anybody is glad about a metric."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from kincast.graph.build import build_snapshot
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.labels import make_labels
from kincast.report import Check, Verdict
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.testing.planted import QUERY, planted_database
from kincast.train.giveaway import find_giveaways


def checks_of(folder: Path, delay: timedelta) -> list[Check]:
    """Of the home goals of matches, whose goals are dated so long after their match."""
    with duckdb.connect(str(folder / "football.duckdb")) as con:
        con.execute("CREATE TABLE matches (match_id INT PRIMARY KEY, played TIMESTAMP, crowd INT, home_won BOOLEAN)")
        con.execute("CREATE TABLE goals (goal_id INT PRIMARY KEY, match_id INT REFERENCES matches, scored TIMESTAMP)")
        start = datetime(2020, 1, 1)
        con.executemany(
            "INSERT INTO matches VALUES (?, ?, ?, ?)",
            [(i, start + timedelta(i), i * 7 % 100, i * 5 % 3 == 0) for i in range(600)],
        )
        con.executemany(
            "INSERT INTO goals VALUES (?, ?, ?)", [(i, i, start + timedelta(i) + delay) for i in range(600)]
        )
    source = open_source(str(folder / "football.duckdb"))
    snapshot = build_snapshot(source, infer_schema(source).schema, folder / "snapshots")
    task = compile_task("PREDICT matches.home_won FOR EACH matches.match_id", snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = make_labels(task, tables, SplitSettings())
    return list(find_giveaways(snapshot, task, labels).checks)


@pytest.mark.parametrize(("delay", "warned"), [(timedelta(), True), (timedelta(days=1), False)])
def test_rows_at_the_very_instant_of_a_column_are_named(tmp_path: Path, delay: timedelta, warned: bool) -> None:
    found = [check for check in checks_of(tmp_path, delay) if check.name == "label.same_instant"]
    assert [check.where for check in found] == (["goals.match_id -> matches.match_id"] if warned else [])
    assert all("100 % of its rows have the very time of their row of matches" in check.message for check in found)


@pytest.mark.parametrize("leaking", [False, True])
def test_totals_of_the_end_of_the_data_are_named(tmp_path: Path, leaking: bool) -> None:
    path = planted_database(tmp_path)
    if leaking:
        with duckdb.connect(str(path)) as con:
            con.execute("ALTER TABLE customers ADD COLUMN bought INT")
            con.execute(
                "UPDATE customers c SET bought = (SELECT count(*) FROM orders o WHERE o.customer_id = c.customer_id)"
            )
    source = open_source(str(path))
    snapshot = build_snapshot(source, infer_schema(source).schema, tmp_path / "snapshots")
    task = compile_task(QUERY, snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = make_labels(task, tables, SplitSettings())
    found = [c for c in find_giveaways(snapshot, task, labels).checks if c.verdict is not Verdict.OK]
    assert {check.where for check in found} == ({"customers.bought"} if leaking else set())
    assert {"degree.whole", "row.mutated"} <= {c.name for c in found} or not leaking
