"""Every kind of task: batch and online agree, the future moves nothing, and answers are in the user's own words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pytest
from tests.kinds import KINDS, QUERIES, Shop, Trained, make_shop

from kincast.clock import format_instant, parse_instant
from kincast.graph.build import build_snapshot
from kincast.model.ranked import Ranked
from kincast.model.score import numbers_of
from kincast.predict.batch import predict_all
from kincast.predict.online import Predictor
from kincast.serve.message import Prediction
from kincast.source.open import open_source
from kincast.store.rows import Stamp, open_store, publish
from kincast.train.run import train_task

AS_OF = parse_instant("2024-09-15")
Shops = Callable[[str], Shop]


@pytest.mark.parametrize("kind", KINDS)
def test_batch_and_online_agree(kind: str, shops: Shops, trained: Trained, tmp_path: Path) -> None:
    project, snapshot = shops(kind)
    as_of = AS_OF if kind in QUERIES else None
    found = predict_all(project, trained(kind), snapshot=snapshot, as_of_us=as_of).predictions
    predictor = Predictor.load(trained(kind), snapshot, project.work / "features")
    for place in (0, 4, len(found) - 1):
        single = predictor.predict([found.keys[0][place].as_py()], as_of)
        np.testing.assert_allclose(numbers_of(single.scores)[0], numbers_of(found.scores)[place], atol=1e-6)
    for name, numbers in found.numbers().items():
        assert len(numbers) == len(found), name
    for said in found.outcomes():
        msgspec.convert({"key": 1, **said}, Prediction)
    records = found.as_records()
    publish(tmp_path, "predictions", found.keys, records, Stamp("v", "s", 0, 0))
    assert open_store(tmp_path, "predictions").get(found.keys[0][2].as_py()).keys() == set(records.column_names)


@pytest.mark.parametrize("kind", QUERIES)
def test_the_future_moves_no_bit(kind: str, shops: Shops, trained: Trained, tmp_path: Path) -> None:
    project, snapshot = shops(kind)
    changed = tmp_path / "tiny.duckdb"
    shutil.copy(project.source.removeprefix("duckdb:///"), changed)
    with duckdb.connect(str(changed)) as con:
        later = f"ordered_at > TIMESTAMP '{format_instant(AS_OF)}'"
        con.execute(f"DELETE FROM tickets WHERE order_id IN (SELECT order_id FROM orders WHERE {later})")
        con.execute(f"DELETE FROM orders WHERE {later} AND order_id % 3 = 0")
        con.execute(f"UPDATE orders SET amount = amount * 1000, quantity = 99, channel = 'web' WHERE {later}")
        con.execute(
            "INSERT INTO orders SELECT 9000 + range, 5, 7, TIMESTAMP '2024-12-20', 1.5, 50, 'paid', 'app', true "
            "FROM range(300)"
        )
    other = build_snapshot(open_source(str(changed)), snapshot.schema, tmp_path / "snapshots")
    one, two = (Predictor.load(trained(kind), s, tmp_path / f"features-{s.id}") for s in (snapshot, other))
    rows = np.arange(snapshot.tables[one.task.entity].num_rows)
    instants = np.full(len(rows), AS_OF)
    before, after = (numbers_of(p.predict_rows(rows, instants).scores) for p in (one, two))
    assert (before == after).all()
    assert np.ptp(before) > 0


def said(kind: str, shops: Shops, trained: Trained) -> tuple[Any, list[dict[str, Any]]]:
    """The table and the JSON values of all rows."""
    project, snapshot = shops(kind)
    found = predict_all(project, trained(kind), snapshot=snapshot, as_of_us=AS_OF).predictions
    return found.as_table(), found.outcomes()


def test_a_forecast_names_its_windows(shops: Shops, trained: Trained) -> None:
    table, outcomes = said("forecasting", shops, trained)
    assert table.column_names == ["product_id", "as_of", "step", "from", "until", "value"]
    assert table.num_rows == 12 * 3
    assert [(s["from"], s["until"]) for s in outcomes[0]["steps"]] == [
        ("2024-09-15", "2024-09-22"),
        ("2024-09-22", "2024-09-29"),
        ("2024-09-29", "2024-10-06"),
    ]
    assert [s["value"] for s in outcomes[3]["steps"]] == table["value"].to_pylist()[9:12]


def test_labels_are_those_more_likely_than_not(shops: Shops, trained: Trained) -> None:
    table, outcomes = said("labels", shops, trained)
    assert table.column_names == ["customer_id", "as_of", "labels", "score_app", "score_shop", "score_web"]
    for row, outcome in zip(table.to_pylist(), outcomes, strict=True):
        likely = [name for name in ("app", "shop", "web") if row[f"score_{name}"] >= 0.5]
        assert row["labels"] == outcome["labels"] == likely
        assert outcome["probabilities"]["web"] == row["score_web"]


def test_several_targets_are_named_by_their_text(shops: Shops, trained: Trained) -> None:
    table, outcomes = said("several", shops, trained)
    assert "SUM(orders.amount, 0, 30, days): value" in table.column_names
    assert set(outcomes[0]["targets"]) == {
        "COUNT(orders.*, 0, 30, days) > 0",
        "SUM(orders.amount, 0, 30, days)",
        "FIRST(orders.channel, 0, 30, days)",
    }
    assert sum(outcomes[0]["targets"]["FIRST(orders.channel, 0, 30, days)"]["probabilities"].values()) == pytest.approx(
        1
    )


@pytest.mark.parametrize(("kind", "key", "top"), [("ranking", "label", 2), ("links", "product_id", 3)])
def test_ranked_rows_come_best_first(kind: str, key: str, top: int, shops: Shops, trained: Trained) -> None:
    table, outcomes = said(kind, shops, trained)
    assert table.column_names == ["customer_id", "as_of", key, "rank", "score"]
    rows = table.slice(0, top).to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, top + 1))
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    word = "label" if kind == "ranking" else "key"
    assert [item[word] for item in outcomes[0]["items"]] == [row[key] for row in rows]


def test_an_item_that_is_not_there_yet_is_no_candidate(shops: Shops, trained: Trained) -> None:
    project, snapshot = shops("audience")
    signup_us = snapshot.tables["customers"].time_us
    assert signup_us is not None
    early = int(np.sort(signup_us)[17])
    predictor = Predictor.load(trained("audience"), snapshot, project.work / "features")
    assert predictor.loader.items is not None
    predictor.loader.items.top = len(signup_us)  # all that may be chosen at all
    ranked = predictor.predict_rows(np.arange(12), np.full(12, early)).scores
    assert isinstance(ranked, Ranked)
    for row in ranked.items:
        assert sorted(row[row >= 0].tolist()) == np.flatnonzero(signup_us <= early).tolist()


def test_a_filter_on_the_items_is_a_filter_of_the_candidates(tmp_path: Path) -> None:
    project, snapshot = make_shop(tmp_path, "shoes", {"max_epochs": 1})
    found = predict_all(project, train_task(project, "shoes", snapshot=snapshot), snapshot=snapshot).predictions
    category = dict(zip(*snapshot.columns("products", ["product_id", "category"]).to_pydict().values(), strict=True))
    assert {category[key] for key in found.as_table()["product_id"].to_pylist()} == {"shoes"}


def test_items_unseen_in_training_are_ranked_by_their_columns(shops: Shops, trained: Trained, tmp_path: Path) -> None:
    project, snapshot = shops("links")
    grown = tmp_path / "tiny.duckdb"
    shutil.copy(project.source.removeprefix("duckdb:///"), grown)
    with duckdb.connect(str(grown)) as con:
        con.execute("INSERT INTO products VALUES (0, 'shoes', 20, 'Acme'), (900, 'toys', 30, 'Bolt')")
    more = build_snapshot(open_source(str(grown)), snapshot.schema, tmp_path / "snapshots")
    predictors = [Predictor.load(trained("links"), s, tmp_path / f"features-{s.id}") for s in (snapshot, more)]
    scores = []
    for predictor in predictors:
        assert predictor.loader.items is not None
        predictor.loader.items.top = 14
        table = predictor.predict([3, 4], AS_OF).as_table()
        rows = zip(table["customer_id"].to_pylist(), table["product_id"].to_pylist(), strict=True)
        scores.append(dict(zip(rows, table["score"].to_pylist(), strict=True)))
    assert {key for _, key in scores[1].keys() - scores[0].keys()} == {0, 900}
    # Rows are numbered anew, and each item keeps the vector that was learnt for it.
    assert all(scores[1][pair] == pytest.approx(score, abs=1e-6) for pair, score in scores[0].items())
    assert scores[1][3, 0] != scores[1][3, 900]
