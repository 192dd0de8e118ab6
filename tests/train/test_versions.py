"""Time travel end to end: what a customer was at an instant decides, and only that is seen, learnt and answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.versions import SCHEMA, Order, Version, day_us, make_versions

from kincast.errors import KeyNotFoundError
from kincast.graph.snapshot import Snapshot
from kincast.predict.batch import predict_all
from kincast.predict.online import Predictor
from kincast.project import Project, TaskSettings
from kincast.query.compile import compile_task
from kincast.query.labels import make_labels, prediction_seeds, read_labels
from kincast.query.statement import label_statement
from kincast.train.run import train_task

QUERY = "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id"
NUM_CUSTOMERS = 200
NUM_WINDOWS = 12
TASK: dict[str, Any] = {
    "query": QUERY,
    "split": {"validation_windows": 1, "test_windows": 2},
    "model": {"channels": 16, "fanout": [4]},
    "train": {"max_epochs": 4, "batch_size": 128, "learning_rate": 0.01, "num_threads": 1},
}


def facts() -> tuple[list[Version], list[Order], np.ndarray]:
    """Customers whose segment is drawn anew every 30 days; those in segment 1 buy, and nearly no other."""
    rng = np.random.default_rng(0)
    segments = rng.integers(0, 2, (NUM_CUSTOMERS, NUM_WINDOWS))
    versions: list[Version] = []
    orders: list[Order] = []
    for customer in range(NUM_CUSTOMERS):
        for window in range(NUM_WINDOWS):
            segment = int(segments[customer, window])
            end = None if window + 1 == NUM_WINDOWS else 30 * window + 30
            versions.append((customer, 30 * window, end, segment))
            if rng.random() < (0.95 if segment else 0.05):
                orders.append((len(orders), customer, 30 * window + int(rng.integers(1, 30))))
    orders.append((len(orders), 0, 30 * NUM_WINDOWS))
    return versions, orders, segments


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Snapshot, np.ndarray]:
    """The project with its snapshot, and each customer's segment in each window."""
    folder = tmp_path_factory.mktemp("changing")
    versions, orders, segments = facts()
    snapshot = make_versions(folder, versions, orders)
    project = Project(folder=folder, source="v.duckdb", tasks={"buys": TaskSettings.model_validate(TASK)})
    return project, snapshot, segments


def test_each_customer_has_one_label_an_instant(world: tuple[Project, Snapshot, np.ndarray]) -> None:
    project, snapshot, _ = world
    task = compile_task(QUERY, snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = make_labels(task, tables, project.tasks["buys"].split)
        rows, _ = prediction_seeds(task, tables, day_us(45), keys=[(7,), (3,)])
    keys = snapshot.keys_of("customers", labels.rows)["customer_id"].to_pylist()
    pairs = list(zip(keys, labels.as_of_us.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) == NUM_CUSTOMERS * len(set(labels.as_of_us.tolist()))
    table = snapshot.tables["customers"]
    assert table.time_us is not None
    assert table.end_us is not None
    assert (table.time_us[labels.rows] <= labels.as_of_us).all()
    assert (table.end_us[labels.rows] > labels.as_of_us).all()
    assert snapshot.keys_of("customers", rows)["customer_id"].to_pylist() == [7, 3]
    assert table.time_us[rows].tolist() == [day_us(30)] * 2


def test_the_segment_of_the_instant_is_learnt_and_answered(world: tuple[Project, Snapshot, np.ndarray]) -> None:
    project, snapshot, segments = world
    version = train_task(project, "buys", snapshot=snapshot)
    assert version.info.metrics["test"]["auroc"].value > 0.9
    assert version.info.baselines["LightGBM"]["test"]["auroc"].value > 0.9
    # What a customer did in other segments says nothing.
    assert abs(version.info.baselines["entity mean"]["test"]["auroc"].value - 0.5) < 0.1
    predictor = Predictor.load(version, snapshot, project.work / "features")
    for window in (3, 8):
        keys = list(range(NUM_CUSTOMERS))
        scores = predictor.predict(keys, day_us(30 * window)).scores
        assert scores[segments[:, window] == 1].min() > scores[segments[:, window] == 0].max()
    batch = predict_all(project, version, snapshot=snapshot, as_of_us=day_us(90)).predictions
    found = batch.as_table()
    assert sorted(found["customer_id"].to_pylist()) == list(range(NUM_CUSTOMERS))
    for place in (0, 11, 150):
        key = found["customer_id"][place].as_py()
        assert predictor.predict([key], day_us(90)).scores[0] == pytest.approx(found["score"][place].as_py(), abs=1e-6)
    with pytest.raises(KeyNotFoundError, match="do not exist as of 2023"):
        predictor.predict([5], day_us(-30))


def test_a_label_table_means_the_version_of_its_instant(
    world: tuple[Project, Snapshot, np.ndarray], tmp_path: Path
) -> None:
    project, snapshot, _ = world
    values = {
        "customer_id": [4, 5, 4, 4],
        "as_of": ["2024-02-10", "2024-02-10", "2024-05-10", "2024-08-10"],
        "target": [1, 0, 0, 1],
        "split": ["train", "train", "validation", "test"],
    }
    pq.write_table(pa.table(values), tmp_path / "labels.parquet")
    task = compile_task(QUERY, snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = read_labels(task, tables, tmp_path / "labels.parquet", project.tasks["buys"].split)
    any_version = snapshot.rows_of("customers", values["customer_id"])
    assert labels.rows.tolist() == snapshot.versions_at("customers", any_version, labels.as_of_us).tolist()


def test_a_filter_looks_at_the_version_that_was_valid_at_each_fact(tmp_path: Path) -> None:
    versions: list[Version] = [(1, 0, 20, 0), (1, 20, None, 1)]
    orders: list[Order] = [(1, 1, 12), (2, 1, 14), (3, 1, 25), (4, 1, 60)]
    snapshot = make_versions(tmp_path, versions, orders)
    counts = {}
    for segment in (0, 1):
        where = f"customers.segment = {segment}"
        task = compile_task(f"PREDICT COUNT(orders.* WHERE {where}, 0, 30, days) FOR EACH customers", SCHEMA)
        with snapshot.open_tables() as tables, tables.connect() as connection:
            found = connection.sql(label_statement(task, [day_us(10)])).to_arrow_table()
        counts[segment] = found["target"].to_pylist()
    assert counts == {0: [2], 1: [1]}
