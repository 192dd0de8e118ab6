"""One number everywhere: batch and online agree, and nothing after the instant moves a single bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from kincast.clock import format_instant, parse_instant
from kincast.errors import KeyNotFoundError, VersionError
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.score import InputLoader
from kincast.predict.batch import predict_all
from kincast.predict.online import Predictor
from kincast.project import ModelSettings, Project, TaskSettings
from kincast.registry.version import Version
from kincast.source.open import open_source
from kincast.train.run import train_task

AS_OF = parse_instant("2024-10-27")
ORDERS = "customers.customer_id->orders.customer_id"


@pytest.fixture(scope="session")
def predictor(planted: tuple[Project, Snapshot], version: Version) -> Predictor:
    project, snapshot = planted
    return Predictor.load(version, snapshot, project.work / "features")


def test_batch_and_online_agree(planted: tuple[Project, Snapshot], version: Version, predictor: Predictor) -> None:
    project, snapshot = planted
    batch = predict_all(project, version, snapshot=snapshot, as_of_us=AS_OF)
    table = batch.predictions.as_table()
    assert table.num_rows == 400
    assert table.column_names == ["customer_id", "as_of", "score"]
    for place in (0, 17, 399):
        key = table["customer_id"][place].as_py()
        single = predictor.predict([key], AS_OF)
        assert single.scores[0] == pytest.approx(table["score"][place].as_py(), abs=1e-6)
        np.testing.assert_allclose(predictor.embed([key], AS_OF)[0], batch.embeddings[place], atol=1e-5)
    assert np.ptp(batch.predictions.scores) > 0.3


def test_answers_come_in_the_order_asked(predictor: Predictor) -> None:
    keys = [7, 3, 7, 250]
    scores = predictor.predict(keys, AS_OF).scores
    assert scores[0] == scores[2]
    assert predictor.predict(keys, AS_OF).keys["customer_id"].to_pylist() == keys
    np.testing.assert_allclose(predictor.predict(keys[::-1], AS_OF).scores, scores[::-1], atol=1e-6)


def test_unknown_and_unborn_keys_are_named(predictor: Predictor) -> None:
    with pytest.raises(KeyNotFoundError, match="1 of 2 keys have no row: 99999"):
        predictor.predict([1, 99_999])
    with pytest.raises(KeyNotFoundError, match="do not exist as of 2020-01-01"):
        predictor.predict([1], parse_instant("2020-01-01"))


@pytest.mark.parametrize(
    "sampling",
    [
        {"sampling": "last"},
        {"sampling": "uniform"},
        {"sampling": {"strategy": "recency", "half_life": "20 days", "window": "90 days"}},
        {"link_sampling": {ORDERS: {"strategy": "weighted", "column": "amount"}}, "max_rows_per_seed": 30},
    ],
    ids=["last", "uniform", "recency", "weighted"],
)
def test_the_future_moves_no_bit(
    sampling: dict[str, Any], planted: tuple[Project, Snapshot], version: Version, tmp_path: Path
) -> None:
    project, snapshot = planted
    changed = tmp_path / "planted.duckdb"
    shutil.copy(project.source, changed)
    with duckdb.connect(str(changed)) as con:
        later = f"ordered_at > TIMESTAMP '{format_instant(AS_OF)}'"
        con.execute(f"DELETE FROM orders WHERE {later} AND order_id % 3 = 0")
        con.execute(f"UPDATE orders SET amount = amount * 1000, customer_id = 1, product_id = 2 WHERE {later}")
        con.execute("INSERT INTO orders SELECT 100000 + range, 5, 7, TIMESTAMP '2025-06-01', 1.5 FROM range(500)")
    other = build_snapshot(open_source(str(changed)), snapshot.schema, tmp_path / "snapshots")
    assert other.id != snapshot.id
    info = version.info
    model = {**info.settings["model"], **sampling}
    rows = np.arange(400)
    scores = []
    for one in (snapshot, other):
        predictor = Predictor.load(version, one, tmp_path / f"features-{one.id}")
        features = predictor.loader.features
        predictor.loader = InputLoader(one, features, ModelSettings.model_validate(model), seed=0, num_threads=1)
        scores.append(predictor.predict_rows(rows, np.full(len(rows), AS_OF)).scores)
    assert (scores[0] == scores[1]).all()


def test_a_column_is_predicted_as_of_the_time_it_was_learnt_at(planted: tuple[Project, Snapshot]) -> None:
    project, snapshot = planted
    train = {"max_epochs": 1, "max_steps_per_epoch": 2, "num_threads": 1}
    query = "PREDICT orders.amount FOR EACH orders.order_id"
    task = TaskSettings.model_validate({"query": query, "train": train, "model": {"channels": 8, "fanout": [4]}})
    project = project.model_copy(update={"tasks": {"amount": task}})
    version = train_task(project, "amount", snapshot=snapshot)
    batch = predict_all(project, version, snapshot=snapshot)
    time_us = snapshot.tables["orders"].time_us
    assert time_us is not None
    np.testing.assert_array_equal(batch.predictions.instants_us, time_us)
    assert batch.predictions.as_of_us == time_us[-1]
    assert batch.predictions.as_table()["as_of"].cast("int64").to_pylist() == time_us.tolist()
    # As in training and evaluation, not as the oldest order looks once the database has ended.
    predictor = Predictor.load(version, snapshot, project.work / "features")
    first = batch.predictions.keys["order_id"][0].as_py()
    assert predictor.predict([first]).scores[0] == pytest.approx(batch.predictions.scores[0], abs=1e-6)
    assert predictor.predict([first], int(time_us[0])).scores[0] == predictor.predict([first]).scores[0]
    assert predictor.predict([first], int(time_us[-1])).scores[0] != predictor.predict([first]).scores[0]


def test_inferred_fanouts_are_numbers_in_the_version(planted: tuple[Project, Snapshot]) -> None:
    project, snapshot = planted
    train = {"max_epochs": 1, "max_steps_per_epoch": 2, "num_threads": 1}
    hops = {"hop1": {"default": 0, ORDERS: "inferred"}, "hop2": {"default": 2}}
    model = {"channels": 8, "num_neighbors": hops, "sampling": {"strategy": "recency", "half_life": "9 days"}}
    task = project.tasks[next(iter(project.tasks))]
    task = TaskSettings.model_validate({"query": task.query, "train": train, "model": model})
    project = project.model_copy(update={"tasks": {"churn": task}})
    version = train_task(project, "churn", snapshot=snapshot)
    saved = ModelSettings.model_validate(version.info.settings["model"])
    assert saved.fanout == (0, 2)
    assert saved.fanout_overrides == {ORDERS: (64, 2)}
    assert str(saved.sampling.half_life) == "9 days"
    predictor = Predictor.load(version, snapshot, project.work / "features")
    one, again = (predictor.predict([7, 9], AS_OF).scores for _ in range(2))
    assert (one == again).all()


def test_a_snapshot_of_another_schema_is_refused(
    version: Version, tmp_path: Path, planted: tuple[Project, Snapshot]
) -> None:
    project, _ = planted
    changed = tmp_path / "planted.duckdb"
    shutil.copy(project.source, changed)
    source = open_source(str(changed))
    schema = planted[1].schema
    fewer = type(schema)(schema.tables, schema.links[:-1])
    other = build_snapshot(source, fewer, tmp_path / "snapshots")
    with pytest.raises(VersionError, match="another schema"):
        Predictor.load(version, other, tmp_path / "features")
