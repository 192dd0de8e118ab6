"""Tasks of other kinds through every command: trained, judged, predicted, served, watched, reported."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.journeys.conftest import Kincast
from tests.kinds import QUERIES

pytestmark = pytest.mark.journey

COLUMNS = {
    "forecasting": ["product_id", "as_of", "step", "from", "until", "value"],
    "labels": ["customer_id", "as_of", "labels", "score_app", "score_shop", "score_web"],
    "several": ["customer_id", "as_of", "COUNT(orders.*, 0, 30, days) > 0: score"],
    "links": ["customer_id", "as_of", "product_id", "rank", "score"],
}
SAID = {"forecasting": "steps", "labels": "labels", "several": "targets", "links": "items"}


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_command_knows_the_kind(kind: str, kincast: Kincast, home: Path) -> None:
    assert kincast("init", "tiny.duckdb", "--quiet").code == 0
    (home / "kincast.yaml").write_text(
        f"source: tiny.duckdb\ntasks:\n  it:\n    query: >-\n      {QUERIES[kind]}\n"
        "    train: {max_epochs: 1, num_threads: 1}\n    model: {channels: 8, fanout: [4, 4]}\n"
    )
    assert kincast("build", "--quiet").code == 0
    planned = kincast("plan", "it", "--json")
    assert planned.code == 0, planned.err
    trained = kincast("train", "it", "--json")
    assert trained.code == 0, trained.err
    version = json.loads(trained.out)
    evaluated = kincast("evaluate", "it")
    assert evaluated.code == 0, evaluated.err
    assert "graph neural network" in evaluated.out
    predicted = kincast("predict", "it", "-o", "it.parquet")
    assert predicted.code == 0, predicted.err
    assert pq.read_table(home / "it.parquet").column_names[: len(COLUMNS[kind])] == COLUMNS[kind]
    served = kincast("serve", "it", "--once", "--json")
    assert served.code == 0, served.err
    assert SAID[kind] in json.loads(served.out)["answer"]["predictions"][0]
    assert kincast("versions", "promote", version["id"], "--task", "it").code in (0, 1)
    drifted = kincast("drift", "it", "--json")
    assert drifted.code == 0, drifted.err
    assert any(check["name"] == "drift.predictions" for check in json.loads(drifted.out)["checks"])
    audited = kincast("audit", "it", "--json")
    failed = [check for check in json.loads(audited.out)["checks"] if check["verdict"] == "fail"]
    assert not failed, failed
    reported = kincast("report", "-o", "it.html")
    assert reported.code == 0, reported.err
    assert any(name in (home / "it.html").read_text() for name in ("Graph neural network", "Blend of all"))
