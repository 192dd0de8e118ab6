"""Every kind of model with every kind of task, and with past labels: trained, saved, the same in batch and online."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.kinds import make_shop
from tests.models import MODELS

from kincast.model.score import numbers_of
from kincast.predict.batch import predict_all
from kincast.predict.online import Predictor
from kincast.train.run import train_task

pytestmark = pytest.mark.usefixtures("_alone")
NAMES = ("attention across bridges", "transformer", "module")


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No baselines: they do not depend on the model."""
    monkeypatch.setattr("kincast.train.compare._rivals", lambda *_: ({}, None))


def same_alone(folder: Path, task: str, /, **model: object) -> None:
    """Train one epoch and hold single answers against those of all rows."""
    project, snapshot = make_shop(folder, task, {"max_epochs": 1}, **model)
    version = train_task(project, task, snapshot=snapshot)
    found = predict_all(project, version, snapshot=snapshot).predictions
    predictor = Predictor.load(version, snapshot, project.work / "features")
    for place in (0, len(found) - 1):
        alone = predictor.predict([found.keys[0][place].as_py()]).scores
        np.testing.assert_allclose(numbers_of(alone)[0], numbers_of(found.scores)[place], atol=1e-6)
    assert np.ptp(numbers_of(found.scores), axis=0).max() > 0


@pytest.mark.parametrize("kind", ["forecasting", "several", "links", "static_links"])
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_task(name: str, kind: str, tmp_path: Path) -> None:
    same_alone(tmp_path, kind, **MODELS[name])


@pytest.mark.parametrize("name", [*NAMES, "PyG's to_hetero"])
def test_past_labels(name: str, tmp_path: Path) -> None:
    if name.startswith("PyG"):
        pytest.importorskip("torch_geometric", reason='needs pip install "kincast[pyg]"')
    same_alone(tmp_path, "orders", **MODELS[name], label_history=4)
