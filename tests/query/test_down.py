"""No accepted query fails later: it goes down to labels in every split, or the rows are said to be too few."""

from __future__ import annotations

import pytest
from tests.query.cases import TARGETS, read_cases

from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.labels import make_labels
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()
WINDOWS = ("0, 7, days", "3, 10, days", "0, 1, months", "1, 2, months", "0, 36, hours", "0, 1, weeks")
FUNCTIONS = [
    *(f"{f}(orders.amount, {{w}})" for f in ("SUM", "AVG", "MEDIAN", "STDDEV", "MIN", "MAX", "FIRST", "LAST", "COUNT")),
    *(f"{f}(orders.status, {{w}})" for f in ("MIN", "MAX", "FIRST", "LAST", "COUNT", "COUNT_DISTINCT")),
    *(f"{f}(orders.is_fraud, {{w}})" for f in ("MIN", "MAX", "FIRST", "LAST", "COUNT", "COUNT_DISTINCT")),
    "EXISTS(orders.*, {w})",
    "TIME_TO(orders.*, {w})",
    "COUNT(orders.* WHERE COUNT(tickets.* WHERE tickets.sev IS NOT NULL, {w}) > 0, {w})",
    "QUANTILE(orders.amount, 0.9, {w})",
    "SUM(orders.amount, {w}) / COUNT(orders.*, {w})",
    "SUM(orders.amount, {w}) - SUM(orders.amount, -30, 0, days)",
]
TOO_FEW = ("no window of", "gives no labels at all", "nothing to tell apart", "there are no labels in the")
SPLIT = SplitSettings(step="45 days")


def go_down(query: str, tiny: Tables) -> bool:
    """True when every target has labels in every split."""
    task = compile_task(query, SCHEMA, TARGETS)
    for each in task.targets or (task,):
        try:
            labels = make_labels(each, tiny, SPLIT)
        except DataError as error:
            if not any(words in error.what for words in TOO_FEW):
                raise
            return False
        assert set(labels.split) == {0, 1, 2}
    return True


@pytest.mark.parametrize("name", ["accepted.txt", "examples.txt", "beyond.txt"])
def test_cases(name: str, tiny: Tables) -> None:
    cases = [case for case in read_cases(name) if "static_link" not in case.arrow]
    assert sum(go_down(case.query, tiny) for case in cases) > 0.8 * len(cases)


@pytest.mark.parametrize("number", range(len(WINDOWS)))
def test_every_function_in_every_window(number: int, tiny: Tables) -> None:
    going = 0
    chosen = FUNCTIONS[number % 2 :: 2]
    for place, text in enumerate(chosen):
        target = text.replace("{w}", WINDOWS[number])
        past = text.replace("{w}", "-30, 0, days")
        where = f" WHERE {past} IS NOT NULL" if place % 2 and "TIME_TO" not in past else ""
        going += go_down(f"PREDICT {target} FOR EACH customers{where}", tiny)
    assert going > 0.7 * len(chosen)
