"""Suggested plans suit the kind, the labels and the links; the plan that a version records gives its weights again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.kinds import KINDS, Shop
from tests.planted import Planted, make_planted

from kincast.errors import ProjectError
from kincast.query.compile import compile_task
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.registry.version import Version, load_version
from kincast.train.prepare import labels_of, prepare
from kincast.train.run import new_search, train_task
from kincast.train.search.mode import RunMode
from kincast.train.search.plan import ModelPlan
from kincast.train.search.read import edit_plan, parse_plan
from kincast.train.search.resolve import resolve
from kincast.train.search.suggest import suggest_model_plan


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_plan_that_reads_back_and_suits_it(kind: str, shops: Any) -> None:
    project, snapshot = shops(kind)
    task = compile_task(project.tasks[kind].query, snapshot.schema)
    labels = labels_of(project, kind, task, snapshot)
    for mode in RunMode:
        plan = suggest_model_plan(task, snapshot, mode, labels=labels)
        assert parse_plan(plan.to_yaml()) == plan
        assert plan.reasons["training_job.num_experiments"] in plan.to_yaml()
        assert plan.space()
        for name, values in plan.space().items():
            for place in range(len(values)):
                resolve(plan, {name: place}, project.tasks[kind], project.features)
        new_search(project, kind, snapshot, plan)._check()


def with_labels(planted: Planted, num: int, share: float) -> ModelPlan:
    """The plan of a task with so many training labels, a share of them positive."""
    project, snapshot = planted
    task = compile_task(project.tasks["buys"].query, snapshot.schema)
    zeros = np.zeros(num, np.int64)
    target = (np.arange(num) < share * num).astype(np.float64)
    labels = Labels("customers", TaskKind.BINARY, zeros, zeros, target, zeros.astype(np.int8), ("false", "true"))
    return suggest_model_plan(task, snapshot, "normal", labels=labels)


@pytest.mark.parametrize(
    ("num", "batches", "widths"),
    [
        (300, (64,), (64,)),
        (6_000, (128,), (64,)),
        (20_000, (512,), (64, 128)),
        (100_000, (512, 1024), (64, 128, 256)),
    ],
)
def test_batches_and_widths_follow_the_number_of_labels(
    num: int, batches: tuple[int, ...], widths: tuple[int, ...], planted: Planted
) -> None:
    found = with_labels(planted, num, 0.5).choices()
    assert found["optimization.batch_size"] == batches
    assert found["model_architecture.model.channels"] == widths
    assert found["optimization.majority_sampling_ratio"] == (None,)


def test_a_rare_class_and_the_targets_own_facts_are_seen_to(planted: Planted) -> None:
    plan = with_labels(planted, 6_000, 0.01)
    assert plan.choices()["optimization.majority_sampling_ratio"] == (None, 10.0)
    assert "1.0% of 6,000" in plan.reasons["optimization.majority_sampling_ratio"]
    (hops,) = plan.choices()["neighbor_sampling.num_neighbors"]
    assert hops["hop1"]["customers.customer_id->orders.customer_id"] == "inferred"
    assert "target's own facts" in plan.to_yaml()
    project, snapshot = planted
    fast = suggest_model_plan(compile_task(project.tasks["buys"].query, snapshot.schema), snapshot, "fast")
    (hops,) = fast.choices()["neighbor_sampling.num_neighbors"]
    assert hops["hop1"]["customers.customer_id->orders.customer_id"] <= 2 * 12


def test_modes_spend_what_they_say(planted: Planted) -> None:
    project, snapshot = planted
    task = compile_task(project.tasks["buys"].query, snapshot.schema)
    plans = [suggest_model_plan(task, snapshot, mode) for mode in ("debug", "fast", "normal", "BEST")]
    assert [plan.training_job.num_experiments for plan in plans] == [2, 2, 4, 8]  # half as many for classes
    assert [plan.choices()["optimization.max_epochs"] for plan in plans] == [(2,), (8,), (12,), (16,)]
    assert [plan.training_job.refit_trainval for plan in plans] == [False, False, True, True]


SEARCHED = {
    "training_job.num_experiments": 2,
    "training_job.refit_trainval": True,
    "optimization.max_epochs": 2,
    "optimization.base_lr": [0.01, 0.003],
    "model_architecture.model.channels": [8],
    "model_architecture.model.dropout": [0.2, 0.0],
}


@pytest.fixture(scope="module")
def searched(planted: Planted) -> Version:
    """A version that a search chose, learnt anew from training and validation labels."""
    project, snapshot = planted
    return train_task(project, "buys", snapshot=snapshot, plan=edit_plan(ModelPlan(), SEARCHED))


def test_a_version_says_what_it_was_chosen_from(searched: Version, planted: Planted) -> None:
    info = load_version(searched.folder.parent, searched.info.id).info
    assert info.search == searched.info.search
    best = info.search["trials"][info.search["best"] - 1]
    assert len(info.search["trials"]) == 2
    assert best["metric"] == max(trial["metric"] for trial in info.search["trials"])
    # What learnt from the validation labels is not judged by them: the figure is that of the trial.
    alone = info.baselines["graph network alone"]["validation"]["auroc"]
    assert alone.value == pytest.approx(best["metric"], abs=1e-6)
    assert not (planted[0].work / "runs" / "buys" / "search").exists()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_plan_of_a_version_gives_its_weights_again(threads: int, searched: Version, tmp_path: Path) -> None:
    project, snapshot = make_planted(tmp_path, {"num_threads": threads, "learning_rate": 1.0, "max_epochs": 1})
    plan = tmp_path / "plan.yaml"
    plan.write_bytes((searched.folder / "plan.yaml").read_bytes())
    task = project.tasks["buys"].model_copy(update={"plan": Path("plan.yaml")})
    project = project.model_copy(update={"tasks": {"buys": task}})
    again = train_task(project, "buys", snapshot=snapshot)
    assert again.info.plan == searched.info.plan
    assert not again.info.search
    assert {name: array.tobytes() for name, array in again.weights().items()} == {
        name: array.tobytes() for name, array in searched.weights().items()
    }


def test_refitting_learns_from_the_validation_labels(searched: Version, planted: Planted) -> None:
    project, snapshot = planted
    plan = edit_plan(parse_plan(searched.info.plan), {"training_job.refit_trainval": False})
    plain = train_task(project, "buys", snapshot=snapshot, plan=plan)
    alone = "graph network alone"
    assert plain.info.baselines[alone]["validation"] == searched.info.baselines[alone]["validation"]
    assert plain.info.baselines[alone]["test"] != searched.info.baselines[alone]["test"]
    assert any((array != plain.weights()[name]).any() for name, array in searched.weights().items())


def test_links_without_a_time_are_not_refitted(shops: Any) -> None:
    project, snapshot = shops("static_links")
    with pytest.raises(ProjectError, match="validation labels"):
        new_search(project, "static_links", snapshot, edit_plan(ModelPlan(), {"training_job.refit_trainval": True}))


@pytest.mark.parametrize("kind", ["several", "links"])
def test_a_search_trains_other_kinds_too(kind: str, shops: Any) -> None:
    shop: Shop = shops(kind)
    project, snapshot = shop
    task = compile_task(project.tasks[kind].query, snapshot.schema)
    plan = edit_plan(
        suggest_model_plan(task, snapshot, "debug", labels=prepare(project, kind, snapshot).labels),
        {
            "model_architecture.model.channels": 8,
            "neighbor_sampling.num_neighbors": {"hop1": {"default": 4}},
            "training_job.refit_trainval": True,
        },
    )
    found = train_task(project, kind, snapshot=snapshot, plan=plan).info
    assert [trial["state"] for trial in found.search["trials"]] == ["complete", "complete"]
