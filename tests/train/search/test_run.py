"""A search keeps the best trial, goes on after a kill as if there had been none, and ends when its time is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.planted import Planted

from kincast.errors import ProjectError, TrainError
from kincast.progress import silent
from kincast.project import TaskSettings
from kincast.query.task import TaskKind
from kincast.train.loop import Fit
from kincast.train.prepare import Prepared, new_network, prepare
from kincast.train.search.plan import ModelPlan
from kincast.train.search.read import parse_plan
from kincast.train.search.run import Found, Search, is_out_of_memory
from kincast.train.search.share import Shared

PLAN = parse_plan("""
training_job: {num_experiments: 4, pruning: {k: 1, min_epochs: 1}}
optimization: {max_epochs: 3, base_lr: [0.003, 0.01, 0.03], weight_decay: [0.0, 0.1]}
""")
Quality = Callable[[TaskSettings, int], float]


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kincast.train.search.run.TIMED_ROWS", 32)


@pytest.fixture(scope="module")
def prepared(planted: Planted) -> Prepared:
    project, snapshot = planted
    return prepare(project, "buys", snapshot)


class Trainer:
    """Stands in for training: weights are fresh, and the metric of an epoch is whatever a test says."""

    def __init__(self, planted: Planted, quality: Quality) -> None:
        self.planted, self.quality = planted, quality
        self.tried: list[TaskSettings] = []

    def __call__(self, prepared: Prepared, settings: TaskSettings, stop: Callable[[Fit], bool], *rest: object) -> Fit:
        self.tried.append(settings)
        weights = new_network(self.planted[1], prepared, settings).state_dict()
        fit = Fit(weights, 0, [])
        while len(fit.epochs) < settings.train.max_epochs and not (fit.epochs and stop(fit)):
            value = self.quality(settings, len(fit.epochs) + 1)
            fit.epochs.append({"epoch": len(fit.epochs) + 1, "auroc": value})
            fit.best_epoch = max(range(len(fit.epochs)), key=lambda i: fit.epochs[i]["auroc"]) + 1
        return fit


def by_rate(settings: TaskSettings, epoch: int) -> float:
    return 0.5 + settings.train.learning_rate + 0.1 * settings.train.weight_decay + 0.01 * epoch


@pytest.fixture
def searching(planted: Planted, prepared: Prepared, tmp_path: Path) -> Callable[..., tuple[Search, Trainer]]:
    """A search in this test's folder, and what stands in for training."""

    def make(quality: Quality = by_rate, plan: ModelPlan = PLAN, **options: Any) -> tuple[Search, Trainer]:
        project, snapshot = planted
        shared = Shared(project, project.tasks["buys"], snapshot, prepared, plan.training_job.tune_metric)
        trainer = Trainer(planted, quality)
        return Search(plan, shared, trainer, tmp_path / "search", **options), trainer

    return make


Searching = Callable[..., tuple[Search, Trainer]]


def outcome(found: Found) -> list[tuple[Any, ...]]:
    return [(t.number, tuple(t.places.items()), t.state, t.metric, t.epochs) for t in found.trials]


def test_the_best_validation_metric_wins_and_its_plan_says_it_all(searching: Searching) -> None:
    search, trainer = searching()
    found = search.run()
    best = max(found.trials, key=lambda trial: trial.metric or 0)
    assert len(trainer.tried) == len(found.trials) == 4
    assert found.as_dict()["best"] == best.number
    assert found.settings.train.learning_rate == best.values["optimization.base_lr"]
    assert found.plan.choices()["optimization.base_lr"] == (found.settings.train.learning_rate,)
    assert not found.plan.space()
    assert all(trial.row_us and trial.row_us > 0 for trial in found.trials)
    assert set(found.as_dict()["front"]) <= {1, 2, 3, 4}


def test_trials_that_are_behind_are_given_up(searching: Searching) -> None:
    search, _ = searching(lambda settings, epoch: 0.8 if settings.train.learning_rate == 0.003 else 0.6)
    states = {trial.values["optimization.base_lr"]: (trial.state, len(trial.epochs)) for trial in search.run().trials}
    assert states.pop(0.003) == ("complete", 3)
    assert set(states.values()) == {("pruned", 1)}


@pytest.mark.parametrize("dies_in", [1, 3, 4])
def test_a_killed_search_goes_on_as_if_it_had_not_been(dies_in: int, searching: Searching, tmp_path: Path) -> None:
    whole = searching()[0].run()
    begun = 0

    def dying(settings: TaskSettings, epoch: int) -> float:
        nonlocal begun
        begun += epoch == 1
        if begun == dies_in:
            raise KeyboardInterrupt
        return by_rate(settings, epoch)

    with pytest.raises(KeyboardInterrupt):
        searching(dying)[0].run()
    search, trainer = searching()
    again = search.run(resume=True)
    assert outcome(again) == outcome(whole)
    assert len(trainer.tried) == 4 - (dies_in - 1)
    assert all(torch.equal(weight, again.fit.weights[name]) for name, weight in whole.fit.weights.items())
    assert len(list(tmp_path.rglob("checkpoint.safetensors"))) == 1  # of the best


