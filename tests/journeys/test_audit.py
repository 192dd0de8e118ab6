"""Plan, train and audit through the command line; a folder of another format; what a user may get wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.journeys.conftest import KINCAST_YAML, Kincast
from tests.sample.audit.test_relbench import write

from kincast.testing.leak import clean_world
from kincast.testing.plant import leaky_world

pytestmark = pytest.mark.journey


def test_plan_train_audit_and_report(kincast: Kincast, home: Path) -> None:
    assert kincast("init", "tiny.duckdb").code == 0
    (home / "kincast.yaml").write_text(KINCAST_YAML)
    assert kincast("build", "--quiet").code == 0
    planned = kincast("plan", "churn")
    assert planned.code == 0, planned.err
    assert "rows per seed" in planned.out
    assert "customers.customer_id->orders.customer_id" in planned.out
    assert json.loads(kincast("plan", "churn", "--json").out)["task"] == "churn"

    unknown = kincast("audit", "churn")
    assert unknown.code == 1
    assert "has no model yet" in unknown.err
    assert kincast("train", "churn", "--quiet").code == 0
    audited = kincast("audit", "churn", "--json")
    report = json.loads(audited.out)
    assert [c for c in report["checks"] if c["verdict"] == "fail"] == []
    assert audited.code == 0
    names = {check["name"] for check in report["checks"]}
    assert {"replay.oracle", "future.removed", "neighbour.later", "label.window"} <= names
    assert kincast("report").code == 0
    assert "Audit" in (home / "kincast-report.html").read_text()


def test_a_folder_of_relbench_and_wrong_requests(kincast: Kincast, home: Path) -> None:
    for name, world in (("clean", clean_world(3)), ("leaky", leaky_world("split by row", 0))):
        (home / name).mkdir()
        write(home / name, world)
    assert kincast("audit", "--relbench", "clean").code == 0
    leaky = kincast("audit", "--relbench", "leaky", "buys")
    assert leaky.code == 1
    assert "are not later than all of training" in leaky.out
    assert kincast("audit", "--relbench", "clean", "--version", "x").code == 2
    assert kincast("audit", "--window", "30 days").code == 2
    assert kincast("audit", "--relbench", "nowhere").code == 1
