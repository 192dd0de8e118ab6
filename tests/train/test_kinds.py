"""Every kind of task trains, is compared with its baselines, and is the same again, also after a kill."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.kinds import KINDS, Trained, make_shop

from kincast.errors import ProjectError
from kincast.operate.gate import gate
from kincast.project import TaskSettings
from kincast.query.compile import compile_task
from kincast.query.export import export_labels
from kincast.query.labels import make_labels
from kincast.registry.version import load_version
from kincast.train.loop import Trainer, _balanced
from kincast.train.prepare import prepare
from kincast.train.run import train_task

BASELINES = {
    "forecasting": {"global mean", "global median", "last value", "entity mean", "LightGBM"},
    "several": {"constant", "last value", "entity mean", "LightGBM"},
    "links": {"popularity", "recent popularity", "repeat"},
    "audience": {"popularity", "recent popularity", "repeat"},
    "static_links": {"popularity", "repeat"},
}
OF_LABELS = {"global shares", "last value", "entity shares", "LightGBM"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_holds_the_network_beside_its_baselines(kind: str, trained: Trained) -> None:
    version = trained(kind)
    info = version.info
    assert set(info.baselines) == BASELINES.get(kind, OF_LABELS)
    for metric in info.decides:
        for split in ("validation", "test"):
            assert np.isfinite(info.metrics[split][metric].value)
            assert all(np.isfinite(found[split][metric].value) for found in info.baselines.values())
    loaded = load_version(version.folder.parent, info.id).info
    # As text, since what is not a number equals nothing.
    one, other = (json.dumps(asdict(each), sort_keys=True, default=str) for each in (loaded, info))
    assert one == other
    assert len([check for check in gate(info, None).checks if check.name == "gate.heuristics"]) == len(info.decides)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_plan_gives_the_same_weights_also_after_a_kill(
    kind: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, snapshot = make_shop(tmp_path, kind, {"num_threads": 2})
    step, steps = Trainer._step, 0

    def dying(self: Trainer, *arguments: Any) -> None:
        nonlocal steps
        if steps == 1:
            raise KeyboardInterrupt
        steps += 1
        step(self, *arguments)

    monkeypatch.setattr("kincast.train.loop.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(
        "kincast.train.compare._rivals", lambda *_: ({}, None)
    )  # the weights do not depend on the baselines
    monkeypatch.setattr(Trainer, "_step", dying)
    try:
        train_task(project, kind, snapshot=snapshot)
    except KeyboardInterrupt:
        monkeypatch.setattr(Trainer, "_step", step)
        again = train_task(project, kind, snapshot=snapshot, resume=True)
    else:
        pytest.fail("the run is too short to be killed")
    assert all((again.weights()[name] == array).all() for name, array in trained(kind).weights().items())


def test_settings_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    project, snapshot = make_shop(tmp_path, "forecasting", {"majority_ratio": 1.0})
    with pytest.raises(ProjectError, match="not for forecasting"):
        prepare(project, "forecasting", snapshot)


@pytest.mark.parametrize("negatives", ["all", "in_batch", "uniform", "popularity"])
@pytest.mark.parametrize("links", ["context", "two_tower", "pairwise"])
def test_every_way_to_learn_links(links: str, negatives: str, tmp_path: Path) -> None:
    train = {"negatives": negatives, "num_negatives": 4, "max_epochs": 1}
    project, snapshot = make_shop(tmp_path, "links", train, links=links)
    assert np.isfinite(train_task(project, "links", snapshot=snapshot).info.metrics["test"]["map@3"].value)


def test_the_most_frequent_class_is_thinned_out() -> None:
    target = np.array([0.0] * 90 + [1.0] * 10 + [2.0] * 5)
    chosen = _balanced(target, 2.0, np.random.default_rng(0))
    assert np.bincount(target[chosen].astype(int)).tolist() == [30, 10, 5]
    assert len(set(chosen.tolist())) == len(chosen)


@pytest.mark.parametrize("weights", ["loss", "sample"])
def test_a_row_of_weight_zero_is_not_learnt_from(weights: str, tmp_path: Path) -> None:
    """Half of the labels are turned round and weigh nothing: the weights are those of a run that never saw them."""
    project, snapshot = make_shop(tmp_path, "labels", {"weights": weights, "max_epochs": 1, "batch_size": 512})
    buys = TaskSettings.model_validate(
        project.tasks["labels"].model_dump(by_alias=True)
        | {"query": "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id", "labels": "own.parquet"}
    )
    project = project.model_copy(update={"tasks": {"buys": buys}})
    task = compile_task(buys.query, snapshot.schema)
    with snapshot.open_tables() as tables:
        table = export_labels(task, make_labels(task, tables, buys.split), tables)
    ignored = (np.arange(table.num_rows) % 2 == 0) & (table["split"].to_numpy() == "train")
    target = table["target"].to_numpy()
    scores = []
    for wrong in (target, np.where(ignored, ~target, target)):
        own = table.set_column(2, "target", pa.array(wrong)).append_column("weight", pa.array((~ignored) * 1.0))
        pq.write_table(own, tmp_path / "own.parquet")
        scores.append(train_task(project, "buys", snapshot=snapshot).weights())
    assert all((array == scores[1][name]).all() for name, array in scores[0].items())
