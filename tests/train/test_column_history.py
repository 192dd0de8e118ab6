"""The target column of earlier rows as input: it tells what is to be told, and no row sees its own or a later one."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.predict.online import Predictor
from kincast.project import Project, TaskSettings
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.train.prepare import prepare
from kincast.train.run import train_task

QUERY = "PREDICT ratings.good FOR EACH ratings.rating_id"
MODEL = {"channels": 16, "fanout": [1, 8, 1], "label_history": 1}
SECOND_US = 1_000_000


def make_ratings(folder: Path) -> tuple[Project, Snapshot]:
    """Ratings of 40 people, of whom some are always rated well; only earlier ratings say who."""
    random = np.random.default_rng(0)
    num = 1500
    rated = random.integers(0, 40, num)
    good = random.random(num) < np.where(rated % 2 == 0, 0.95, 0.05)
    path = folder / "ratings.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE people AS SELECT i::INTEGER AS person_id FROM range(40) t(i)")
        con.execute("ALTER TABLE people ADD PRIMARY KEY (person_id)")
        con.execute(
            "CREATE TABLE ratings (rating_id INTEGER PRIMARY KEY, "
            "person_id INTEGER REFERENCES people (person_id), good BOOLEAN, rated_at TIMESTAMP)"
        )
        rows = [(i, int(rated[i]), bool(good[i]), i * 3_600_000_000) for i in range(num)]
        con.executemany("INSERT INTO ratings VALUES (?, ?, ?, make_timestamp(?))", rows)
    source = open_source(str(path))
    train = {"max_epochs": 5, "batch_size": 128, "learning_rate": 0.01, "num_threads": 1}
    task = TaskSettings.model_validate({"query": QUERY, "ties": "strict", "model": MODEL, "train": train})
    project = Project(folder=folder, source=source.url, tasks={"good": task})
    return project, build_snapshot(source, infer_schema(source).schema, project.snapshots)


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Snapshot]:
    return make_ratings(tmp_path_factory.mktemp("ratings"))


def test_a_label_is_known_after_its_row_and_to_others_alone(ratings: tuple[Project, Snapshot]) -> None:
    project, snapshot = ratings
    history = prepare(project, "good", snapshot).history
    assert history is not None
    times = snapshot.tables["ratings"].time_us
    assert times is not None
    assert sorted(history.rows.tolist()) == list(range(1500))
    assert (history.known_us == times[history.rows] + SECOND_US).all()


def test_earlier_ratings_tell_later_ones_as_well_as_they_can(ratings: tuple[Project, Snapshot]) -> None:
    project, snapshot = ratings
    version = train_task(project, "good", snapshot=snapshot)
    auroc = version.info.metrics["test"]["auroc"].value
    assert 0.85 < auroc < 0.99  # the person alone gives 0.95; more would be the row's own column
    predictor = Predictor.load(version, snapshot, project.work / "features")
    times = snapshot.tables["ratings"].time_us
    assert times is not None
    rows = np.arange(1400, 1420)
    together, _ = predictor.score_rows(rows, times[rows])
    alone, _ = predictor.score_rows(rows[:1], times[rows[:1]])
    assert isinstance(together, np.ndarray)
    assert isinstance(alone, np.ndarray)
    assert alone[0] == pytest.approx(together[0], abs=1e-6)
    without = project.tasks["good"].model_copy(
        update={"model": project.tasks["good"].model.model_copy(update={"label_history": 0})}
    )
    blind = train_task(project.model_copy(update={"tasks": {"good": without}}), "good", snapshot=snapshot)
    assert blind.info.metrics["test"]["auroc"].value < 0.7
