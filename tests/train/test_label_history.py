"""A network that reads past labels: the same in batch and online, at any instant, and clean under audit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.planted import Planted

from kincast.clock import DAY_US, parse_instant
from kincast.monitor.audit import audit_version
from kincast.predict.online import Predictor
from kincast.project import Project
from kincast.registry.version import Version
from kincast.report import Verdict
from kincast.train.prepare import examples, labels_of
from kincast.train.run import train_task

AS_OF = parse_instant("2024-10-27")


@pytest.fixture(scope="module")
def project(planted: Planted) -> Project:
    task = planted[0].tasks["buys"]
    reading = task.model_copy(update={"model": task.model.model_copy(update={"label_history": 4})})
    return planted[0].model_copy(update={"tasks": {"buys": reading}})


@pytest.fixture(scope="module")
def version(planted: Planted, project: Project) -> Version:
    return train_task(project, "buys", snapshot=planted[1])


def fresh(planted: Planted, version: Version) -> Predictor:
    return Predictor.load(version, planted[1], planted[0].work / "features")


def test_it_scores_as_in_training_alone_and_together(planted: Planted, project: Project, version: Version) -> None:
    predictor = fresh(planted, version)
    labels = labels_of(project, "buys", predictor.task, planted[1]).of(2)
    seeds = examples(labels).seeds
    together, _ = predictor.score_rows(seeds.rows, seeds.as_of_us)
    auroc = version.info.metrics["test"]["auroc"].value
    positive, negative = together[labels.target == 1], together[labels.target == 0]
    ahead = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    assert ahead.mean() == pytest.approx(auroc, abs=1e-6)
    for place in (0, 7, -1):
        alone, _ = fresh(planted, version).score_rows(seeds.rows[[place]], seeds.as_of_us[[place]])
        assert alone[0] == pytest.approx(together[place], abs=1e-6)


def test_later_instants_know_more_labels_and_earlier_ones_no_more(planted: Planted, version: Version) -> None:
    rows: Any = np.arange(40)
    early, late = np.full(40, AS_OF), np.full(40, AS_OF + 400 * DAY_US)
    predictor = fresh(planted, version)
    before, _ = predictor.score_rows(rows, early)
    known = len(predictor.loader.history.rows)  # type: ignore[union-attr]
    ahead, _ = predictor.score_rows(rows, late)
    assert len(predictor.loader.history.rows) > known  # type: ignore[union-attr]
    assert (predictor.score_rows(rows, early)[0] == before).all()
    assert (fresh(planted, version).score_rows(rows, late)[0] == ahead).all()


def test_a_far_instant_asks_for_no_window_after_the_last_fact(planted: Planted, version: Version) -> None:
    predictor = fresh(planted, version)
    predictor.score_rows(np.arange(3), np.full(3, parse_instant("9999-01-01")))
    history = predictor.loader.history
    assert history is not None
    assert history.known_us.max() <= predictor.default_as_of() + 30 * DAY_US
    predictor.score_rows(np.arange(3), np.full(3, parse_instant("9999-06-01")))
    assert predictor.loader.history is history


def test_it_is_clean_under_audit(planted: Planted, project: Project, version: Version) -> None:
    predictor = fresh(planted, version)
    report = audit_version(predictor, labels_of(project, "buys", predictor.task, planted[1]))
    assert [c for c in report.checks if c.verdict in (Verdict.FAIL, Verdict.WARN)] == []


def test_the_same_run_gives_the_same_weights(planted: Planted, project: Project, version: Version) -> None:
    again = train_task(project, "buys", snapshot=planted[1])
    weights = version.weights()
    assert all(np.array_equal(weights[name], array) for name, array in again.weights().items())
