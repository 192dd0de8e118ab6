"""What the command line refuses of plans before anything is read, and how it reads lengths of time."""

from __future__ import annotations

from pathlib import Path

import pytest

from kincast.cli.main import main
from kincast.cli.train import seconds_of

PROJECT = """\
source: shop.duckdb
tasks:
  buys: {query: "PREDICT COUNT(orders.*, 0, 1, days) FOR EACH customers.id"}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "kincast.yaml").write_text(PROJECT)
    (tmp_path / "plan.yaml").write_text("optimization: {base_rate: 1}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("plan --write plan.yaml", "plan.yaml: is already there"),
        ("train --plan plan.yaml --mode fast", "give --plan or --mode"),
        ("train --plan plan.yaml", "plan.yaml: optimization.base_rate: there is no parameter 'base_rate'"),
        ("train --plan none.yaml", "none.yaml: there is no plan"),
        ("train --budget soon", "'soon' is not a length of time"),
    ],
)
def test_what_is_refused(words: str, says: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2 hours", 7200), ("90 minutes", 5400)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
