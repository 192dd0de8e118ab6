"""Training learns what can be learnt, sees nothing from the future, and is the same after a kill."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.planted import TRAIN, MakePlanted, make_planted

from kincast.model.network import weights_of
from kincast.registry.version import Version, load_version
from kincast.schema import RowTime, Schema, SemanticType
from kincast.train.loop import Trainer
from kincast.train.prepare import prepare
from kincast.train.run import train_task

CHANCE = 0.05  # how far from one half an AUROC of nothing may lie


def test_signal_two_hops_away_is_learnt(version: Version) -> None:
    # The secret rates allow an AUROC of 0.81 at best.
    metrics = version.info.metrics["test"]
    assert 0.74 < metrics["auroc"].value < 0.86
    assert metrics["auroc"].low < metrics["auroc"].value < metrics["auroc"].high
    assert set(version.info.baselines) == {
        "global mean",
        "last value",
        "entity mean",
        "LightGBM",
        "linear model",
        "graph network alone",
    }
    assert version.info.baselines["global mean"]["test"]["auroc"].value == pytest.approx(0.5)


def test_a_version_reads_back(version: Version) -> None:
    again = load_version(version.folder.parent, version.info.id)
    assert again.info == version.info
    assert all((again.weights()[name] == array).all() for name, array in version.weights().items())


def test_nothing_to_learn_is_chance(planted_with: MakePlanted) -> None:
    project, snapshot = planted_with(shuffled=True, num_customers=1_500)
    metrics = train_task(project, "buys", snapshot=snapshot).info.metrics["test"]
    assert metrics["auroc"].value == pytest.approx(0.5, abs=CHANCE)


def test_a_label_written_in_a_later_fact_stays_unseen(planted_with: MakePlanted) -> None:
    project, snapshot = planted_with(shuffled=True, future_giveaway=True, num_customers=1_500)
    info = train_task(project, "buys", snapshot=snapshot).info
    assert info.metrics["test"]["auroc"].value == pytest.approx(0.5, abs=CHANCE)
    assert info.baselines["LightGBM"]["test"]["auroc"].value == pytest.approx(0.5, abs=CHANCE)


@pytest.mark.parametrize("is_end", [True, False])
def test_an_end_that_is_not_known_yet_stays_unseen(is_end: bool, planted_with: MakePlanted) -> None:
    """The planted end tells the label; read as a column like any other, it is all that a model needs."""

    def edit(schema: Schema) -> Schema:
        table = schema.table("memberships")
        columns = [replace(c, type=SemanticType.TIMESTAMP) if c.name == "ended_at" else c for c in table.columns]
        end = "ended_at" if is_end else None
        changed = replace(table, columns=tuple(columns), time=RowTime(column="began_at"), end_time=end)
        return Schema(tuple(changed if t.name == table.name else t for t in schema), schema.links)

    project, snapshot = planted_with(edit=edit, shuffled=True, late_end=True, num_customers=700)
    info = train_task(project, "buys", snapshot=snapshot).info
    for metrics in (info.metrics, info.baselines["LightGBM"]):
        if is_end:
            assert metrics["test"]["auroc"].value == pytest.approx(0.5, abs=CHANCE)
    if not is_end:
        assert info.metrics["test"]["auroc"].value > 0.9


def test_the_same_plan_gives_the_same_weights_whatever_the_threads(version: Version, tmp_path: Path) -> None:
    project, snapshot = make_planted(tmp_path, {"num_threads": 3})
    again = train_task(project, "buys", snapshot=snapshot)
    assert all((again.weights()[name] == array).all() for name, array in version.weights().items())


@pytest.mark.parametrize("stop_after", [1, 9, 20])
def test_resuming_after_a_kill_gives_the_same_weights(
    stop_after: int, version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, snapshot = make_planted(tmp_path)
    step, steps = Trainer._step, 0

    def dying(self: Trainer, *arguments: Any) -> None:
        nonlocal steps
        if steps == stop_after:
            raise KeyboardInterrupt
        steps += 1
        step(self, *arguments)

    monkeypatch.setattr("kincast.train.loop.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(Trainer, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        train_task(project, "buys", snapshot=snapshot)
    assert list(project.work.rglob("block-*.parquet"))
    monkeypatch.setattr(Trainer, "_step", step)
    taken: list[int] = []
    monkeypatch.setattr(Trainer, "_step", lambda self, *a: (taken.append(1), step(self, *a))[1])
    again = train_task(project, "buys", snapshot=snapshot, resume=True)
    assert all((again.weights()[name] == array).all() for name, array in version.weights().items())
    assert not list(project.work.rglob("block-*.parquet"))  # what a killed run left of the labels is used and goes
    num_labels = len(prepare(project, "buys", snapshot).labels.of(0).rows)
    assert len(taken) + stop_after == len(again.features["epochs"]) * math.ceil(num_labels / TRAIN["batch_size"])


def test_weights_are_copies() -> None:
    layer = torch.nn.Linear(2, 2)
    before = weights_of(layer)
    with torch.no_grad():
        layer.weight.add_(1.0)
    assert not (before["weight"] == layer.weight.detach().numpy()).any()
