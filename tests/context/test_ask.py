"""A question is answered from the past alone, as well as that tells, and says how good such answers are."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from tests.planted import MakePlanted, Planted

import kincast
from kincast.clock import DAY_US, parse_instant
from kincast.context import infer as inference
from kincast.context.ask import Answer
from kincast.context.evaluate import IN_CONTEXT, evaluate
from kincast.errors import DataError, KeyNotFoundError, ProjectError
from kincast.graph.build import build_snapshot
from kincast.project import Project
from kincast.query.compile import compile_task
from kincast.query.labels import labels_at
from kincast.schema import Schema
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.testing.planted import QUERY, planted_database
from kincast.testing.tiny import tiny_database, tiny_schema
from kincast.train.metric import auroc

AS_OF = "2024-10-27"
FEW = {"max_rows": 600, "as_of": AS_OF}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("tiny")
    project = Project(folder=folder, source=str(tiny_database(folder)))
    build_snapshot(open_source(project.source), tiny_schema(), project.snapshots)
    return project


def scores_of(answer: Answer) -> np.ndarray:
    assert isinstance(answer.predictions.scores, np.ndarray)
    return answer.predictions.scores


def measured(planted: Planted, answer: Answer) -> float:
    """AUROC of an answer, by what happened then."""
    snapshot = planted[1]
    task = compile_task(QUERY, snapshot.schema)
    with snapshot.open_tables() as tables:
        rows, _, targets = labels_at(task, tables, [parse_instant(AS_OF)])
    truth = dict(zip(snapshot.keys_of("customers", rows)["customer_id"].to_pylist(), targets.to_pylist(), strict=True))
    keys = answer.predictions.keys["customer_id"].to_pylist()
    target = np.array([truth[key] == "true" for key in keys], np.float64)
    return auroc(target, scores_of(answer))(np.ones(len(target)))


def test_it_finds_what_can_be_found(planted_with: MakePlanted) -> None:
    made = planted_with(num_customers=200)
    answer = kincast.ask(made[0], QUERY, **FEW)
    assert measured(made, answer) > 0.72  # the best that can be is 0.81
    assert answer.found.method == "LightGBM"
    assert answer.found.num_rows == 600
    assert answer.found.held_out["LightGBM"].value > 0.72
    assert answer.found.held_out["global mean"].value == 0.5
    said = answer.as_dict()
    assert (said["trained"], said["context_rows"], len(said["predictions"])) == (False, 600, 200)


def test_it_finds_nothing_where_there_is_nothing(planted_with: MakePlanted) -> None:
    made = planted_with(num_customers=200, shuffled=True)
    answer = kincast.ask(made[0], QUERY, **FEW)
    assert measured(made, answer) == pytest.approx(0.5, abs=0.12)
    assert answer.found.held_out["LightGBM"].value == pytest.approx(0.5, abs=0.2)


def test_a_note_that_is_written_when_the_window_ends_is_not_seen_before(planted_with: MakePlanted) -> None:
    made = planted_with(num_customers=200, future_giveaway=True)
    answer = kincast.ask(made[0], QUERY, **FEW)
    assert measured(made, answer) < 0.9  # 1 for whoever sees it early
    assert answer.found.held_out["LightGBM"].value < 0.9


def test_an_end_that_nobody_knows_yet_is_not_seen(planted_with: MakePlanted) -> None:
    made = planted_with(num_customers=200, late_end=True)
    assert measured(made, kincast.ask(made[0], QUERY, **FEW)) < 0.9


FUTURES = {
    "gone": "DELETE FROM orders WHERE ordered_at > TIMESTAMP '{0}'",
    "other": "UPDATE orders SET customer_id = (customer_id * 7 + 3) % 100, amount = amount * 1000, product_id = 1 "
    "WHERE ordered_at > TIMESTAMP '{0}'",
    "more": "INSERT INTO orders SELECT order_id + 1000000, 5, product_id, ordered_at, 1e6 FROM orders "
    "WHERE ordered_at > TIMESTAMP '{0}'",
}


@pytest.mark.parametrize("future", FUTURES)
def test_no_bit_moves_when_later_facts_change(tmp_path: Path, future: str) -> None:
    path = planted_database(tmp_path, num_customers=100)
    schema = infer_schema(open_source(str(path))).schema
    (tmp_path / "changed").mkdir()
    changed = Path(shutil.copy(path, tmp_path / "changed"))
    with duckdb.connect(str(changed)) as connection:
        connection.execute(FUTURES[future].format(AS_OF))
    answers = [_asked(database, schema) for database in (path, changed)]
    np.testing.assert_array_equal(scores_of(answers[0]), scores_of(answers[1]))
    assert answers[0].found == answers[1].found
    assert answers[0].snapshot != answers[1].snapshot


def _asked(database: Path, schema: Schema) -> Answer:
    project = Project(folder=database.parent, source=str(database))
    build_snapshot(open_source(str(database)), schema, project.snapshots)
    return kincast.ask(project, QUERY, max_rows=300, as_of=AS_OF)


def test_its_answers_are_the_same_again_and_for_any_number_of_threads(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kincast.ask(planted[0], QUERY, **FEW)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    again = kincast.ask(planted[0], QUERY, **FEW)
    np.testing.assert_array_equal(scores_of(first), scores_of(again))
    assert first.found == again.found
    assert (scores_of(kincast.ask(planted[0], QUERY, seed=1, **FEW)) != scores_of(first)).any()


def test_some_keys_are_answered_as_all_are(planted: Planted) -> None:
    whole = kincast.ask(planted[0], QUERY, **FEW).as_table().to_pylist()
    some = QUERY.replace("FOR EACH customers.customer_id", "FOR customers.customer_id IN (7, 3)")
    assert kincast.ask(planted[0], some, **FEW).as_table().to_pylist() == [
        next(row for row in whole if row["customer_id"] == key) for key in (7, 3)
    ]
    assert kincast.ask(planted[0], QUERY, limit=3, **FEW).as_table().to_pylist() == whole[:3]


def test_nothing_is_kept_but_features_and_only_some_of_these(planted_with: MakePlanted) -> None:
    project, _ = planted_with(num_customers=60)
    for month in range(5, 11):
        kincast.ask(project, QUERY, max_rows=200, as_of=f"2024-{month:02}-27")
    assert {path.name for path in project.work.iterdir()} == {"snapshots", "features"}
    assert len(list((project.work / "features" / "questions").iterdir())) == 4


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("FIRST(orders.channel, 0, 30, days) FOR EACH customers.customer_id", {"class", "score_web"}),
        ("SUM(orders.amount, 0, 30, days) FOR EACH customers.customer_id", {"value"}),
        ("orders.is_fraud FOR orders.order_id IN (290, 291)", {"score"}),
        ("orders.status FOR EACH orders.order_id", {"class", "score_returned"}),
        ("products.price FOR products.product_id = 3", {"value"}),
        ("COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id", {"score"}),
    ],
)
def test_kinds_of_one_value_are_answered(shop: Project, query: str, columns: set[str]) -> None:
    answer = kincast.ask(shop, f"PREDICT {query}")
    table = answer.as_table()
    assert columns <= set(table.column_names)
    assert table.num_rows
    numbers = scores_of(answer)
    assert np.isfinite(numbers).all()
    if numbers.ndim == 2:
        np.testing.assert_allclose(numbers.sum(axis=1), 1)


def test_of_a_column_rows_without_a_value_are_answered(shop: Project) -> None:
    keys = kincast.ask(shop, "PREDICT orders.status FOR EACH orders.order_id").predictions.keys["order_id"].to_pylist()
    with duckdb.connect(shop.source, read_only=True) as connection:
        missing = connection.execute("SELECT order_id FROM orders WHERE status IS NULL ORDER BY 1").fetchall()
    assert sorted(keys) == [key for (key,) in missing]
    with pytest.raises(DataError, match="every row has its value"):
        kincast.ask(shop, "PREDICT products.price FOR EACH products.product_id")


def test_the_label_of_a_row_that_is_asked_for_says_nothing(tmp_path: Path) -> None:
    answers = []
    for fraud in (False, True):
        folder = tmp_path / str(fraud)
        folder.mkdir()
        path = tiny_database(folder)
        with duckdb.connect(str(path)) as connection:
            connection.execute(f"UPDATE orders SET is_fraud = {fraud} WHERE order_id IN (200, 201)")
        project = Project(folder=folder, source=str(path))
        build_snapshot(open_source(str(path)), tiny_schema(), project.snapshots)
        answers.append(kincast.ask(project, "PREDICT orders.is_fraud FOR orders.order_id IN (200, 201)"))
    np.testing.assert_array_equal(scores_of(answers[0]), scores_of(answers[1]))
    assert answers[0].found == answers[1].found


def test_few_labels_are_answered_by_a_rule_that_says_so(shop: Project) -> None:
    answer = kincast.ask(
        shop, "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id", as_of="2024-03-15"
    )
    assert (answer.found.method, answer.found.why[-25:]) == ("entity mean", "are too few to learn from")
    only = kincast.ask(shop, "PREDICT COUNT(orders.*, 0, 150, days) > 0 FOR EACH customers.customer_id")
    assert not only.found.held_out


def test_a_rule_that_is_better_on_what_is_held_out_answers(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "PREDICT SUM(orders.amount, 0, 30, days) FOR EACH customers.customer_id"
    monkeypatch.setattr(inference, "LEAST_JUDGED", 10)
    monkeypatch.setattr(inference, "learn", lambda lesson, asked, learner: np.full(len(asked), 1e9))
    found = kincast.ask(shop, query).found
    assert found.method == min(found.held_out, key=lambda name: found.held_out[name].value)
    assert found.why.startswith("better beyond noise")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("LIST_DISTINCT(orders.product_id, 0, 30, days) RANK TOP 3 FOR EACH customers.customer_id", "link prediction"),
        ("SUM(orders.quantity, 0, 7, days) FORECAST 3 TIMEFRAMES FOR EACH products.product_id", "forecasting"),
        ("COUNT(orders.*, 0, 9, days), COUNT(orders.*, 0, 5, days) FOR EACH customers.customer_id", "several targets"),
    ],
)
def test_other_kinds_are_refused(shop: Project, query: str, said: str) -> None:
    with pytest.raises(ProjectError, match=said) as error:
        kincast.ask(shop, f"PREDICT {query}")
    assert "train" in (error.value.hint or "")


def test_what_cannot_be_asked(shop: Project) -> None:
    with pytest.raises(ProjectError, match="EVALUATE is not answered here"):
        kincast.ask(shop, "EVALUATE PREDICT COUNT(orders.*, 0, 30, days) FOR EACH customers.customer_id")
    with pytest.raises(KeyNotFoundError):
        kincast.ask(shop, "PREDICT COUNT(orders.*, 0, 30, days) FOR customers.customer_id = 999")
    with pytest.raises(ProjectError, match="at least one row"):
        kincast.ask(shop, "PREDICT COUNT(orders.*, 0, 30, days) FOR EACH customers.customer_id", max_rows=0)


def test_rows_that_do_not_pass_the_filter_are_counted(shop: Project) -> None:
    query = "PREDICT COUNT(orders.*, 0, 30, days) FOR customers.customer_id IN (1, 2, 13) WHERE customers.age > 0"
    answer = kincast.ask(shop, query)
    assert (len(answer.predictions), answer.left_out) == (2, 1)  # nobody knows the age of customer 13


def test_a_test_period_is_answered_as_well(planted: Planted) -> None:
    judged = evaluate(planted[0], "buys", planted[1], max_rows=600)
    assert judged.num_rows == 400
    assert judged.metrics[IN_CONTEXT]["auroc"].value > 0.72
    assert judged.metrics["global mean"]["auroc"].value == 0.5
    assert judged.found.last_us + 30 * DAY_US <= parse_instant("2024-10-27")
