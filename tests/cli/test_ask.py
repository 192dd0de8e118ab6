"""``kincast ask``: to a source without a project, to a project, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kincast.cli.main import main
from kincast.testing.tiny import tiny_database

QUERY = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR customers.customer_id IN (1, 2, 3)"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    tiny_database(tmp_path)
    return tmp_path


def test_a_source_is_asked_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", QUERY, "tiny.duckdb"]) == 0
    said = capsys.readouterr().out
    for words in ("no model was trained or saved", "learnt from 4", "auroc on the 120 newest of them", "--fresh"):
        assert words in said


def test_a_project_is_asked_as_json_and_to_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "tiny.duckdb", "--quiet"]) == 0
    question = "PREDICT SUM(orders.amount, 0, 30, days) FOR EACH customers.customer_id"
    options = ["--as-of", "2024-10-01", "--limit", "5", "--context", "120", "--output", "said.parquet", "--json"]
    assert main(["ask", question, *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["trained"], said["kept"], len(said["predictions"])) == (False, None, 5)
    assert said["context_rows"] == 120
    assert said["held_out"]["metric"] == "mae"
    assert pq.read_table(here / "said.parquet").num_rows == 5


def test_a_class_in_this_folder_answers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "halves.py").write_text(
        "import numpy as np\n\nclass Half:\n    def fit(self, x, y): self.classes_ = np.unique(y)\n"
        "    def predict_proba(self, x): return np.full((len(x), len(self.classes_)), 1 / len(self.classes_))\n"
    )
    assert main(["ask", QUERY, "tiny.duckdb", "--learner", "halves:Half", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["score"] for row in said["predictions"]] == [0.5, 0.5, 0.5]
    assert said["method"] == "halves:Half"


def test_evaluate_and_explain_in_front(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", f"EVALUATE {QUERY}", "tiny.duckdb"]) == 0
    assert "in context" in capsys.readouterr().out
    assert main(["ask", f"EXPLAIN {QUERY}", "tiny.duckdb"]) == 0
    assert "Binary classification" in capsys.readouterr().out


def test_a_wrong_question_is_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", QUERY.replace("orders", "odrers"), "tiny.duckdb"]) == 2
    assert main(["ask", QUERY]) == 2
    assert "kincast init" in capsys.readouterr().err
