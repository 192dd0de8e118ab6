"""Label SQL against the slow reference, and the meaning of windows by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.query.reference import Rows, reference_labels
from tests.query.small import SCHEMA, START, connect, databases, in_order, queries

from kincast.clock import DAY_US, parse_instant
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
    found, expected = sql_labels(query, rows), reference_labels(task, rows, ANCHORS)
    assert [label[:2] for label in found] == [label[:2] for label in expected]
    for (*_, target), (*_, wanted) in zip(found, expected, strict=True):
        assert target == (pytest.approx(wanted, rel=1e-9, abs=1e-12) if isinstance(wanted, float) else wanted)


def hand_made() -> Rows:
    """Two owners, one without a size; facts on the edges of the day after the anchor."""
    day = START + timedelta(days=1)
    owners = [{"born": START, "gone": None, "colour": "a", "size": size, "flag": None} for size in (None, 3)]
    times = [day, day + timedelta(microseconds=1), day + timedelta(days=1), day + timedelta(days=1, microseconds=1)]
    facts = [
        {"owner_id": 1, "sort_id": None, "at": at, "amount": amount, "word": None, "ok": None}
        for at, amount in zip(times, [1, 2, None, 8], strict=True)
    ]
    tables: dict[str, list[dict[str, Any]]] = {"owner": owners, "fact": facts, "child": [], "sort": []}
    return {name: in_order(name, rows) for name, rows in tables.items()}


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        # Open at the start, closed at the end.
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner", {0: 0, 1: 2}),
        ("COUNT(fact.amount, 0, 1, days) FOR EACH owner", {0: 0, 1: 1}),
        ("SUM(fact.amount, 0, 2, days) FOR EACH owner", {0: 0, 1: 10}),
        # Without a value there is no label, also inside a condition.
        ("MAX(fact.amount, 0, 1, days) FOR EACH owner", {1: 2}),
        ("NOT MAX(fact.amount, 0, 1, days) > 5 FOR EACH owner", {1: 1}),
        ("MAX(fact.amount, 0, 1, days) > 5 OR COUNT(fact.*, 0, 1, days) = 0 FOR EACH owner", {0: 1, 1: 0}),
        ("MAX(fact.amount, 0, 1, days) IS NULL FOR EACH owner", {0: 1, 1: 0}),
        # The last row counts, null or not.
        ("LAST(fact.amount, 0, 1, days) FOR EACH owner", {}),
        ("LAST(fact.amount, 0, 1, days) IS NULL FOR EACH owner", {0: 1, 1: 1}),
        ("FIRST(fact.amount, 0, 1, days) FOR EACH owner", {1: 2}),
        # A column's NULL compares as false.
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE NOT owner.size = 3", {0: 0}),
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE owner.size != 4", {1: 2}),
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE owner.size IS NULL", {0: 0}),
        # Filters on counts that nothing satisfies too.
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE COUNT(fact.*, -1, 0, days) > -1", {0: 0, 1: 2}),
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE COUNT(fact.*, -1, 0, days) >= 0", {0: 0, 1: 2}),
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE COUNT(fact.*, -1, 0, days) BETWEEN 0 AND 1", {0: 0, 1: 2}),
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE COUNT(fact.*, -1, 0, days) IN (1, 0)", {0: 0, 1: 2}),
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE COUNT(fact.*, -1, 0, days) > 0", {1: 2}),
        ("COUNT(fact.*, 0, 1, days) FOR EACH owner WHERE COUNT(fact.*, -INF, -1, days) > 0", {}),
        # Without a part, or divided by zero, arithmetic has no value.
        ("SUM(fact.amount, 0, 2, days) / COUNT(fact.amount, 0, 2, days) FOR EACH owner", {1: 5}),
        ("COUNT(fact.*, 0, 1, days) - 2 * COUNT(fact.amount, 0, 1, days) + 1 FOR EACH owner", {0: 1, 1: 1}),
        ("-(AVG(fact.amount, 0, 1, days) + 1) FOR EACH owner", {1: -3}),
        ("SUM(fact.amount, 0, 2, days) / COUNT(fact.amount, 0, 2, days) > 4 FOR EACH owner", {1: 1}),
        # The future against the past.
        ("COUNT(fact.*, 0, 1, days) > COUNT(fact.*, -1, 0, days) FOR EACH owner", {0: 0, 1: 1}),
        ("EXISTS(fact.*, 0, 1, days) FOR EACH owner", {0: 0, 1: 1}),
        ("NOT EXISTS(fact.* WHERE fact.amount > 2, 0, 1, days) FOR EACH owner", {0: 1, 1: 1}),
        # Days from the anchor to the first fact; the window's end where there is none.
        ("TIME_TO(fact.*, 0, 3, days) FOR EACH owner", {0: 3, 1: 1 / DAY_US}),
        ("TIME_TO(fact.*, 0, 1, months) FOR EACH owner", {0: 29, 1: 1 / DAY_US}),
        ("MEDIAN(fact.amount, 0, 2, days) FOR EACH owner", {1: 5}),
        ("QUANTILE(fact.amount, 0.25, 0, 2, days) FOR EACH owner", {1: 3.5}),
        ("STDDEV(fact.amount, 0, 1, days) FOR EACH owner", {}),
    ],
)
def test_meaning_by_hand(query: str, targets: dict[int, float]) -> None:
    anchor = parse_instant("2024-01-31")
    assert {row: target for row, _, target in sql_labels(f"PREDICT {query}", hand_made(), (anchor,))} == targets


def test_text_of_a_query_stays_text() -> None:
    rows = hand_made()
    for text in ("'; DROP TABLE owner; --", '" OR 1=1 --', "\\' OR 1=1", "/* x */", "%s {} $1 ?"):
        quoted = text.replace("'", "''")
        found = sql_labels(f"PREDICT owner.colour = '{quoted}' FOR EACH owner", rows)
        assert [target for _, _, target in found] == [0, 0]
