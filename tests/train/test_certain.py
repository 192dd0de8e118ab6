"""What is fitted on the validation period is kept, measured on the test period, and shown by cohort."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from tests.kinds import Trained
from tests.planted import MakePlanted, Planted

from kincast.errors import ProjectError
from kincast.model.certainty import Certainty
from kincast.query.compile import compile_task
from kincast.query.labels import task_labels
from kincast.registry.version import Cohort, Interval, Version, load_version
from kincast.train.cohort import MAX_COHORTS, OTHER, _coded, cohorts_of
from kincast.train.metric import SMALL, worst_of
from kincast.train.run import train_task


def test_a_prior_that_training_moved_is_repaired(planted_with: MakePlanted) -> None:
    project, snapshot = planted_with(train={"majority_ratio": 0.2, "blend": False})
    version = train_task(project, "buys", snapshot=snapshot)
    test = version.info.metrics["test"]
    assert test["ece"].value < 0.6 * test["ece uncalibrated"].value
    assert test["log_loss"].high < test["log_loss uncalibrated"].value
    kept = Certainty.from_dict(load_version(version.folder.parent, version.info.id).features["certainty"])
    assert kept.calibrations[0].method == "temperature"
    assert {"log_loss", "ece"} <= set(version.info.baselines["LightGBM"]["test"])


def test_coverage_is_measured_on_the_test_period(trained: Trained) -> None:
    info = trained("several").info
    reached = info.metrics["test"]["coverage at 90 % of SUM(orders.amount, 0, 30, days)"]
    assert 0 < reached.low <= reached.value <= reached.high
    assert not any(name.startswith("coverage") for name in info.metrics["validation"])
    steps = trained("forecasting").info.metrics["test"]
    assert {f"coverage at 90 % step {step}" for step in (1, 2, 3)} <= set(steps)


def test_cohorts_are_parts_of_the_test_rows(planted: Planted) -> None:
    project, snapshot = planted
    settings = project.tasks["buys"]
    task = compile_task(settings.query, snapshot.schema)
    with snapshot.open_tables() as tables:
        labels = task_labels(task, tables, settings.split)
    names = [f"customers.{column.name}" for column in snapshot.schema.table("customers").columns]
    groups = list(cohorts_of(task, snapshot, labels, labels.rows, names))
    for by in {group.by for group in groups}:
        parts = np.array([group.chosen for group in groups if group.by == by])
        assert (parts.sum(axis=0) == 1).all()  # each row is in one
        assert 2 <= len(parts) <= MAX_COHORTS + 2
    with pytest.raises(ProjectError, match=r"'customers\.nothing' is no column of customers"):
        list(cohorts_of(task, snapshot, labels, labels.rows, ["customers.nothing"]))


def test_values_become_cohorts() -> None:
    codes, words = _coded(pa.array(["a", None, "b", "a"]))
    assert [words[code] for code in codes] == ["a", "missing", "b", "a"]
    many = pa.array([f"city {number % 40}" for number in range(200)] + ["home"] * 50)
    codes, words = _coded(many)
    assert words[codes[-1]] == "home"
    assert len({words[code] for code in codes}) == MAX_COHORTS
    assert OTHER in {words[code] for code in codes}
    numbers = pa.array([*range(100), None])
    codes, words = _coded(numbers)
    assert np.bincount(codes[:100]).tolist() == [25, 25, 25, 25]
    assert words[codes[0]] == "0 to 24.75"
    assert words[codes[-1]] == "missing"


def test_the_worst_cohort_is_not_a_small_one() -> None:
    def cohort(name: str, rows: int, value: float) -> Cohort:
        return Cohort("country", name, rows, {metric: Interval(value, value, value) for metric in ("auroc", "mae")})

    cohorts = [cohort("few", SMALL - 1, 0.1), cohort("low", 50, 0.6), cohort("high", 50, 0.9)]
    found = [worst_of(cohorts, metric) for metric in ("auroc", "mae")]
    assert [cohort.name for cohort in found if cohort is not None] == ["low", "high"]
    assert worst_of(cohorts[:1], "auroc") is None


def test_cohorts_read_back(version: Version) -> None:
    info = replace(version.info, cohorts=(Cohort("as of", "2024", 7, {"auroc": Interval(0.5, 0.4, 0.6)}),))
    assert type(info).from_dict(info.as_dict() | {"schema": info.schema.as_dict()}) == info
