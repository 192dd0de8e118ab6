"""However numbers are stored, training, batch and online prediction read the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.planted import make_planted

from kincast.clock import parse_instant
from kincast.feature.spec import FeatureSpec
from kincast.feature.store import open_features
from kincast.model.score import InputLoader
from kincast.predict.batch import predict_all
from kincast.predict.online import Predictor
from kincast.project import FeatureStorage
from kincast.sample.batch import Seeds
from kincast.train.run import train_task

AS_OF = parse_instant("2024-10-27")


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_training_batch_and_online_read_the_same_numbers(storage: FeatureStorage, tmp_path: Path) -> None:
    features = {"storage": storage, "readahead": "always"}
    train = {"max_epochs": 1, "blend": False}  # what is held against training is the network
    project, snapshot = make_planted(tmp_path, train=train, features=features, num_customers=60)
    version = train_task(project, "buys", snapshot=snapshot)
    spec = FeatureSpec.from_dict(version.features["spec"])
    assert spec.storage == storage
    batch = predict_all(project, version, snapshot=snapshot, as_of_us=AS_OF).predictions
    table = batch.as_table()
    predictor = Predictor.load(version, snapshot, project.work / "features", readahead="never")
    assert predictor.loader.features.readahead is False
    for place in (0, 31, 59):
        key = table["customer_id"][place].as_py()
        assert predictor.predict([key], AS_OF).scores[0] == pytest.approx(table["score"][place].as_py(), abs=1e-6)
    # As training scored its validation and test rows: with its own store, settings and threads.
    store = open_features(snapshot, spec, project.work / "features", readahead="always")
    assert store.readahead is True
    loader = InputLoader(snapshot, store, project.tasks["buys"].model, version.info.settings["train"]["seed"], 1)
    seeds = Seeds("customers", np.arange(60), np.full(60, AS_OF))
    scores, _ = loader.score(predictor.network, predictor.objective, seeds)
    assert np.array_equal(scores, predictor.predict_rows(seeds.rows, seeds.as_of_us).scores)
