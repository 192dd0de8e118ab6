"""A training that is killed goes on where it was, to the very same weights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.journeys.conftest import Kincast

from kincast.registry.version import load_version

pytestmark = pytest.mark.journey

PROJECT = """\
source: tiny.duckdb
tasks:
  spend:
    query: PREDICT SUM(orders.amount, 0, 30, days) FOR EACH customers.customer_id
    train: {max_epochs: 30, patience: 30, num_threads: 1}
    model: {channels: 8, fanout: [4, 4]}
"""


def test_training_goes_on_after_sigkill(kincast: Kincast, home: Path) -> None:
    kincast("init", "tiny.duckdb")
    (home / "kincast.yaml").write_text(PROJECT)
    assert kincast("build", "--quiet").code == 0
    whole = _trained(kincast, "train", "spend", "--json")
    process = subprocess.Popen([sys.executable, "-m", "kincast.cli.main", "train", "spend", "--quiet"], cwd=home)
    epochs = _kill_when_half_done(process, home / ".kincast" / "runs" / "spend" / "checkpoint.safetensors")
    assert epochs < 30
    again = _trained(kincast, "train", "spend", "--resume", "--json")
    weights = [load_version(home / ".kincast" / "versions", name).weights() for name in (whole, again)]
    assert whole != again
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


PLAN = """\
training_job: {num_experiments: 3}
optimization: {max_epochs: 12, base_lr: [0.003, 0.01, 0.03, 0.001], early_stopping: {patience: 12}}
"""


def test_a_search_goes_on_after_sigkill(kincast: Kincast, home: Path) -> None:
    kincast("init", "tiny.duckdb")
    (home / "kincast.yaml").write_text(PROJECT)
    (home / "plan.yaml").write_text(PLAN)
    assert kincast("build", "--quiet").code == 0
    whole = _trained(kincast, "train", "spend", "--plan", "plan.yaml", "--json")
    command = [sys.executable, "-m", "kincast.cli.main", "train", "spend", "--plan", "plan.yaml", "--quiet"]
    run = home / ".kincast" / "runs" / "spend"
    process = subprocess.Popen(command, cwd=home)
    _kill_when_half_done(process, run / "checkpoint.safetensors", run / "search" / "trials.json")
    assert len(json.loads((run / "search" / "trials.json").read_bytes())["trials"]) < 3
    again = _trained(kincast, "train", "spend", "--plan", "plan.yaml", "--resume", "--json")
    found = [load_version(home / ".kincast" / "versions", name) for name in (whole, again)]
    tried = [[(t["values"], t["epochs"], t["state"]) for t in one.info.search["trials"]] for one in found]
    assert tried[0] == tried[1]
    assert found[0].info.plan == found[1].info.plan
    assert all((found[0].weights()[name] == array).all() for name, array in found[1].weights().items())


def _trained(kincast: Kincast, *words: str) -> str:
    said = kincast(*words)
    assert said.code == 0, said.err
    return str(json.loads(said.out)["id"])


def _kill_when_half_done(process: subprocess.Popen[bytes], checkpoint: Path, *others: Path) -> int:
    """Kill the process once its checkpoint has some epochs behind it; the number of epochs it had then.

    Not before the other files are there too.
    """
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "the training ended before it could be killed"
        epochs = _epochs_in(checkpoint)
        if epochs >= 3 and all(path.exists() for path in others):
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            return _epochs_in(checkpoint)
        process.poll()
    raise AssertionError("no checkpoint appeared")


def _epochs_in(checkpoint: Path) -> int:
    from kincast.train.checkpoint import load_checkpoint

    found = load_checkpoint(checkpoint.parent)
    return len(found.state["epochs"]) if found else 0
