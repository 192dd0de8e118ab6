"""One query from the command line: explained, evaluated, predicted, its labels written and brought back."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.journeys.conftest import KINCAST_YAML, Kincast

pytestmark = pytest.mark.journey

GROWN = """\
  grown:
    query: PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id WHERE customers.age >= 40
    train: {max_epochs: 1, num_threads: 1}
    model: {channels: 8, fanout: [4, 4]}
"""
CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id"


@pytest.fixture
def project(kincast: Kincast, home: Path) -> Path:
    """The tiny database with its card and three tasks."""
    assert kincast("init", "tiny.duckdb", "--quiet").code == 0
    (home / "kincast.yaml").write_text(KINCAST_YAML + GROWN)
    return home


def test_explain_in_front_trains_nothing(kincast: Kincast, project: Path) -> None:
    said = kincast("query", "run", "EXPLAIN predict sum(orders.amount, 0, 1, month) for each customers")
    assert said.code == 0, said.err
    assert "the value of SUM(orders.amount, 0, 1, months)" in said.out
    assert "label SQL:" in said.out
    assert not (project / ".kincast" / "versions").exists()


def test_one_model_answers_all_forms_of_a_query(kincast: Kincast, project: Path) -> None:
    evaluated = kincast("query", "run", f"EVALUATE {CHURN}")
    assert evaluated.code == 0, evaluated.err
    assert "churn, test period" in evaluated.out  # the task in kincast.yaml has this query
    assert "LightGBM" in evaluated.out
    some = "predict count(orders.*, 0, 30) = 0 for customers.customer_id in (7, 3)"
    predicted = json.loads(kincast("query", "run", some, "--json").out)
    assert [row["customer_id"] for row in predicted["predictions"]] == [7, 3]
    assert len(list((project / ".kincast" / "versions").glob("[!.]*"))) == 1
    every = json.loads(kincast("query", "run", CHURN, "--json").out)
    assert every["version"] == predicted["version"]
    scores = {row["customer_id"]: row["score"] for row in every["predictions"]}
    assert predicted["predictions"][0]["score"] == pytest.approx(scores[7], abs=1e-6)
    assert len(scores) > 30


def test_a_model_of_another_query_does_not_answer(kincast: Kincast, project: Path) -> None:
    first = json.loads(kincast("query", "run", CHURN, "--json").out)["version"]
    assert kincast("versions", "promote", first, "--task", "churn", "--quiet").code in (0, 1)
    other = CHURN.replace("30, days", "45, days")
    settings = (project / "kincast.yaml").read_text()
    (project / "kincast.yaml").write_text(settings.replace(CHURN, other))
    answered = [json.loads(kincast("query", "run", other, "--json").out)["version"] for _ in range(2)]
    assert answered[0] == answered[1] != first


def test_keys_that_the_filter_leaves_out_are_not_predicted(kincast: Kincast, project: Path) -> None:
    some = "customers.customer_id IN (3, 7) WHERE customers.age >= 40"
    said = kincast("query", "run", f"PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR {some}", "--json")
    assert said.code == 0, said.err
    assert [row["customer_id"] for row in json.loads(said.out)["predictions"]] == [3]


def test_labels_go_out_and_come_back(kincast: Kincast, project: Path) -> None:
    said = kincast("query", "labels", CHURN, "-o", "labels.parquet")
    assert said.code == 0, said.err
    table = pq.read_table(project / "labels.parquet")
    assert table.column_names == ["customer_id", "as_of", "target", "split"]
    brought = KINCAST_YAML.replace(f"query: {CHURN}", f"query: {CHURN}\n    labels: labels.parquet")
    assert brought != KINCAST_YAML
    (project / "kincast.yaml").write_text(brought)
    assert kincast("build", "--quiet").code == 0
    trained = kincast("train", "churn", "--quiet")
    assert trained.code == 0, trained.err


def test_a_wrong_query_is_underlined(kincast: Kincast, project: Path) -> None:
    said = kincast("query", "run", "PREDICT COUNT(order.*, 0, 30, days) FOR EACH customers")
    assert said.code == 2
    assert "did you mean orders?" in said.err
    several = "PREDICT COUNT(orders.*, 0, 9, days), SUM(orders.amount, 0, 9, days) FOR EACH customers"
    refused = kincast("query", "labels", several, "-o", "x.parquet")
    assert refused.code == 2
    assert "a label file is of one target" in refused.err
    assert not (project / "x.parquet").exists()
