"""Shared neighbourhoods give what trees give, whoever is in the batch; what is read through link tables is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.molecules import BACK, HOPS, SHARED, make_molecules
from tests.planted import Planted

from kincast.errors import DataError, ProjectError
from kincast.model.convolution import Convolution
from kincast.model.network import Network
from kincast.monitor.audit import audit_version
from kincast.predict.online import Predictor
from kincast.project import ModelSettings
from kincast.report import Verdict
from kincast.sample.batch import Seeds
from kincast.train.plan import make_plan
from kincast.train.prepare import new_loader, new_network, prepare
from kincast.train.run import train_task

VARIANTS: list[dict[str, Any]] = [
    {},
    {"through": ()},
    {"messages": "convolution", "aggregations": ["sum", "mean", "max"]},
    {"messages": "convolution", "aggregations": ["sum", "mean", "max"], "fanout": [2] * HOPS},
    {"sampling": "uniform", "fanout": [3] * HOPS},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_row_once_gives_what_trees_give(tmp_path: Path, variant: dict[str, Any]) -> None:
    project, snapshot = make_molecules(tmp_path, {**SHARED, **variant}, num=40)
    settings = project.tasks["active"]
    prepared = prepare(project, "active", snapshot)
    network = new_network(snapshot, prepared, settings)
    rows = np.array([7, 3, 11, 3, 0])
    seeds = Seeds("molecules", rows, np.zeros(5, np.int64))
    shared, together = new_loader(snapshot, prepared, settings).score(network, prepared.objective, seeds)
    tree = settings.model_copy(update={"model": settings.model.model_copy(update={"neighbourhood": "tree"})})
    trees, apart = new_loader(snapshot, prepared, tree).score(network, prepared.objective, seeds)
    assert np.allclose(shared, trees, atol=1e-5)
    assert np.allclose(together, apart, atol=1e-4)
    alone, _ = new_loader(snapshot, prepared, settings).score(network, prepared.objective, seeds.take(slice(0, 1)))
    assert alone[0] == pytest.approx(trees[0], abs=1e-6)
    assert np.ptp(apart, axis=0).max() > 1e-6  # not all molecules are alike


def test_molecules_are_told_apart_by_their_bonds_and_predicted_alike(tmp_path: Path) -> None:
    project, snapshot = make_molecules(tmp_path, SHARED)
    version = train_task(project, "active", snapshot=snapshot)
    assert version.info.metrics["test"]["auroc"].value > 0.9
    predictor = Predictor.load(version, snapshot, project.work / "features")
    rows = np.arange(20)
    every, _ = predictor.score_rows(rows, np.zeros(20, np.int64))
    one, _ = predictor.score_rows(rows[:1], np.zeros(1, np.int64))
    assert isinstance(every, np.ndarray)
    assert isinstance(one, np.ndarray)
    assert one[0] == pytest.approx(every[0], rel=1e-3)


def test_a_convolution_is_a_mean_near_the_first_vector(tmp_path: Path) -> None:
    overrides = {BACK: [0]}
    model = {
        **SHARED,
        "messages": "convolution",
        "aggregations": ["sum", "mean", "max"],
        "fanout": [-1],
        "fanout_overrides": overrides,
        "through": (),
    }
    project, snapshot = make_molecules(tmp_path, model, num=40)
    prepared = prepare(project, "active", snapshot)
    network = new_network(snapshot, prepared, project.tasks["active"])
    assert isinstance(network, Network)
    loader = new_loader(snapshot, prepared, project.tasks["active"])
    inputs = next(loader.batches(Seeds("molecules", np.arange(3), np.zeros(3, np.int64)), 3))
    atoms, molecules = (network.tables.index(table) for table in ("atoms", "molecules"))
    weights = network.state_dict()
    edge = next(edge for edge in inputs.edges if edge.edge.other == "atoms")
    assert isinstance(network.body, Convolution)
    assert edge.src is not None
    across = weights[f"body.across.0.{network.body.edge_index[edge.edge.name]}.weight"]
    mix = weights[f"body.mix.0.{molecules}.weight"]
    with torch.no_grad():
        first = network.encoders[molecules](inputs.tables["molecules"])
        vectors = network.encoders[atoms](inputs.tables["atoms"])
        found = network.embed(inputs)[0]
        for seed in range(3):
            heard = vectors[edge.src[edge.offsets[seed] : edge.offsets[seed + 1]]]
            mean = (first[seed] + (heard @ across.T).sum(0)) / (1 + len(heard))
            said = 0.9 * mean + 0.1 * first[seed]
            share = np.log(1.5)
            wanted = torch.relu((1 - share) * said + share * (mix @ said))
            assert torch.allclose(found[seed], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"fanout": [8, 4]}, "the same fanout at every hop"),
        ({"fanout_overrides": {BACK: [0, 0, 0, -1]}}, "the same fanout at every hop"),
        ({"max_rows_per_seed": 9}, "max_rows_per_seed"),
        ({"fanout": ["inferred"] * 2, "fanout_overrides": {}}, "numbers, not inferred"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(model: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ModelSettings.model_validate({**SHARED, **model})


def test_seeds_of_several_instants_cannot_share(tmp_path: Path) -> None:
    project, snapshot = make_molecules(tmp_path, SHARED, num=40)
    prepared = prepare(project, "active", snapshot)
    loader = new_loader(snapshot, prepared, project.tasks["active"])
    with pytest.raises(DataError, match="several instants"):
        loader.sampler(None).sample(Seeds("molecules", np.arange(2), np.arange(2)))


def test_links_have_no_shared_neighbourhoods(planted: Planted) -> None:
    project, snapshot = planted
    query = "PREDICT LIST_DISTINCT(orders.product_id, 0, 30, days) RANK TOP 3 FOR EACH customers.customer_id"
    model = ModelSettings.model_validate({"fanout": [4, 4], "neighbourhood": "shared"})
    task = project.tasks["buys"].model_copy(update={"query": query, "model": model})
    with pytest.raises(ProjectError, match="links"):
        train_task(project.model_copy(update={"tasks": {"buys": task}}), "buys", snapshot=snapshot)


def test_a_version_is_clean_under_audit_and_no_plan_is_made_of_it(tmp_path: Path) -> None:
    project, snapshot = make_molecules(tmp_path, {**SHARED, "fanout": [-1, -1], "fanout_overrides": {BACK: [0, 0]}}, 60)
    settings = project.tasks["active"]
    short = settings.model_copy(update={"train": settings.train.model_copy(update={"max_epochs": 1})})
    project = project.model_copy(update={"tasks": {"active": short}})
    version = train_task(project, "active", snapshot=snapshot)
    predictor = Predictor.load(version, snapshot, project.work / "features")
    prepared = prepare(project, "active", snapshot)
    report = audit_version(predictor, prepared.labels)
    assert [check.message for check in report.checks if check.verdict is Verdict.FAIL] == []
    with pytest.raises(ProjectError, match="a plan is of trees"):
        make_plan("active", short, snapshot, prepared)
