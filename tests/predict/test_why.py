"""Reasons add up, are exact where they say so, show nothing later than the instant, and are the same every time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.kinds import KINDS, QUERIES, Shop, Trained

from kincast.clock import format_instant, parse_instant
from kincast.errors import ProjectError
from kincast.graph.append import append_rows
from kincast.graph.build import build_snapshot
from kincast.graph.delta import DeltaLog
from kincast.graph.snapshot import Snapshot
from kincast.model.ranked import Ranked
from kincast.predict.batch import predict_all
from kincast.predict.deletion import ORDERS, deletion_curves
from kincast.predict.live import LivePredictor
from kincast.predict.online import Predictor
from kincast.predict.overview import overview
from kincast.predict.reason import Why
from kincast.project import Project
from kincast.registry.version import Version
from kincast.sample.batch import Seeds
from kincast.serve.message import Explanation
from kincast.source.open import open_source
from kincast.train.run import train_task

AS_OF = parse_instant("2024-09-15")
LATER = parse_instant("2024-10-27")
LEAD = 0.015
"""By how much the score falls faster than by chance, on average over shares of the rows taken out."""

Shops = Callable[[str], Shop]


@pytest.fixture(scope="module")
def version(planted: tuple[Project, Snapshot]) -> Version:
    """Of a network that answers alone, as it is: what is explained is what is said."""
    project, snapshot = planted
    task = project.tasks["buys"]
    alone = task.model_copy(update={"train": task.train.model_copy(update={"blend": False, "calibration": "none"})})
    return train_task(project.model_copy(update={"tasks": {"buys": alone}}), "buys", snapshot=snapshot)


@pytest.fixture(scope="module")
def predictor(planted: tuple[Project, Snapshot], version: Version) -> Predictor:
    project, snapshot = planted
    return Predictor.load(version, snapshot, project.work / "features")


def of_scores(predictor: Predictor, key: Any, as_of: int | None, why: Why) -> float:
    """The number that an explanation is of, out of the prediction itself."""
    scores = predictor.predict([key], as_of).scores
    if isinstance(scores, Ranked):
        return float(scores.scores[0, 0])
    if isinstance(scores, tuple):
        scores = scores[0]
    if scores.ndim == 1:
        return float(scores[0])
    return float(scores.sum() if why.of.get("step") == "all" else scores.max())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_explained(kind: str, shops: Shops, trained: Trained) -> None:
    project, snapshot = shops(kind)
    predictor = Predictor.load(trained(kind), snapshot, project.work / "features")
    as_of = AS_OF if kind in QUERIES else None
    for key in (3, 7):
        (why,) = predictor.why([key], as_of, top=3)
        assert why.score == pytest.approx(of_scores(predictor, key, as_of, why), abs=1e-5)
        said = why.as_dict()
        amounts = [one.amount for one in (*why.columns, *why.past, *why.item)]
        sizes = sum(map(abs, amounts)) + abs(why.rest)
        assert abs(why.missed) <= 0.02 * sizes + 1e-6
        assert len(why.rows) <= 3
        assert len(why.columns) <= 3
        assert len(why.own) <= 3
        assert all(row.time is None or as_of is None or row.time <= format_instant(as_of) for row in why.rows)
        named = {(one.table, one.column) for one in why.columns}
        named |= {(row.table, one.column) for row in why.rows for one in row.columns}
        assert not named & set(predictor.task.hidden)
        assert why.rows or why.links
        msgspec.convert(json.loads(json.dumps(said)), Explanation)
        assert predictor.why([key], as_of, top=3)[0].as_dict() == said


@pytest.mark.parametrize(
    ("kind", "of", "words"),
    [
        ("labels", "web", {"label": "web"}),
        ("forecasting", 2, {"step": 2}),
        ("ranking", "app", {"label": "app"}),
        ("links", 4, {"item": 4}),
    ],
)
def test_the_number_that_is_named_is_explained(
    kind: str, of: Any, words: dict[str, Any], shops: Shops, trained: Trained
) -> None:
    project, snapshot = shops(kind)
    predictor = Predictor.load(trained(kind), snapshot, project.work / "features")
    (why,) = predictor.why([3], AS_OF, of=of)
    assert why.of == words
    scores = predictor.predict([3], AS_OF).scores
    if isinstance(scores, Ranked):
        assert predictor.loader.items is not None
    else:
        place = of - 1 if kind == "forecasting" else trained(kind).info.classes.index(of)
        assert why.score == pytest.approx(float(scores[0, place]), abs=1e-5)  # type: ignore[index]
    with pytest.raises(ProjectError, match="there is no"):
        predictor.why([3], AS_OF, of="nothing of that name" if kind != "links" else 99_999)


def test_one_of_several_targets_is_named_by_its_text(shops: Shops, trained: Trained) -> None:
    project, snapshot = shops("several")
    predictor = Predictor.load(trained("several"), snapshot, project.work / "features")
    spent = "SUM(orders.amount, 0, 30, days)"
    (why,) = predictor.why([3], AS_OF, target=spent)
    assert (why.of, why.noun) == ({"target": spent}, "value")
    (why,) = predictor.why([3], AS_OF, target="FIRST(orders.channel, 0, 30, days)", of="web")
    assert why.of["class"] == "web"
    with pytest.raises(ProjectError, match="there is no target"):
        predictor.why([3], AS_OF, target="SUM(orders.quantity, 0, 30, days)")


def test_a_change_is_what_the_prediction_is_without_the_row(
    planted: tuple[Project, Snapshot], predictor: Predictor, version: Version, tmp_path: Path
) -> None:
    project, snapshot = planted
    (why,) = predictor.why([5], LATER, top=50)
    assert len(why.rows) > 2
    orders = [row for row in why.rows if row.table == "orders"]
    changed = tmp_path / "planted.duckdb"
    shutil.copy(project.source, changed)
    with duckdb.connect(str(changed)) as connection:
        connection.execute(f"DELETE FROM orders WHERE order_id = {orders[0].key}")
    other = build_snapshot(open_source(str(changed)), snapshot.schema, tmp_path / "snapshots")
    fewer = Predictor.load(version, other, tmp_path / "features").predict([5], LATER).scores
    assert isinstance(fewer, np.ndarray)
    assert why.score - orders[0].change == pytest.approx(float(fewer[0]), abs=1e-6)
    assert orders[0].change != 0


def test_reasons_for_what_was_planted(predictor: Predictor) -> None:
    """The category of the products bought says who buys, and nothing else does: own columns are noise."""
    sizes = {"category": 0.0, "age": 0.0}
    for why in predictor.why(list(range(0, 400, 25)), LATER, top=50):
        for one in why.columns:
            if one.column in sizes:
                sizes[one.column] += abs(one.amount)
    assert sizes["category"] > 5 * sizes["age"]


def test_rows_taken_out_by_their_reasons_move_the_score_faster_than_by_chance(predictor: Predictor) -> None:
    rows = np.arange(0, 400, 10)
    seeds = predictor.seeds_of(rows, np.full(len(rows), LATER))
    loader = predictor.loader_of(seeds)
    scored, _ = loader.score(predictor.network, predictor.objective, seeds)
    curves = deletion_curves(predictor.explainer, loader, seeds, predictor.meant_by(scored).aims, 0)
    assert len(curves.scores["random"]) > 30
    ends = [curves.scores[order][:, [0, -1]] for order in ORDERS]
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], atol=1e-5)  # with all and with none it does not matter
    assert curves.lead("changes").mean() > LEAD
    assert curves.lead("changes").mean() - curves.lead("reverse").mean() > 2 * LEAD
    assert curves.lead("amounts").mean() > 0


def test_past_labels_are_linked_rows_too(planted: tuple[Project, Snapshot]) -> None:
    project, snapshot = planted
    task = project.tasks["buys"]
    model = task.model.model_copy(update={"label_history": 4})
    task = task.model_copy(update={"model": model})
    project = project.model_copy(update={"tasks": {"buys": task}})
    version = train_task(project, "buys", snapshot=snapshot)
    (why,) = Predictor.load(version, snapshot, project.work / "features").why([5], LATER, top=50)
    labels = [row for row in why.rows if row.table == "label history"]
    assert labels
    assert labels[0].key == 5
    assert any(one.column == "label" and one.value in ("true", "false") for row in labels for one in row.columns)


def test_batch_reasons_are_few_and_those_of_the_row_alone(
    planted: tuple[Project, Snapshot], version: Version, predictor: Predictor
) -> None:
    project, snapshot = planted
    keys = list(range(20))
    found = predict_all(project, version, snapshot=snapshot, as_of_us=LATER, keys=keys, why=3)
    table = found.as_table()
    assert table["why"].type == pa.list_(pa.string())
    assert all(1 <= len(lines) <= 3 for lines in table["why"].to_pylist())
    single = predict_all(project, version, snapshot=snapshot, as_of_us=LATER, keys=[7], why=3)
    assert single.why is not None
    assert found.why is not None
    assert single.why[0] == found.why[7]
    exact = {line.rsplit(" ", 1)[0] for line in predictor.why([7], LATER, top=50)[0].sentences(500)}
    assert {line.rsplit(" ", 1)[0] for line in found.why[7]} <= exact


@pytest.mark.parametrize(("kind", "rows_each"), [("forecasting", 3), ("links", 3), ("several", 1)])
def test_batch_reasons_stand_in_the_first_row(kind: str, rows_each: int, shops: Shops, trained: Trained) -> None:
    project, snapshot = shops(kind)
    found = predict_all(project, trained(kind), snapshot=snapshot, as_of_us=AS_OF, keys=[3, 4], why=2)
    said = found.as_table()["why"].to_pylist()
    assert [lines is not None for lines in said] == ([True] + [False] * (rows_each - 1)) * 2
    assert found.as_records()["why"].to_pylist() == found.why


def test_live_rows_are_reasons_too(planted: tuple[Project, Snapshot], version: Version, tmp_path: Path) -> None:
    project, snapshot = planted
    root = tmp_path / "live"
    shutil.copytree(project.snapshots, root)
    live = LivePredictor(version, root, project.work / "features")
    order = {"order_id": [900_000], "customer_id": [5], "product_id": [8], "amount": [12.5]}
    with DeltaLog(root) as log:
        append_rows(log, snapshot.schema, "orders", pa.table({**order, "ordered_at": ["2024-10-20"]}))
    live.refresh()
    (why,) = live.why([5], LATER, top=50)
    fresh = next(row for row in why.rows if row.key == 900_000)
    assert (fresh.table, fresh.time) == ("orders", "2024-10-20")
    assert {one.column: one.value for one in fresh.columns}["amount"] == 12.5
    before = Predictor.load(version, snapshot, project.work / "features").predict([5], LATER).scores
    assert isinstance(before, np.ndarray)
    assert why.score - fresh.change == pytest.approx(float(before[0]), abs=1e-6)


@pytest.mark.parametrize(("kind", "name"), [("links", "item"), ("forecasting", "past values"), ("several", "orders")])
def test_an_overview_is_of_all_that_is_read(kind: str, name: str, shops: Shops, trained: Trained) -> None:
    project, snapshot = shops(kind)
    predictor = Predictor.load(trained(kind), snapshot, project.work / "features")
    found = overview(predictor, Seeds(predictor.task.entity, np.array([1, 4, 6]), np.full(3, AS_OF)))
    assert found["rows"] == 3
    assert name in {one["table"] for one in found["columns"]}
    for part in ("columns", "links"):
        sizes = [one["size"] for one in found[part]]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 0
    json.dumps(found, allow_nan=False)
