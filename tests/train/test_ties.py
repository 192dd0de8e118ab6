"""Facts at the very instant of a prediction are seen or not, as the task says, by training and prediction alike."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from kincast.graph.build import build_snapshot
from kincast.predict.online import Predictor
from kincast.project import Project, TaskSettings
from kincast.registry.version import load_version
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.train.run import train_task

QUERY = "PREDICT matches.home_won FOR EACH matches.match_id"
TRAIN = {"max_epochs": 2, "batch_size": 128, "learning_rate": 0.02, "num_threads": 1}


def matches(folder: Path) -> Path:
    """Matches won by chance; those won have a goal at the very instant of the match."""
    won = np.random.default_rng(0).random(600) < 0.5
    start = datetime(2020, 1, 1)
    with duckdb.connect(str(folder / "football.duckdb")) as con:
        con.execute("CREATE TABLE matches (match_id INT PRIMARY KEY, played TIMESTAMP, crowd INT, home_won BOOLEAN)")
        con.execute("CREATE TABLE goals (goal_id INT PRIMARY KEY, match_id INT REFERENCES matches, scored TIMESTAMP)")
        played = [start + timedelta(i) for i in range(600)]
        con.executemany(
            "INSERT INTO matches VALUES (?, ?, ?, ?)", [(i, played[i], i * 7 % 100, bool(won[i])) for i in range(600)]
        )
        con.executemany("INSERT INTO goals VALUES (?, ?, ?)", [(i, i, played[i]) for i in range(600) if won[i]])
    return folder / "football.duckdb"


@pytest.mark.parametrize(("ties", "worst", "best"), [("visible", 0.95, 1.0), ("strict", 0.3, 0.7)])
def test_ties_are_a_setting_of_the_task(tmp_path: Path, ties: str, worst: float, best: float) -> None:
    source = open_source(str(matches(tmp_path)))
    snapshot = build_snapshot(source, infer_schema(source).schema, tmp_path / "snapshots")
    settings = {"query": QUERY, "ties": ties, "train": TRAIN, "model": {"channels": 8, "fanout": [4]}}
    project = Project(folder=tmp_path, source=source.url, tasks={"won": TaskSettings.model_validate(settings)})
    version = train_task(project, "won", snapshot=snapshot)
    assert worst <= version.info.metrics["test"]["auroc"].value <= best
    assert worst <= version.info.baselines["LightGBM"]["test"]["auroc"].value <= best

    again = load_version(project.versions, version.info.id)
    assert again.info.settings["ties"] == ties
    predictor = Predictor.load(again, snapshot, tmp_path / "features")
    rows = np.arange(600)
    scores, _ = predictor.score_rows(rows, predictor.instants_of(rows, None))
    won = snapshot.columns("matches", ["home_won"])["home_won"].to_numpy()
    told = np.mean(scores[won][:, None] > scores[~won])
    assert told > 0.95 if ties == "visible" else told < 0.8
