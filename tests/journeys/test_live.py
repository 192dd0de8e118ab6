"""Rows are appended, compacted and forgotten through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.journeys.conftest import Kincast

import kincast as public

pytestmark = pytest.mark.journey


@pytest.fixture
def built(kincast: Kincast, home: Path) -> Path:
    assert kincast("init", "tiny.duckdb").code == 0
    assert kincast("build", "--quiet").code == 0
    return home


def test_append_compact_forget(kincast: Kincast, built: Path) -> None:
    header = "order_id,customer_id,product_id,ordered_at,amount,quantity,status,channel,is_fraud\n"
    (built / "new.csv").write_text(header + "9001,3,4,2024-12-30 10:00,7.5,1,paid,web,false\n9002,3,4,,1,1,,,\n")
    said = kincast("append", "orders", "new.csv")
    assert said.code == 0, said.err
    assert "1 row of orders kept as record 1" in said.out
    assert "time.missing" in said.out
    project = public.read_project(built)
    with public.Live(project.snapshots) as live:
        assert live.view.rows_of("orders", [9001, 9002]).tolist() == [300, -1]
    public.append(project, "orders", [{"order_id": 9001}], deleted=True)
    public.append(project, "orders", [{"order_id": "9003", "customer_id": 3, "ordered_at": "2024-12-31"}])
    made = json.loads(kincast("compact", "--json").out)
    assert made["rows"]["orders"] == 301
    (built / "gone.csv").write_text("order_id\n9003\n")
    assert kincast("append", "orders", "gone.csv", "--deleted", "--quiet").code == 0
    assert json.loads(kincast("compact", "--json").out)["rows"]["orders"] == 300
    said = kincast("forget", "customers", "7", "--yes", "--json")
    assert said.code == 0, said.err
    snapshot = public.open_snapshot(project.snapshots)
    assert snapshot.id == json.loads(said.out)["snapshot"]
    assert snapshot.rows_of("customers", [7, 8]).tolist() == [-1, 6]


def test_mistakes_are_said(kincast: Kincast, built: Path) -> None:
    (built / "new.csv").write_text("customer_id\n3\n")
    for words, text in (
        (("append", "nothing", "new.csv"), "there is no table nothing"),
        (("append", "orders", "new.csv"), "the rows have no column order_id"),
        (("append", "orders", "missing.csv"), "there is no such file"),
        (("append", "orders", "kincast.yaml"), "another kind"),
        (("forget", "customers", "4711", "--yes"), "no row has the key '4711'"),
    ):
        said = kincast(*words)
        assert said.code in (1, 2, 3)
        assert text in said.err
        assert "Traceback" not in said.err
    assert kincast("compact").code == 0
