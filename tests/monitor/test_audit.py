"""A trained version: clean as it is, and caught when its sampler, its statistics or its rows are made to leak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from tests.planted import MakePlanted, Planted

from kincast.feature import fit
from kincast.graph.build import build_snapshot
from kincast.monitor.audit import audit_version
from kincast.predict.online import Predictor
from kincast.query.labels import Labels, make_labels
from kincast.registry.version import Version
from kincast.report import Report, Verdict
from kincast.sample.batch import Batch, Seeds
from kincast.sample.sampler import Sampler
from kincast.source.open import open_source
from kincast.train.run import train_task


def predictor_and_labels(planted: Planted, version: Version) -> tuple[Predictor, Labels]:
    project, snapshot = planted
    predictor = Predictor.load(version, snapshot, project.work / "features")
    with snapshot.open_tables() as tables:
        return predictor, make_labels(predictor.task, tables, project.tasks["buys"].split)


def failed(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is Verdict.FAIL}


def test_a_sound_version_passes(planted: Planted, version: Version) -> None:
    report = audit_version(*predictor_and_labels(planted, version))
    assert [c for c in report.checks if c.verdict in (Verdict.FAIL, Verdict.WARN)] == []
    names = {check.name for check in report.checks}
    assert {"replay.oracle", "future.removed", "future.changed", "future.added", "statistic.later"} <= names


def see(monkeypatch: pytest.MonkeyPatch, visible: Callable[[Any], Any]) -> None:
    """Let the sampler see what was made of the instants that it is to see."""
    sample = Sampler.sample

    def seeing(sampler: Sampler, seeds: Seeds) -> Batch:
        batch = sample(sampler, replace(seeds, visible_us=visible(seeds.visible)))
        return replace(batch, seeds=seeds)

    monkeypatch.setattr(Sampler, "sample", seeing)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that sees every row, whatever the instant."""
    see(monkeypatch, lambda visible: np.full(len(visible), np.iinfo(np.int64).max))


def test_a_sampler_without_time_is_caught(planted: Planted, version: Version, blind: None) -> None:
    found = failed(audit_version(*predictor_and_labels(planted, version)))
    assert {"replay.oracle", "neighbour.later", "future.removed", "future.changed", "future.added"} <= found


def test_draws_that_depend_on_the_batch_are_caught(
    planted: Planted, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(monkeypatch, lambda visible: np.full(len(visible), visible.max(initial=0)))
    assert {"replay.oracle", "neighbour.later"} <= failed(audit_version(*predictor_and_labels(planted, version)))


def test_statistics_of_later_rows_are_caught(
    planted_with: MakePlanted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planted = planted_with()
    whole = fit.fit_features
    with monkeypatch.context() as patch:
        patch.setattr(
            "kincast.train.prepare.fit_features",
            lambda snapshot, _until_us, *others: whole(snapshot, snapshot.max_time_us, *others),
        )
        leaking = train_task(planted[0], "buys", snapshot=planted[1])
    assert failed(audit_version(*predictor_and_labels(planted, leaking))) == {"statistic.later"}


def test_values_that_changed_between_snapshots_are_caught(planted_with: MakePlanted) -> None:
    project, snapshot = planted = planted_with()
    version = train_task(project, "buys", snapshot=snapshot)
    with duckdb.connect(project.source) as connection:
        connection.execute("UPDATE orders SET amount = amount + 1 WHERE order_id % 10 = 0")
        connection.execute("INSERT INTO orders SELECT max(order_id) + 1, 0, 0, '2025-01-01', 5.0 FROM orders")
    later = build_snapshot(open_source(project.source), snapshot.schema, project.snapshots)
    report = audit_version(*predictor_and_labels(planted, version), others=[later])
    (changed,) = [check for check in report.checks if check.verdict is Verdict.FAIL]
    assert (changed.name, changed.where) == ("row.changed", "orders.amount")
    assert changed.value == (snapshot.tables["orders"].num_rows + 9) // 10
