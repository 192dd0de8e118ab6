"""What every kind of model keeps: one number everywhere, nothing of the future, and vectors that stay apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from tests.models import LAYERED, MODELS
from tests.planted import MakePlanted, Planted

from kincast.clock import DAY_US, format_instant, parse_instant
from kincast.graph.build import build_snapshot
from kincast.model.inputs import Inputs
from kincast.model.network import Network
from kincast.predict.batch import predict_all
from kincast.predict.online import Predictor
from kincast.project import ModelSettings, Project
from kincast.registry.version import Version
from kincast.sample.batch import Batch, Seeds
from kincast.source.open import open_source
from kincast.train.prepare import Prepared, new_loader, new_network, prepare
from kincast.train.run import train_task

AS_OF = parse_instant("2024-10-27")


def with_model(project: Project, **model: Any) -> Project:
    """The planted project with another model."""
    task = project.tasks["buys"]
    changed = ModelSettings.model_validate(task.model.model_dump() | model)
    return project.model_copy(update={"tasks": {"buys": task.model_copy(update={"model": changed})}})


@pytest.fixture(scope="module")
def versions(planted: Planted) -> dict[str, Version]:
    return {}


@pytest.fixture(params=MODELS)
def trained(
    request: pytest.FixtureRequest,
    planted: Planted,
    versions: dict[str, Version],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Project, Version]:
    """A project of each kind of model, and its version, without baselines; trained once."""
    monkeypatch.setattr("kincast.train.compare._rivals", lambda *_: ({}, None))
    name: str = request.param
    if name.startswith("PyG"):
        pytest.importorskip("torch_geometric", reason='needs pip install "kincast[pyg]"')
    project = with_model(planted[0], **MODELS[name])
    if name not in versions:
        versions[name] = train_task(project, "buys", snapshot=planted[1])
    return project, versions[name]


def test_it_learns_and_batch_is_online(trained: tuple[Project, Version], planted: Planted) -> None:
    (project, version), snapshot = trained, planted[1]
    assert 0.74 < version.info.metrics["test"]["auroc"].value < 0.86
    batch = predict_all(project, version, snapshot=snapshot, as_of_us=AS_OF)
    predictor = Predictor.load(version, snapshot, project.work / "features")
    for place in (0, 17, 399):
        key = batch.predictions.keys["customer_id"][place].as_py()
        alone = predictor.predict([key], AS_OF).scores
        np.testing.assert_allclose(alone, batch.predictions.scores[place], atol=1e-6)
        np.testing.assert_allclose(predictor.embed([key], AS_OF)[0], batch.embeddings[place], atol=1e-5)


def test_it_scores_as_in_training(trained: tuple[Project, Version], planted: Planted) -> None:
    (project, version), snapshot = trained, planted[1]
    prepared = prepare(project, "buys", snapshot)
    labels = prepared.labels.of(2)
    predictor = Predictor.load(version, snapshot, project.work / "features")
    scores, _ = predictor.score_rows(labels.rows, labels.as_of_us)
    measured = prepared.judge.measure(labels.target, scores, labels.rows).intervals()
    assert measured["auroc"].value == pytest.approx(version.info.metrics["test"]["auroc"].value, abs=1e-6)


def test_the_future_moves_no_bit(trained: tuple[Project, Version], planted: Planted, tmp_path: Path) -> None:
    (project, version), snapshot = trained, planted[1]
    changed = tmp_path / "planted.duckdb"
    shutil.copy(project.source, changed)
    with duckdb.connect(str(changed)) as con:
        later = f"ordered_at > TIMESTAMP '{format_instant(AS_OF)}'"
        con.execute(f"DELETE FROM orders WHERE {later} AND order_id % 3 = 0")
        con.execute(f"UPDATE orders SET amount = amount * 1000, customer_id = 1, product_id = 2 WHERE {later}")
    other = build_snapshot(open_source(str(changed)), snapshot.schema, tmp_path / "snapshots")
    rows = np.arange(400)
    before, after = (
        Predictor.load(version, one, tmp_path / f"features-{one.id}").score_rows(rows, np.full(400, AS_OF))[0]
        for one in (snapshot, other)
    )
    assert (before == after).all()


@pytest.mark.parametrize("name", ["attention across bridges", "transformer"])
def test_a_label_written_in_a_later_fact_stays_unseen(
    name: str, planted_with: MakePlanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kincast.train.compare._rivals", lambda *_: ({}, None))
    project, snapshot = planted_with(shuffled=True, future_giveaway=True, num_customers=700)
    info = train_task(with_model(project, **MODELS[name]), "buys", snapshot=snapshot).info
    assert info.metrics["test"]["auroc"].value == pytest.approx(0.5, abs=0.05)


def prepared_with(planted: Planted, **model: Any) -> tuple[Project, Prepared, Network]:
    """A project with a model, what it needs, and a fresh network of it."""
    project = with_model(planted[0], **model)
    prepared = prepare(project, "buys", planted[1])
    network = new_network(planted[1], prepared, project.tasks["buys"])
    assert isinstance(network, Network)
    return project, prepared, network.eval()


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("fanout", [[4, 4, 4], [8, 4, 2]])
def test_a_vector_depends_on_the_row_and_the_instant_alone(name: str, fanout: list[int], planted: Planted) -> None:
    """Rows met one link away from orders have, after each layer, the vectors they have as seeds themselves."""
    project, prepared, network = prepared_with(planted, **MODELS[name], fanout=fanout)
    loader = new_loader(planted[1], prepared, project.tasks["buys"])
    instants = AS_OF + np.arange(30) * DAY_US

    def layers(seeds: Seeds) -> tuple[Batch, list[dict[str, torch.Tensor]]]:
        found: list[dict[str, torch.Tensor]] = []
        hooks = [
            layer.register_forward_hook(lambda *said: found.append(said[2]))
            for layer in network.body.layers  # type: ignore[union-attr]
        ]
        batch = loader.sampler(None).sample(seeds)
        with torch.inference_mode():
            network(loader.inputs_of(batch))
        for hook in hooks:
            hook.remove()
        return batch, found

    batch, met = layers(Seeds("orders", np.arange(3_000, 3_030), instants))
    for table in ("customers", "products"):
        num = int(batch.hop_offsets[table][2])
        assert num == 30
        _, own = layers(Seeds(table, batch.rows[table][:num], instants[batch.seed[table][:num]]))
        for layer in range(2):
            torch.testing.assert_close(met[layer][table][:num], own[layer][table][:num], atol=1e-5, rtol=1e-5)


def seeds_inputs(planted: Planted, project: Project, prepared: Prepared, num: int = 64) -> Inputs:
    loader = new_loader(planted[1], prepared, project.tasks["buys"])
    return loader.inputs_of(loader.sampler(None).sample(Seeds("customers", np.arange(num), np.full(num, AS_OF))))


@pytest.mark.parametrize("name", [*LAYERED, "transformer"])
def test_gradients_are_the_same_again_to_the_bit(name: str, planted: Planted) -> None:
    project, prepared, network = prepared_with(planted, **MODELS[name])
    inputs, found = seeds_inputs(planted, project, prepared), []
    for _ in range(2):
        network.zero_grad()
        network(inputs).outputs.square().sum().backward()
        found.append([weight.grad for weight in network.parameters() if weight.grad is not None])
    assert all(bool((one == two).all()) for one, two in zip(*found, strict=True))
    assert len(found[0]) > 20


@pytest.mark.parametrize("name", [*LAYERED, "transformer"])
def test_six_hops_keep_vectors_apart(name: str, planted: Planted) -> None:
    """Fresh weights smooth most: how far apart customers are, by six hops and by one."""
    spread = {}
    for num_hops in (1, 6):
        model = MODELS[name] if num_hops > 1 else {key: v for key, v in MODELS[name].items() if key != "bridges"}
        project, prepared, network = prepared_with(planted, **model, fanout=[2] * num_hops)
        with torch.inference_mode():
            vectors, _ = network.embed(seeds_inputs(planted, project, prepared))
        spread[num_hops] = float(vectors.std(dim=0).mean() / vectors.std())
    assert spread[6] > 0.5 * spread[1]


def test_bridges_bring_the_other_side_in_one_layer(planted: Planted) -> None:
    """With the first layer silent, what products say reaches customers across orders, and only with bridges."""
    moved = {}
    for bridges in (False, True):
        project, prepared, network = prepared_with(planted, bridges=bridges)
        inputs = seeds_inputs(planted, project, prepared)
        first = network.body.layers[0]  # type: ignore[union-attr,index]
        with torch.inference_mode():
            for weight in (*first.messages.parameters(), *first.own.parameters()):
                weight.zero_()
            before, _ = network.embed(inputs)
            inputs.tables["products"].codes[:] = 0
            after, _ = network.embed(inputs)
        moved[bridges] = float((before - after).abs().max())
    assert moved[False] == 0
    assert moved[True] > 1e-3