def test_another_plan_begins_anew(searching: Searching) -> None:
    searching()[0].run()
    search, trainer = searching(plan=parse_plan("training_job: {num_experiments: 1}\noptimization: {max_epochs: 1}"))
    search.run(resume=True)
    assert len(trainer.tried) == 1


def test_the_time_ends_a_search_after_the_epoch_in_hand(searching: Searching) -> None:
    search, trainer = searching(budget_s=1e-9)
    found = search.run()
    assert [(trial.state, len(trial.epochs)) for trial in found.trials] == [("stopped", 1)]
    assert found.settings.train.stop_after == 1
    assert len(trainer.tried) == 1
    assert found.plan.choices()["optimization.stop_after"] == (1,)


def test_batches_are_halved_until_memory_suffices(searching: Searching) -> None:
    def quality(settings: TaskSettings, epoch: int) -> float:
        if settings.train.batch_size > 50:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        return by_rate(settings, epoch)

    search, trainer = searching(quality)
    found = search.run()
    assert [settings.train.batch_size for settings in trainer.tried[:3]] == [128, 64, 32]
    assert {trial.batch_size for trial in found.trials} == {32}
    assert found.settings.train.batch_size == 32
    assert found.plan.choices()["optimization.batch_size"] == (32,)
    assert "out of memory with batches of 64" in found.trials[0].note


def test_a_trial_without_a_model_is_noted_and_the_others_go_on(searching: Searching) -> None:
    def quality(settings: TaskSettings, epoch: int) -> float:
        if settings.train.learning_rate > 0.02:
            raise TrainError("the loss is nan")
        if settings.train.weight_decay:
            raise MemoryError
        return by_rate(settings, epoch)

    found = searching(quality)[0].run()
    assert found.trials[0].state == "complete"
    notes = {trial.note for trial in found.trials if trial.state == "failed"}
    assert notes <= {"the loss is nan", "out of memory with batches of 16"}
    assert notes
    failed = [trial.number for trial in found.trials if trial.state == "failed"]
    assert not set(found.as_dict()["front"]) & set(failed)


def test_no_model_at_all_is_an_error_that_says_why(searching: Searching) -> None:
    def quality(settings: TaskSettings, epoch: int) -> float:
        raise TrainError("the loss is nan")

    with pytest.raises(TrainError, match="none of 4 trials gave a model: the loss is nan"):
        searching(quality)[0].run()


def test_a_bug_is_no_lack_of_memory(searching: Searching) -> None:
    def quality(settings: TaskSettings, epoch: int) -> float:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        searching(quality)[0].run()
    assert is_out_of_memory(torch.OutOfMemoryError())
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert is_out_of_memory(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optimization: {loss: [binary_cross_entropy, mae]}", "mae is not for"),
        ("training_job: {tune_metric: mape}", "there is no metric 'mape'"),
        ("neighbor_sampling: {num_neighbors: [{hop1: {default: 2}}, {hop1: {a.b->c.d: 3}}]}", "no such link"),
    ],
)
def test_what_could_only_fail_hours_later_is_refused_before(text: str, says: str, searching: Searching) -> None:
    with pytest.raises(ProjectError, match=says):
        searching(plan=parse_plan(text))[0].run()


def test_values_must_suit_the_kind_of_task(planted: Planted, prepared: Prepared) -> None:
    project, snapshot = planted
    settings = project.tasks["buys"]
    other = replace(prepared, task=replace(prepared.task, kind=TaskKind.REGRESSION))
    shared = Shared(project, settings, snapshot, other, None)
    balanced = settings.model_copy(update={"train": settings.train.model_copy(update={"majority_ratio": 2.0})})
    with pytest.raises(ProjectError, match="majority_ratio is for"):
        shared.objective(balanced)


def test_values_that_do_not_go_together_fail_one_trial(searching: Searching, monkeypatch: pytest.MonkeyPatch) -> None:
    search, trainer = searching()
    settings_of = search._settings

    def picky(places: dict[str, int]) -> Any:
        if len(places) > 1 and places["optimization.base_lr"] == 0:
            raise ProjectError("they do not go together")
        return settings_of(places)

    monkeypatch.setattr(search, "_settings", picky)
    found = search.run()
    notes = {trial.values["optimization.base_lr"]: trial.note for trial in found.trials}
    assert notes[0.003] == "they do not go together"
    assert trainer.tried
    assert all(settings.train.learning_rate != 0.003 for settings in trainer.tried)


def test_trials_share_what_they_have_in_common(planted: Planted, prepared: Prepared) -> None:
    project, snapshot = planted
    settings = project.tasks["buys"]
    shared = Shared(project, settings, snapshot, prepared, "ap")
    changed = settings.model_copy(update={"train": settings.train.model_copy(update={"loss": "focal"})})
    same = shared.of(changed, project.features, silent)
    assert same.features is prepared.features
    assert same.labels is prepared.labels
    assert (same.judge.of_epochs, same.objective.as_dict()["loss_name"]) == ("ap", "focal")
    half = project.features.model_copy(update={"storage": "float16"})
    other = shared.of(settings, half, silent)
    assert other.features.spec.storage == "float16"
    assert shared.of(changed, half, silent).features is other.features
