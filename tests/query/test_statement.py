"""Label SQL against the slow reference, and the meaning of windows by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from tests.query.reference import Rows, reference_labels
from tests.query.small import SCHEMA, connect, databases, queries

from kincast.clock import parse_instant
from kincast.query.compile import compile_task
from kincast.query.labels import label_sql

ANCHORS = tuple(parse_instant(text) for text in ("2024-01-31", "2024-02-03", "2024-02-05", "2024-02-06 12:00"))


def sql_labels(query: str, rows: Rows, anchors: tuple[int, ...] = ANCHORS) -> list[tuple[int, int, Any]]:
    found = connect(rows).execute(label_sql(compile_task(query, SCHEMA), anchors)).fetchall()
    return sorted(found, key=lambda label: label[:2])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(query=queries(), rows=databases())
def test_agrees_with_the_reference(query: str, rows: Rows) -> None:
    task = compile_task(query, SCHEMA)
    assert sql_labels(query, rows) == reference_labels(task, rows, ANCHORS)
