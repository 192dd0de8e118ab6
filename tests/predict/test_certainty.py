"""One number everywhere: what is calibrated, and what is said to be certain, is the same whoever asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.kinds import Shop, Trained
from tests.serve.client import send

from kincast.clock import format_instant, parse_instant
from kincast.model.calibrate import Calibration
from kincast.model.certainty import Certainty
from kincast.model.conform import Conformal
from kincast.predict.batch import predict_all
from kincast.predict.live import LivePredictor
from kincast.predict.online import Predictor
from kincast.query.task import TaskKind
from kincast.registry.version import Version
from kincast.serve.app import create_app
from kincast.store.rows import Stamp, open_store, publish

AS_OF = parse_instant("2024-09-15")
AT = format_instant(AS_OF)
COUNT, SUM = "COUNT(orders.*, 0, 30, days) > 0", "SUM(orders.amount, 0, 30, days)"
FIRST = "FIRST(orders.channel, 0, 30, days)"
CERTAINTY = Certainty(
    (
        Calibration(TaskKind.BINARY, "temperature", (2.0,), (1.0,)),
        Calibration(TaskKind.REGRESSION),
        Calibration(TaskKind.MULTICLASS, "isotonic", knots=(((0.0, 1.0), (0.1, 0.9)),) * 3),
    ),
    (
        None,
        Conformal(TaskKind.REGRESSION, (tuple(np.linspace(-5, 20, 101).tolist()),), floor=0.0),
        Conformal(TaskKind.MULTICLASS, (tuple(np.linspace(0.3, 0.9, 101).tolist()),)),
    ),
)


@pytest.fixture
def certain(trained: Trained) -> Version:
    """A version of three targets whose certainty changes what it says."""
    version = trained("several")
    settings = version.info.settings | {"predict": {"coverage": 0.8}}
    features = version.features | {"certainty": json.loads(json.dumps(CERTAINTY.as_dict()))}
    return replace(version, features=features, info=replace(version.info, settings=settings))


def test_every_way_out_says_the_same(certain: Version, shops: Callable[[str], Shop], tmp_path: Path) -> None:
    project, snapshot = shops("several")
    found = predict_all(project, certain, snapshot=snapshot, as_of_us=AS_OF).predictions
    keys = found.keys["customer_id"].to_pylist()[:4]
    batch: list[dict[str, Any]] = found.outcomes()[:4]
    predictor = Predictor.load(certain, snapshot, project.work / "features")
    online = predictor.predict(keys, AS_OF).outcomes()
    live = LivePredictor(certain, project.snapshots, project.work / "features").predict(keys, AS_OF).outcomes()
    body = send(create_app(predictor), "POST", "/v1/predict", json={"keys": keys, "as_of": AT}).json()
    publish(tmp_path, "predictions", found.keys, found.as_records(), Stamp("v", "s", 0, 0))
    stored = [open_store(tmp_path, "predictions").get(key) for key in keys]
    for place, row in enumerate(found.as_table().slice(0, 4).to_pylist()):
        said = batch[place]["targets"]
        for other in (online[place], live[place], body["predictions"][place]):
            assert other["targets"][COUNT]["score"] == pytest.approx(said[COUNT]["score"], abs=1e-6)
            for name in ("value", "low", "high"):
                assert other["targets"][SUM][name] == pytest.approx(said[SUM][name], abs=1e-4)
            assert other["targets"][FIRST]["classes"] == said[FIRST]["classes"]
        for wanted in (row, stored[place]):
            assert wanted[f"{COUNT}: score"] == said[COUNT]["score"]
            assert [wanted[f"{SUM}: {name}"] for name in ("low", "high")] == [said[SUM]["low"], said[SUM]["high"]]
            assert wanted[f"{FIRST}: classes"] == said[FIRST]["classes"]
    raw = predictor.raw_scores(predictor.seeds_of(predictor.rows_at(keys, AS_OF), np.full(4, AS_OF)))[0]
    expected = 1 / (1 + np.exp(-(np.log(raw[0] / (1 - raw[0])) / 2 + 1)))
    assert [row["targets"][COUNT]["score"] for row in batch] == pytest.approx(expected.tolist(), abs=1e-6)


def test_coverage_is_asked_for_each_time(certain: Version, shops: Callable[[str], Shop]) -> None:
    project, snapshot = shops("several")
    predictor = Predictor.load(certain, snapshot, project.work / "features")
    app = create_app(predictor)

    def interval(**asked: Any) -> tuple[float, float]:
        said = send(app, "GET", "/v1/predict/1", params={"as_of": AT, **asked}).json()["predictions"][0]
        return said["targets"][SUM]["low"], said["targets"][SUM]["high"]

    value = predictor.predict([1], AS_OF).outcomes()[0]["targets"][SUM]["value"]
    spread = predictor.raw_scores(predictor.seeds_of(predictor.rows_at([1], AS_OF), np.array([AS_OF])))[1][1]
    size = 1.0 if spread is None else float(spread.above[0])  # a long tail: what is wrong grows with the value
    # Residuals -5 to 20 in steps of a quarter: with 101 of them the 92nd and the 97th are the ends wanted.
    assert interval() == pytest.approx((max(value - 2.5 * size, 0), value + 17.5 * size), abs=0.26 * size)
    wide, narrow = interval(coverage=0.95), interval(coverage=0.5)
    assert wide[0] <= narrow[0] < narrow[1] < interval()[1] < wide[1]
    assert send(app, "GET", "/v1/predict/1", params={"coverage": 1.5}).json()["error"]["code"] == "bad_coverage"
    refused = send(app, "POST", "/v1/predict", json={"keys": [1], "coverage": 0})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_request")


def test_nothing_is_said_of_certainty_unless_asked(trained: Trained, shops: Callable[[str], Shop]) -> None:
    project, snapshot = shops("forecasting")
    predictor = Predictor.load(trained("forecasting"), snapshot, project.work / "features")
    rows, instants = np.arange(3), np.full(3, AS_OF)
    assert "low" not in predictor.predict_rows(rows, instants).as_table().column_names
    asked = predictor.predict_rows(rows, instants, coverage=0.6)
    table = asked.as_table()
    assert table.column_names[-3:] == ["value", "low", "high"]
    for step, row in zip(asked.outcomes()[1]["steps"], table.slice(3, 3).to_pylist(), strict=True):
        assert (step["low"], step["high"]) == (row["low"], row["high"])
        assert 0 <= row["low"] <= row["high"]
    assert len(asked.as_records()["low"][0]) == 3
    # Twelve rows held out cannot promise as much: there is no upper end.
    sure = predictor.predict_rows(rows, instants, coverage=0.99)
    assert sure.outcomes()[0]["steps"][0]["high"] is None
    assert sure.as_table()["high"].null_count == 9
