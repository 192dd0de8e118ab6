"""Explain: words, SQL, splits and warnings."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from kincast.clock import Span
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.explain import explain, window_words
from kincast.query.labels import make_labels
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()


def test_says_what_the_labels_are(tiny: Tables) -> None:
    task = compile_task(
        "PREDICT COUNT(tickets.*, 0, 30, days) > 0 FOR EACH customers WHERE COUNT(orders.*, -60, 0) > 0 "
        "ASSUMING COUNT(orders.*, 0, 30) > 0",
        SCHEMA,
    )
    found = explain(task, tiny, SplitSettings())
    labels = make_labels(task, tiny, SplitSettings())
    assert [part.num_rows for part in found.splits] == [len(labels.of(i)) for i in range(3)]
    assert [part.rate for part in found.splits] == [labels.of(i).target.mean() for i in range(3)]
    assert found.window == "the 30 days after the anchor"
    assert "Rows of tickets are reached through orders.customer_id, tickets.order_id." in found.sentences
    assert found.sql.startswith("-- the newest 3 of 9 anchors\nWITH ")
    assert any("few labels" in warning for warning in found.warnings)
    assert any("as they are today, whatever changed since: products" in warning for warning in found.warnings)
    assert found.cost.max_seeds == 12 * len(labels.of(0))
    assert "How long that takes is measured by: kincast plan" in found.as_text()
    text = found.as_text()
    assert found.query in text
    assert "% positive" in text
    assert json.loads(json.dumps(found.as_dict()))["splits"][2]["name"] == "test"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("customers.segment FOR EACH orders.order_id", "new 43.4%, loyal 33.3%, big 23.3%"),
        ("SUM(orders.amount, 0, 30, days) FOR EACH customers", "mean "),
    ],
)
def test_values_in_words(tiny: Tables, query: str, words: str) -> None:
    found = explain(compile_task(f"PREDICT {query}", SCHEMA), tiny, SplitSettings())
    assert found.splits[0].words.startswith(words)


def test_warns_of_what_would_mislead(tiny: Tables) -> None:
    def warnings(query: str) -> str:
        return "\n".join(explain(compile_task(f"PREDICT {query}", SCHEMA), tiny, SplitSettings()).warnings)

    about_entity = warnings("COUNT(orders.* WHERE customers.age > 30, 0, 30, days) > 0 FOR EACH customers")
    assert "the filter customers.age > 30 is about customers only" in about_entity
    rare = warnings("COUNT(orders.*, 0, 1, days) > 1 FOR EACH customers")
    assert "consider class weights" in rare or "only one class" in rare
    assert "uses the target customers.age" in warnings("customers.age FOR EACH customers WHERE customers.age > 20")
    assert "are 0: consider predicting a condition" in warnings("COUNT(tickets.*, 0, 1, days) FOR EACH customers")


def test_warns_of_facts_at_the_very_instant_unless_they_are_hidden(tiny: Tables) -> None:
    task = compile_task("PREDICT orders.amount > 20 FOR EACH orders.order_id", SCHEMA)
    for strict in (False, True):
        warnings = explain(task, tiny, SplitSettings(), strict=strict).warnings
        assert any("at the very instant" in warning for warning in warnings) is not strict


def test_windows_in_words() -> None:
    assert window_words((Span(0), Span(1, "months"))) == "the 1 month after the anchor"
    assert window_words((Span(30), Span(60))) == "from 30 days to 60 days after the anchor"


def test_several_targets_are_explained_one_by_one(tiny: Tables) -> None:
    task = compile_task(
        "PREDICT COUNT(orders.*, 0, 30, days) = 0, TIME_TO(views.*, 0, 60, days) FOR EACH customers", SCHEMA
    )
    found = explain(task, tiny, SplitSettings())
    assert [each.kind for each in (found, *found.others)] == ["binary_classification", "regression"]
    assert found.splits[0].num_anchors == found.others[0].splits[0].num_anchors
    assert "TIME_TO(views.*, 0, 60, days)" in found.as_text()
    assert json.loads(json.dumps(found.as_dict()))["others"][0]["kind"] == "regression"


def test_labels_of_the_users_own_are_described_instead(tiny: Tables) -> None:
    task = compile_task("PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers", SCHEMA)
    some = make_labels(task, tiny, SplitSettings()).of(1)
    every = [dataclasses.replace(some, split=np.full(len(some), number, np.int8)) for number in range(3)]
    columns = {name: np.concatenate([getattr(part, name) for part in every]) for name in ("rows", "as_of_us", "target")}
    own = dataclasses.replace(some, split=np.repeat(np.arange(3), len(some)).astype(np.int8), **columns)
    found = explain(task, tiny, SplitSettings(), labels=own)
    assert [part.num_rows for part in found.splits] == [len(some)] * 3
    assert found.sql == "-- the labels are a table of your own"
    assert found.cost.label_seconds is None
