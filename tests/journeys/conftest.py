"""A project on the tiny database, and a way to run commands in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kincast.cli.main import main
from kincast.testing.tiny import tiny_database

KINCAST_YAML = """\
source: tiny.duckdb
tasks:
  churn:
    query: PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id
    train: {max_epochs: 1, num_threads: 1}
    model: {channels: 8, fanout: [4, 4]}
  spend:
    query: PREDICT SUM(orders.amount, 0, 30, days) FOR EACH customers.customer_id
    train: {max_epochs: 1, num_threads: 1}
    model: {channels: 8, fanout: [4, 4]}
"""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Kincast = Callable[..., Said]


@pytest.fixture
def kincast(capsys: pytest.CaptureFixture[str]) -> Kincast:
    """Runs ``kincast WORDS...`` in this process."""

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that commands run in, with the tiny database in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tiny_database(tmp_path)
    return tmp_path
