"""A knowledge graph learnt: what follows from training facts is found, and nothing else moves a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.ring import make_ring
from torch.nn import functional

from kincast.errors import DataError, ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.model.triple import SCORERS, TripleNetwork
from kincast.project import ModelSettings, Project, TrainSettings
from kincast.query.answers import Answers
from kincast.train.knowledge import fit_knowledge
from kincast.train.loop import Fit
from kincast.train.prepare import prepare
from kincast.train.run import train_task
from kincast.train.triple import TripleTrainer

Weights = dict[str, torch.Tensor]


def fit(project: Project, snapshot: Snapshot, **options: Any) -> Fit:
    prepared = prepare(project, "line", snapshot)
    return fit_knowledge(prepared, project.tasks["line"], project.folder / "run", "a run", **options)


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("scorer", "epochs", "least", "most"),
    [("complex", 8, 0.9, 1.0), ("rotate", 30, 0.7, 1.0), ("distmult", 12, 0.3, 0.7)],
)
def test_facts_that_follow_from_others_are_found(
    tmp_path: Path, scorer: str, epochs: int, least: float, most: float
) -> None:
    train = {"max_epochs": epochs, "patience": epochs}
    project, snapshot = make_ring(tmp_path, model={"scorer": scorer}, train=train)
    info = train_task(project, "line", snapshot=snapshot).info
    found = info.metrics["test"]["mrr"].value
    assert (
        least <= found <= most
    )  # a product of real numbers is the same both ways, so it cannot tell after from before
    assert found > 4 * max(rival["test"]["mrr"].value for rival in info.baselines.values())
    assert set(info.baselines) == {"most frequent", "untrained"}
    assert {cohort.name for cohort in info.cohorts} == {"tails", "heads"}


def test_facts_at_random_are_found_by_chance(tmp_path: Path) -> None:
    shuffle = (
        "UPDATE facts SET tail = names.tail FROM (SELECT a.head, a.relation, b.tail FROM "
        "(SELECT *, row_number() OVER (ORDER BY md5(head || relation)) AS n FROM facts) a JOIN "
        "(SELECT *, row_number() OVER (ORDER BY md5(relation || tail)) AS n FROM facts) b USING (n)) names "
        "WHERE facts.head = names.head AND facts.relation = names.relation"
    )
    project, snapshot = make_ring(tmp_path, shuffle)
    assert train_task(project, "line", snapshot=snapshot).info.metrics["test"]["mrr"].value < 0.2


def test_a_test_fact_changes_no_weight(tmp_path: Path) -> None:
    fits = []
    for name, change in (("a", ""), ("b", "UPDATE facts SET relation = 'x' || tail, tail = head WHERE part = 'test'")):
        (tmp_path / name).mkdir()
        fits.append(fit(*make_ring(tmp_path / name, change)))
    assert same(fits[0].weights, fits[1].weights)
    (tmp_path / "c").mkdir()
    first = "(SELECT min(head || relation) FROM facts WHERE part = 'train')"
    changed = fit(*make_ring(tmp_path / "c", f"UPDATE facts SET tail = head WHERE head || relation = {first}"))
    assert not same(fits[0].weights, changed.weights)


@pytest.mark.parametrize("train", [{}, {"negatives": "uniform", "num_negatives": 20}])
def test_a_seed_gives_the_same_weights_also_after_a_kill(tmp_path: Path, train: dict[str, Any]) -> None:
    project, snapshot = make_ring(tmp_path, train={**train, "max_epochs": 5}, model={"dropout": 0.1})
    whole = fit(project, snapshot)
    killed = fit(project, snapshot, stop=lambda found: len(found.epochs) == 2)
    assert len(killed.epochs) == 2
    resumed = fit(project, snapshot, resume=True)
    assert same(whole.weights, resumed.weights)
    assert [epoch["loss"] for epoch in whole.epochs] == [epoch["loss"] for epoch in resumed.epochs]


def new_trainer(**train: Any) -> TripleTrainer:
    """Of 12 rows and 2 relations, with 40 facts; its weights are large enough to tell scores apart."""
    torch.manual_seed(0)
    network = TripleNetwork(ModelSettings(output_channels=8), 12, 2)
    for weight in network.parameters():
        weight.data *= 100
    random = np.random.default_rng(0)
    codes = random.choice([0, 1, 3, 4], 40)
    answers = Answers.of(random.integers(0, 12, 40) * 6 + codes, random.integers(0, 12, 40))
    settings = TrainSettings(n3=0.0, **train)
    return TripleTrainer(network, answers, settings, 0.0, lambda: 0.0, "mrr", Path(), "")


def test_the_loss_is_the_cross_entropy_of_every_fact_among_all_rows() -> None:
    trainer = new_trainer()
    places = np.arange(len(trainer.answers))
    owner, answers = trainer.answers.at(places)
    rows, codes = np.divmod(trainer.answers.questions[owner], 6)
    scores = trainer.network(torch.from_numpy(rows), torch.from_numpy(codes))
    wanted = float(functional.cross_entropy(scores, torch.from_numpy(answers)).detach())
    step = trainer._draw(places, np.random.default_rng(0))
    assert trainer._step(step, 0.0) == pytest.approx(wanted, rel=1e-5)


def test_rows_that_are_drawn_stand_for_all_others() -> None:
    every = new_trainer()
    places = np.arange(len(every.answers))
    exact = every._step(every._draw(places, np.random.default_rng(0)), 0.0)
    few = new_trainer(negatives="uniform", num_negatives=8)
    random = np.random.default_rng(0)
    mean = np.mean([few._step(few._draw(places, random), 0.0) for _ in range(200)])
    assert few.draws
    assert mean == pytest.approx(exact, rel=0.1)


def test_scorers_score_one_answer_as_they_score_all() -> None:
    for scorer in SCORERS:
        network = TripleNetwork(ModelSettings.model_validate({"scorer": scorer, "output_channels": 8}), 5, 2)
        asked = network.asked(network.rows, network.relations[[0, 1, 3, 4, 0]])
        each = network.score_each(asked, network.rows)
        torch.testing.assert_close(each, network.scores(asked, network.rows).diagonal())
        unknown = network(torch.arange(5), torch.full((5,), 2))
        assert scorer == "rotate" or not unknown.any()  # nothing is learnt of a relation that no training fact has


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": {"output_channels": 31}}, "real and an imaginary part"),
        ({"train": {"negatives": "in_batch"}}, "in_batch"),
        ({"model": {"label_history": 1}}, "label_history"),
    ],
)
def test_settings_that_do_not_suit_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    project, snapshot = make_ring(tmp_path, **settings)
    with pytest.raises(ProjectError, match=words):
        train_task(project, "line", snapshot=snapshot)


def test_a_graph_without_facts_is_refused(tmp_path: Path) -> None:
    project, snapshot = make_ring(tmp_path, "UPDATE facts SET part = 'train'")
    with pytest.raises(DataError, match="no labels in the validation split"):
        train_task(project, "line", snapshot=snapshot)
