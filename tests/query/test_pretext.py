"""What is asked without labels: every table of facts, as far as it leads to the entity, and nothing that is hidden."""

from __future__ import annotations

import pytest

from kincast.clock import Span, parse_span
from kincast.errors import ProjectError
from kincast.query.compile import compile_task
from kincast.query.parser import MAX_TARGETS
from kincast.query.pretext import pretext_query
from kincast.query.print import print_node
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.testing.tiny import tiny_schema

WINDOWS = (parse_span("60 days"), parse_span("15 days"))


def _targets(schema: Schema, text: str) -> list[str]:
    return [print_node(part.query.target) for part in compile_task(text, schema).targets]


def _schema(num_columns: int = 2, *, timed: bool = True, key: tuple[str, ...] = ("a",)) -> Schema:
    """People, their "visits", and notes on those."""
    numbers = tuple(Column(f"n{i}", SemanticType.NUMERICAL, "DOUBLE") for i in range(num_columns))
    names = (*key, "visit", "by")
    ids = {name: Column(name, SemanticType.ID, "BIGINT") for name in (*names, "note")}
    at, kind = Column("at", SemanticType.TIMESTAMP, "TIMESTAMP"), Column("kind", SemanticType.CATEGORICAL, "VARCHAR")
    time = RowTime("at") if timed else None
    owner = tuple(f"of_{name}" for name in key)
    foreign = tuple(Column(name, SemanticType.ID, "BIGINT") for name in owner)
    tables = (
        Table("people", tuple(ids[name] for name in key), key=key),
        Table("my visits", (ids["visit"], *foreign, at, kind, *numbers), key=("visit",), time=time),
        Table("notes", (ids["note"], ids["by"], at), key=("note",), time=time),
    )
    return Schema(tables, (Link("my visits", owner, "people", key), Link("notes", ("by",), "my visits", ("visit",))))


def test_counts_means_and_first_values_of_facts_one_and_two_links_away() -> None:
    text = pretext_query(_schema(1), "people", WINDOWS)
    near, far = '"my visits".of_a', '"my visits".of_a, notes."by"'
    assert _targets(_schema(1), text) == [
        f'COUNT("my visits".*, 0, 15, days) VIA {near} > 0',
        f'COUNT("my visits".*, 0, 60, days) VIA {near} > 0',
        f'COUNT("my visits".*, 0, 60, days) VIA {near}',
        f'FIRST("my visits".kind, 0, 60, days) VIA {near}',
        f'AVG("my visits".n0, 0, 60, days) VIA {near}',
        f"COUNT(notes.*, 0, 15, days) VIA {far} > 0",
        f"COUNT(notes.*, 0, 60, days) VIA {far} > 0",
        f"COUNT(notes.*, 0, 60, days) VIA {far}",
    ]
    assert "-240, 0, days" in text  # those who have been heard of


def test_hidden_columns_and_far_facts_are_left_out_and_the_filter_is_kept() -> None:
    hidden = {("my visits", "kind")}
    where = 'COUNT("my visits".*, -9, 0, days) > 1'
    text = pretext_query(_schema(1), "people", WINDOWS, hops=1, hidden=hidden, where=where)
    assert not [target for target in _targets(_schema(1), text) if "kind" in target or "notes" in target]
    assert text.endswith(f"WHERE {where}")
    text = pretext_query(_schema(1), "people", WINDOWS, facts=["notes"])
    assert {target[:11] for target in _targets(_schema(1), text)} == {"COUNT(notes"}


def test_no_more_targets_than_a_query_may_have() -> None:
    wide = _schema(MAX_TARGETS + 5)
    assert len(_targets(wide, pretext_query(wide, "people", WINDOWS))) == MAX_TARGETS


def test_keys_of_several_columns_and_a_single_window() -> None:
    schema = _schema(0, key=("a", "b"))
    task = compile_task(pretext_query(schema, "people", [Span(1, "months")]), schema)
    assert task.entity == "people"
    assert task.window == (Span(0, "months"), Span(1, "months"))


@pytest.mark.parametrize(("schema", "entity"), [(_schema(), "notes"), (_schema(timed=False), "people")])
def test_an_entity_without_facts_is_refused(schema: Schema, entity: str) -> None:
    with pytest.raises(ProjectError, match=f"nothing that has a time refers to {entity}"):
        pretext_query(schema, entity, WINDOWS)


def test_the_tiny_shop_asks_about_orders() -> None:
    schema = tiny_schema()
    assert any("orders" in target for target in _targets(schema, pretext_query(schema, "customers", WINDOWS)))
