"""The case files: queries with their kind, their error, or their labels on the tiny shop."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from tests.query.cases import TARGETS, Case, read_cases

from kincast.clock import format_instant, parse_instant
from kincast.errors import QueryError
from kincast.query.compile import compile_task
from kincast.query.kinds import KINDS
from kincast.query.labels import label_sql, static_as_of
from kincast.query.parser import parse
from kincast.query.print import print_query
from kincast.query.task import Task, TaskKind
from kincast.schema import Schema
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()


@pytest.mark.parametrize("case", read_cases("accepted.txt"), ids=str)
def test_accepted(case: Case) -> None:
    task = compile_task(case.query, SCHEMA)
    assert task.kind.value == case.arrow
    assert print_query(task.query) == case.expected
    assert print_query(compile_task(case.expected, SCHEMA).query) == case.expected


@pytest.mark.parametrize("case", read_cases("examples.txt"), ids=str)
def test_example_has_its_kind(case: Case) -> None:
    schema = SCHEMA
    if "static_link" in case.arrow:
        schema = Schema(tuple(dataclasses.replace(table, time=None) for table in SCHEMA), SCHEMA.links)
    assert compile_task(case.query, schema).kind.value == case.arrow


def test_examples_cover_every_kind() -> None:
    kinds = {row.kind.value for row in KINDS} - {TaskKind.KNOWLEDGE.value}  # that one is beyond the dialect
    assert {case.arrow for case in read_cases("examples.txt")} == kinds


@pytest.mark.parametrize("case", read_cases("rejected.txt"), ids=str)
def test_rejected(case: Case) -> None:
    with pytest.raises(QueryError) as caught:
        compile_task(case.query, SCHEMA)
    assert str(caught.value) == case.expected


@pytest.mark.parametrize("case", read_cases("beyond.txt"), ids=str)
def test_beyond(case: Case) -> None:
    task = compile_task(case.query, SCHEMA, TARGETS)
    assert ", ".join(each.kind.value for each in task.targets or (task,)) == case.arrow
    assert print_query(task.query) == case.expected
    assert print_query(compile_task(case.expected, SCHEMA).query) == case.expected


@pytest.mark.parametrize("case", read_cases("labels.txt"), ids=str)
def test_labels(case: Case, tiny: Tables) -> None:
    anchors = [parse_instant(text) for text in case.arrow.split(",")] if case.arrow else []
    assert "\n".join(label_lines(compile_task(case.query, SCHEMA), tiny, anchors)) == case.expected


def label_lines(task: Task, tables: Tables, anchors: list[int]) -> list[str]:
    """One line an instant: key=target of every label; all in one line for a static target."""
    connection = tables.connect()
    key = task.entity_table.key[0]
    keys = [row[0] for row in connection.execute(f"SELECT {key} FROM {task.entity} ORDER BY _row").fetchall()]
    found = connection.execute(label_sql(task, anchors, static_as_of(task, tables))).fetchall()
    labels = sorted((0 if task.is_static else as_of, keys[row], target) for row, as_of, target in found)
    lines = []
    for as_of, group in itertools.groupby(labels, key=lambda label: label[0]):
        values = " ".join(
            f"{key}={target:g}" if isinstance(target, float) else f"{key}={target}" for _, key, target in group
        )
        lines.append(values if task.is_static else f"{format_instant(as_of)}: {values}")
    return lines


@pytest.mark.parametrize("name", ["accepted.txt", "examples.txt", "beyond.txt"])
def test_parse_undoes_print(name: str) -> None:
    for case in read_cases(name):
        tree = parse(case.query)
        assert parse(print_query(tree)) == tree
