"""Named targets, several targets, and keys of several columns."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.query.test_resolve import SCHEMA as GAMES

from kincast.errors import QueryError
from kincast.project import read_project
from kincast.query.compile import compile_task
from kincast.query.parser import parse
from kincast.query.print import print_query
from kincast.query.tree import Mode
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()
TARGETS = {
    "churn": "COUNT(orders.*) = 0",
    "lead": "COUNT(orders.*, 30, 60, days) > COUNT(orders.*, -30, 0, days)",
    "basket": "LIST_DISTINCT(orders.product_id, 0, 30, days) RANK TOP 12",
    "misspelt": "COUNT(ordrs.*) = 0",
    "broken": "COUNT(orders.* = 0",
    "endless": "COUNT(orders.*) = 0 FOR EACH customers",
}


def error(query: str) -> str:
    with pytest.raises(QueryError) as caught:
        compile_task(query, SCHEMA, TARGETS)
    return str(caught.value)


def test_the_task_stands_on_its_own() -> None:
    task = compile_task("PREDICT churn FOR customers WITHIN 30 days", SCHEMA, TARGETS)
    assert task.text == "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id"
    assert compile_task(task.text, SCHEMA).query == task.query


def test_the_name_survives_printing() -> None:
    query = parse("predict Churn for customers within 1 month")
    assert print_query(query) == "PREDICT Churn FOR EACH customers WITHIN 1 months"
    assert parse(print_query(query)) == query


def test_within_replaces_what_lies_ahead_only() -> None:
    task = compile_task("PREDICT lead FOR customers WITHIN 7 days", SCHEMA, TARGETS)
    assert print_query(task.query).startswith("PREDICT COUNT(orders.*, 0, 7, days) > COUNT(orders.*, -30, 0, days) FOR")
    kept = compile_task("PREDICT lead FOR customers", SCHEMA, TARGETS)
    assert "COUNT(orders.*, 30, 60, days)" in kept.text


def test_errors_point_into_the_target() -> None:
    assert error("PREDICT misspelt FOR customers WITHIN 3 days") == (
        "target misspelt:1:7: there is no table ordrs\n"
        "    COUNT(ordrs.*) = 0\n"
        "          ^^^^^^^\n"
        "  hint: did you mean orders?"
    )
    assert error("PREDICT broken FOR customers WITHIN 3 days").startswith("target broken:1:16: ')' is missing")
    assert error("PREDICT endless FOR customers").startswith("target endless:1:21: the target should end here")
    assert error("PREDICT churn FOR customers").startswith("target churn:1:1: COUNT needs a window")


def test_errors_of_the_name_itself() -> None:
    assert error("PREDICT chrun FOR customers").endswith("hint: did you mean the target churn?")
    assert "the targets in kincast.yaml are churn, lead" in error("PREDICT revenue FOR customers")
    both = error("PREDICT basket RANK TOP 3 FOR customers WITHIN 3 days")
    assert both.startswith("query:1:16: the target basket says how it is predicted, and so does the query")


def test_the_project_file_names_targets(tmp_path: Path) -> None:
    (tmp_path / "kincast.yaml").write_text("source: shop.duckdb\ntargets:\n  churn: COUNT(orders.*) = 0\n")
    assert read_project(tmp_path).targets == {"churn": "COUNT(orders.*) = 0"}


def test_several_targets_share_their_instants() -> None:
    task = compile_task(
        "PREDICT COUNT(orders.*, 0, 7, days), TIME_TO(views.*, 0, 60, days) FOR EACH customers "
        "WHERE COUNT(orders.*, -9, 0, days) > 1",
        SCHEMA,
    )
    assert [each.text.split(" FOR")[0] for each in task.targets] == [
        "PREDICT COUNT(orders.*, 0, 7, days)",
        "PREDICT TIME_TO(views.*, 0, 60, days)",
    ]
    assert {each.window for each in task.targets} == {task.window}
    assert {each.fact_tables for each in task.targets} == {("orders", "views")}
    assert {each.history for each in task.targets} == {task.history}
    assert compile_task("PREDICT customers.age FOR EACH customers", SCHEMA).targets == ()


def test_the_columns_of_all_targets_are_hidden() -> None:
    task = compile_task("PREDICT customers.age, customers.segment FOR EACH customers", SCHEMA)
    assert task.hidden == {("customers", "age"), ("customers", "segment")}


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("FOR EACH goals", "FOR EACH goals"),
        ("FOR EACH (goals.minute, goals.game)", "FOR EACH goals"),
        ("FOR goals = (3, 90)", "FOR goals IN ((3, 90))"),
        ("FOR (goals.game, goals.minute) IN ((3, 90), (4, 1))", "FOR goals IN ((3, 90), (4, 1))"),
    ],
)
def test_keys_of_several_columns(written: str, canonical: str) -> None:
    task = compile_task(f"PREDICT COUNT(cards.*, 0, 9, days) {written}", GAMES)
    assert print_query(task.query) == f"PREDICT COUNT(cards.*, 0, 9, days) {canonical}"
    assert print_query(parse(print_query(task.query))) == print_query(task.query)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("FOR goals = 3", r"a key of goals is \(game, minute\)"),
        ("FOR goals IN ((3, 90), (3, 90, 1))", r"a key of goals is \(game, minute\)"),
        ("FOR (goals.minute, goals.game) IN ((3, 90))", "these are not the key columns of goals"),
        ("FOR EACH (goals.game, goals.size)", "these are not the key columns of goals"),
    ],
)
def test_wrong_keys_of_several_columns(written: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        compile_task(f"PREDICT COUNT(cards.*, 0, 9, days) {written}", GAMES)


def test_modes() -> None:
    text = "PREDICT COUNT(o.*, 0, 1) FOR EACH c.id"
    assert [parse(word + text).mode for word in ("", "evaluate ", "EXPLAIN ")] == list(Mode)
