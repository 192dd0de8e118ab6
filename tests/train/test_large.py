"""Larger than memory: a store that the process could never hold is encoded, verified and trained from.

The limit is on private writable memory (``RLIMIT_DATA``): what is mapped from a file is no part of it, as the kernel
can drop such pages at any time, while every array, tensor and buffer of the process is. A limit on address space
would forbid the mapping itself and prove nothing about memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from kincast.graph.build import build_snapshot
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.open import open_source

NUM_EVENTS = 260_000
NUM_TEXTS = 20
MIB = 1 << 20

CHILD = """
import json, re, resource, sys
from pathlib import Path
import numpy as np
from kincast.feature.fit import fit_features
from kincast.feature.store import open_features
from kincast.graph.open import open_snapshot
from kincast.model.network import Network
from kincast.model.objective import Objective
from kincast.model.score import InputLoader
from kincast.project import ModelSettings, TrainSettings
from kincast.query.task import TaskKind
from kincast.sample.batch import Seeds
from kincast.train.judge import Judge
from kincast.train.loop import Examples, Trainer
from kincast.train.metric import METRICS

folder, room = Path(sys.argv[1]), int(sys.argv[2])
used = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
limit = used + room
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

snapshot = open_snapshot(folder / "snapshots")
spec = fit_features(snapshot, snapshot.max_time_us)
features = open_features(snapshot, spec, folder / "features", readahead=sys.argv[3])
model = ModelSettings(channels=8, fanout=(4,))
plan = TrainSettings(max_epochs=1, max_steps_per_epoch=12, batch_size=64, num_threads=1)
rng = np.random.default_rng(0)
rows, target = rng.integers(0, 500, 1_000), rng.integers(0, 2, 1_000).astype(float)
as_of_us = rng.choice(snapshot.tables["events"].time_us, 1_000)
examples = Examples(Seeds("users", rows, as_of_us), target)
objective = Objective(TaskKind.BINARY, 1)
network = Network(snapshot.schema, spec, model, (1,))
loader = InputLoader(snapshot, features, model, 0, 1)
judge = Judge(TaskKind.BINARY, METRICS[TaskKind.BINARY])
fit = Trainer(network, objective, judge, (loader, loader), plan, folder / "run", "x").run(examples, examples)
try:
    bytearray(features.size_bytes)
    could_hold = True
except MemoryError:
    could_hold = False
told = {"limit": limit, "store": features.size_bytes, "epochs": len(fit.epochs), "could_hold": could_hold}
print(json.dumps(told))
"""


def make_snapshot(folder: Path) -> None:
    """Users and many events, each with texts that a few bytes of Parquet become 2.5 KB of numbers of."""
    texts = [f"note_{place}" for place in range(NUM_TEXTS)]
    path = folder / "events.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE users AS SELECT range AS user_id FROM range(500)")
        values = ", ".join(f"'w' || (range % {3 + place}) AS {name}" for place, name in enumerate(texts))
        connection.execute(
            "CREATE TABLE events AS SELECT range AS event_id, (range * range) % 499 AS user_id, "
            f"TIMESTAMP '2024-01-01' + to_seconds(range * 20) AS happened_at, {values} FROM range({NUM_EVENTS})"
        )
    users = Table("users", (Column("user_id", SemanticType.ID, "BIGINT"),), ("user_id",))
    columns = (
        Column("event_id", SemanticType.ID, "BIGINT"),
        Column("user_id", SemanticType.ID, "BIGINT"),
        Column("happened_at", SemanticType.TIMESTAMP, "TIMESTAMP"),
        *(Column(name, SemanticType.TEXT, "VARCHAR") for name in texts),
    )
    events = Table("events", columns, ("event_id",), RowTime(column="happened_at"))
    schema = Schema((users, events), (Link("events", ("user_id",), "users", ("user_id",)),))
    build_snapshot(open_source(str(path)), schema, folder / "snapshots")


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_DATA") or sys.platform != "linux", reason="needs Linux's RLIMIT_DATA")
def test_a_store_larger_than_the_memory_allowed_is_built_and_trained_from(tmp_path: Path) -> None:
    make_snapshot(tmp_path)
    command = [sys.executable, "-W", "error", "-c", CHILD, str(tmp_path), str(224 * MIB), "always"]
    # Arrow's own allocators reserve a gigabyte at a time; the system's takes what is asked for.
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["store"] > told["limit"]
    assert told["could_hold"] is False
    assert told["epochs"] == 1
