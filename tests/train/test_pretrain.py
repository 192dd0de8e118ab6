"""Pre-training sees nothing behind its end, is the same after a kill, and helps where labels are few."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from tests.planted import Planted, make_planted

from kincast.clock import DAY_US, Span, add, format_instant, parse_instant
from kincast.errors import ProjectError
from kincast.graph.build import build_snapshot
from kincast.model.network import BODY
from kincast.project import PretrainSettings, Project, TrainSettings
from kincast.registry.pretrained import Pretrained
from kincast.registry.version import Version
from kincast.schema import Schema
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.train.loop import Trainer
from kincast.train.prepare import Prepared, examples, new_loader, objective_of, prepare
from kincast.train.pretrain import instants_of, pretrain_task
from kincast.train.run import fit_network, new_trainer, train_task
from kincast.train.search.plan import ModelPlan
from kincast.train.search.read import edit_plan, parse_plan
from kincast.train.start import find_start

END = parse_instant("2024-09-27")  # the first instant of validation
WINDOWS = (Span(20, "days"),)


def with_task(project: Project, *, train: dict[str, Any] | None = None, **changes: Any) -> Project:
    """The project with other settings of its task."""
    task = project.tasks["buys"]
    values = task.train.model_dump() | (train or {})
    task = task.model_copy(update={**changes, "train": TrainSettings.model_validate(values)})
    return project.model_copy(update={"tasks": {"buys": task}})


def small(project: Project, **changes: Any) -> Project:
    """The project with a pre-training of two epochs and an end of its own."""
    plan = PretrainSettings.model_validate({"windows": WINDOWS, "max_epochs": 2, **changes})
    return with_task(project, pretrain=plan, train={"blend": False, "max_epochs": 2})


@pytest.fixture(scope="module")
def pretrained(planted: Planted) -> Pretrained:
    project, snapshot = planted
    return pretrain_task(small(project), "buys", snapshot=snapshot)


@pytest.fixture(scope="module")
def started(planted: Planted, pretrained: Pretrained) -> Version:
    project, snapshot = planted
    return train_task(with_task(small(project), train={"start_from": "buys"}), "buys", snapshot=snapshot)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_it_ends_where_validation_begins_and_says_what_it_learnt(pretrained: Pretrained) -> None:
    assert pretrained.end_us == END
    assert pretrained.features["until_us"] == END
    assert "COUNT(orders.*, 0, 20, days) VIA orders.customer_id" in pretrained.targets
    assert pretrained.epochs[-1]["skill"] > 0.05
    assert all(name.startswith(BODY) for name in pretrained.weights())


def test_what_happens_behind_the_end_changes_nothing(pretrained: Pretrained, tmp_path: Path) -> None:
    project, _ = make_planted(tmp_path)
    with duckdb.connect(str(tmp_path / "planted.duckdb")) as con:
        con.execute(f"UPDATE orders SET amount = 1e6 WHERE ordered_at > '{format_instant(END)}'")
        con.execute(f"DELETE FROM orders WHERE ordered_at > '{format_instant(END)}' AND order_id % 3 > 0")
    source = open_source(str(tmp_path / "planted.duckdb"))
    shutil.rmtree(project.snapshots)
    other = build_snapshot(source, infer_schema(source).schema, project.snapshots)
    again = pretrain_task(small(project, end=format_instant(END)), "buys", snapshot=other)
    assert again.snapshot_id != pretrained.snapshot_id
    assert again.features == pretrained.features
    assert same(again.weights(), pretrained.weights())


@pytest.mark.parametrize("step", [Span(7, "days"), Span(1, "months")])
def test_all_windows_end_by_the_end_and_those_of_training_before_validation(step: Span) -> None:
    first, window = parse_instant("2023-01-05"), Span(1, "months")
    train, validation = instants_of(first, END, window, step)
    assert list(train + validation) == sorted({*train, *validation})
    assert 0.05 < len(validation) / len(train) < 0.2
    assert add(validation[-1], window) <= END
    assert all(add(instant, window) <= validation[0] for instant in train)
    assert add(first, step) <= train[0] < add(add(first, step), step)


def test_an_end_behind_the_beginning_of_validation_is_refused(planted: Planted) -> None:
    project, snapshot = planted
    with pytest.raises(ProjectError, match="2024-09-28 is later than 2024-09-27, from which on the task is validated"):
        pretrain_task(small(project, end="2024-09-28"), "buys", snapshot=snapshot)


def test_a_task_that_is_validated_earlier_may_not_start_from_it(planted: Planted, pretrained: Pretrained) -> None:
    project, snapshot = planted
    split = project.tasks["buys"].split.model_copy(update={"validation_start_us": END - DAY_US})
    early = with_task(project, train={"start_from": "buys"}, split=split)
    with pytest.raises(ProjectError, match="facts up to 2024-09-27, and the task is validated from 2024-09-26"):
        prepare(early, "buys", snapshot)
    plan = edit_plan(ModelPlan(), {"optimization.start_from": [None, "buys"]})
    with pytest.raises(ProjectError, match="has seen facts up to"):  # before a search comes to it
        train_task(with_task(project, split=split), "buys", snapshot=snapshot, plan=plan)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"channels": 8}, "model.channels"),
        ({"aggregations": ("max", "sum", "mean")}, "model.aggregations"),
        ({"fanout": (8,)}, "the number of hops"),
        ({"activation": "gelu"}, "model.activation"),
    ],
)
def test_other_settings_are_refused(
    changed: dict[str, Any], said: str, planted: Planted, pretrained: Pretrained
) -> None:
    project, snapshot = planted
    model = project.tasks["buys"].model.model_copy(update=changed)
    with pytest.raises(ProjectError, match=f"other settings: {said}"):
        prepare(with_task(project, train={"start_from": "buys"}, model=model), "buys", snapshot)


def test_other_features_schemas_and_hidden_columns_are_refused(planted: Planted, pretrained: Pretrained) -> None:
    project, snapshot = planted
    project = with_task(project, train={"start_from": pretrained.id})
    half = project.model_copy(update={"features": project.features.model_copy(update={"storage": "float16"})})
    with pytest.raises(ProjectError, match=r"other settings: features\.storage"):
        prepare(half, "buys", snapshot)
    query = "PREDICT orders.amount FOR EACH orders.order_id"
    static = with_task(
        project, query=query, split=project.tasks["buys"].split.model_copy(update={"test_windows": None})
    )
    with pytest.raises(ProjectError, match=r"do not hide the same columns: orders\.amount"):
        prepare(static, "buys", snapshot)
    prepared, settings = prepare(project, "buys", snapshot), project.tasks["buys"]
    schema = Schema(tuple(reversed(tuple(snapshot.schema))), snapshot.schema.links)
    with pytest.raises(ProjectError, match="another schema; it differs in the order"):
        find_start(project, settings, prepared.task, prepared.labels, project.features, schema)


def test_killed_and_resumed_it_is_the_same(
    planted: Planted, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, snapshot = planted
    project = small(project).model_copy(update={"folder": tmp_path})
    step, steps = Trainer._step, 0

    def dying(self: Trainer, *arguments: Any) -> None:
        nonlocal steps
        if steps == 5:
            raise KeyboardInterrupt
        steps += 1
        step(self, *arguments)

    monkeypatch.setattr("kincast.train.loop.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(Trainer, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        pretrain_task(project, "buys", snapshot=snapshot)
    taken: list[int] = []
    monkeypatch.setattr(Trainer, "_step", lambda self, *a: (taken.append(1), step(self, *a))[1])
    again = pretrain_task(project, "buys", snapshot=snapshot, resume=True)
    assert again.id == pretrained.id  # the hash of all that it is
    assert 0 < len(taken) < len(taken) + 5 == len(again.epochs) * ((len(taken) + 5) // len(again.epochs))
    assert not list((project.work / "runs" / "buys_pretrain").rglob("*.*"))


def test_a_version_that_started_from_it_is_made_again_by_its_plan(
    planted: Planted, pretrained: Pretrained, started: Version
) -> None:
    project, snapshot = planted
    plan = parse_plan(started.info.plan)
    assert plan.choices()["optimization.start_from"] == (pretrained.id,)
    again = train_task(small(project), "buys", snapshot=snapshot, plan=plan)
    assert same(again.weights(), started.weights())
    assert started.info.settings["train"]["start_from"] == pretrained.id


def test_a_search_tries_both_ways(planted: Planted, pretrained: Pretrained, started: Version) -> None:
    project, snapshot = planted
    changes = {"training_job.num_experiments": 2, "optimization.start_from": [None, "buys"]}
    plan = edit_plan(ModelPlan(), changes)
    found = train_task(small(project), "buys", snapshot=snapshot, plan=plan)
    trials = {trial["values"]["optimization.start_from"]: trial for trial in found.info.search["trials"]}
    assert trials.keys() == {None, pretrained.id}
    assert trials[pretrained.id]["epochs"] == [epoch["auroc"] for epoch in started.features["epochs"]]
    assert trials[None]["epochs"] != trials[pretrained.id]["epochs"]


def test_training_begins_with_its_weights_and_leaves_them_while_they_are_frozen(
    planted: Planted, pretrained: Pretrained, tmp_path: Path
) -> None:
    project, snapshot = planted
    project = with_task(project, train={"start_from": "buys", "freeze_body_epochs": 1, "max_epochs": 2})
    prepared, settings = prepare(project, "buys", snapshot), project.tasks["buys"]
    trainer = new_trainer(snapshot, prepared, settings, tmp_path)
    wanted = pretrained.weights()
    body: list[bool] = []
    heads: list[torch.Tensor] = []

    def note(_: Any) -> bool:
        weights = trainer.network.state_dict()
        body.append(same({name: weights[name].numpy() for name in wanted}, wanted))
        heads.append(weights["head.0.weight"].clone())
        return False

    note(None)
    trainer.run(examples(prepared.labels.of(0)), None, stop=note)
    note(None)
    assert body == [True, True, False]
    assert not torch.equal(heads[0], heads[1])


def test_past_labels_are_read_beside_what_was_learnt(planted: Planted, pretrained: Pretrained) -> None:
    project, snapshot = planted
    model = project.tasks["buys"].model.model_copy(update={"label_history": 2})
    project = with_task(project, train={"start_from": "buys"}, model=model)
    prepared = prepare(project, "buys", snapshot)
    weights = new_trainer(snapshot, prepared, project.tasks["buys"]).network.state_dict()
    assert prepared.history is not None
    assert same({name: weights[name].numpy() for name in pretrained.weights()}, pretrained.weights())


def test_few_labels_suffice_for_what_was_learnt_without_them(planted: Planted, tmp_path: Path) -> None:
    """Twelve labels do not teach which products tell who buys often; what comes next does."""
    project, snapshot = planted
    project = with_task(small(project, max_epochs=6), train={"max_epochs": 8, "batch_size": 12})
    found = pretrain_task(project, "buys", snapshot=snapshot)
    gains = []
    for seed in range(3):
        values = []
        for name in (None, found.id):
            own = with_task(project, train={"start_from": name, "seed": seed, "learning_rate": 0.003})
            values.append(_auroc_of_few(prepare(own, "buys", snapshot), own, snapshot, seed, tmp_path))
        gains.append(values[1] - values[0])
    assert min(gains) > 0.0
    assert np.mean(gains) > 0.04


def _auroc_of_few(prepared: Prepared, project: Project, snapshot: Any, seed: int, folder: Path) -> float:
    """Test metric after training on six labels of each class."""
    labels, settings = prepared.labels, project.tasks["buys"]
    random, kept = np.random.default_rng(seed), labels.split == 1
    for code in (0, 1):
        kept[random.choice(np.flatnonzero((labels.split == 0) & (labels.target == code)), 6, replace=False)] = True
    few = labels.where(kept)
    prepared = replace(prepared, labels=few, objective=objective_of(few.of(0), {}, settings)[0])
    fit = fit_network(prepared, settings, snapshot, folder)
    trainer = new_trainer(snapshot, prepared, settings)
    trainer.network.load_state_dict(fit.weights)
    test = labels.of(2)
    scores, _ = new_loader(snapshot, prepared, settings).score(
        trainer.network, prepared.objective, examples(test).seeds
    )
    return prepared.judge.value(test.target, scores)
