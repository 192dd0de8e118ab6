"""Blocks: made in any way they hold the labels that the one statement gives, in order; a killed run goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tests.query.reference import Rows, reference_labels
from tests.query.small import SCHEMA, connect, databases, list_queries, queries

from kincast.clock import parse_instant
from kincast.project import SplitSettings
from kincast.query import block
from kincast.query.anchors import make_anchors
from kincast.query.block import Plan, make_blocks
from kincast.query.compile import compile_task
from kincast.query.encode import encode
from kincast.query.labels import label_sql, make_labels
from kincast.query.statement import rests_on_one_count
from kincast.query.task import TaskKind
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_schema

ANCHORS = tuple(parse_instant(text) for text in ("2024-01-31", "2024-02-03", "2024-02-05", "2024-02-06 12:00"))
COUNT = "PREDICT COUNT(orders.*, 0, 10, days) FOR EACH customers"
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]


def tables_of(rows: Rows) -> Tables:
    def num_rows(name: str) -> int:
        return len(rows[name])

    return cast(Tables, SimpleNamespace(connect=lambda: connect(rows), num_rows=num_rows, schema=SCHEMA))


@settings(max_examples=8, deadline=None, suppress_health_check=SLOW)
@given(query=queries(), rows=databases())
def test_blocks_hold_what_the_statement_gives(query: str, rows: Rows) -> None:
    task = compile_task(query, SCHEMA)
    if task.is_static:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "MAX_GRID", 2 * len(rows["owner"]))
        plan = Plan(task, tables_of(rows), ANCHORS)
        assert len(plan.blocks) == 2
        tables = list(make_blocks(plan))
    found = [
        label for table in tables for label in zip(*(table[n].to_pylist() for n in table.column_names), strict=True)
    ]
    wanted = connect(rows).execute(label_sql(task, ANCHORS)).fetchall()
    assert found == sorted(wanted, key=lambda label: (label[1], label[0]))


@settings(max_examples=8, deadline=None, suppress_health_check=SLOW)
@given(query=list_queries(), rows=databases())
def test_lists_agree_with_the_reference(query: str, rows: Rows) -> None:
    task = compile_task(query, SCHEMA)
    (table,) = make_blocks(Plan(task, tables_of(rows), ANCHORS))
    found = encode(task, table["target"], table["step"] if "step" in table.column_names else None)
    assert found.lists is not None
    expected = sorted(reference_labels(task, rows, ANCHORS), key=lambda label: (label[1], label[0]))
    assert list(zip(table["row"].to_pylist(), table["as_of_us"].to_pylist(), strict=True)) == [e[:2] for e in expected]
    for i, (*_, wanted) in enumerate(expected):
        items: list[Any] = found.lists.items[found.lists.offsets[i] : found.lists.offsets[i + 1]].tolist()
        if task.kind is TaskKind.FORECASTING:
            numbers = [np.nan if step is None else step for step in wanted]
            assert items == pytest.approx(numbers, nan_ok=True)
        elif task.kind is TaskKind.TEMPORAL_LINK:
            assert items == sorted(wanted)
        else:
            assert {found.classes[code] for code in items} == wanted


def test_one_count_is_filled_in_and_others_are_not() -> None:
    def rests(query: str) -> bool:
        return rests_on_one_count(compile_task(f"PREDICT {query} FOR EACH customers", tiny_schema()))

    assert rests("NOT COUNT(orders.*, 0, 9, days) > 3")
    assert rests("SUM(orders.amount, 0, 9, days)")
    assert not rests("AVG(orders.amount, 0, 9, days)")
    assert not rests("COUNT(orders.*, 0, 9, days) > 3 OR COUNT(views.*, 0, 9, days) > 3")


def test_a_killed_run_goes_on(tiny: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "MAX_GRID", 200)
    task = compile_task(COUNT, tiny_schema())
    count = len(make_labels(task, tiny, SplitSettings(), tmp_path))
    (home,) = tmp_path.iterdir()
    files = sorted(home.iterdir())
    assert [file.name for file in files[:2]] == ["block-00000.parquet", "block-00001.parquet"]
    whole = make_labels(task, tiny, SplitSettings())
    assert count == len(whole)
    files[1].unlink()
    kept = {file: file.stat().st_mtime_ns for file in files if file.exists()}
    again = make_labels(task, tiny, SplitSettings(), tmp_path)
    assert files[1].exists()
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert np.array_equal(again.target, whole.target)
    assert np.array_equal(again.rows, whole.rows)


def test_a_block_that_cannot_be_made_leaves_nothing(
    tiny: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyarrow.parquet.write_table", fail)
    with pytest.raises(KeyboardInterrupt):
        make_labels(compile_task(COUNT, tiny_schema()), tiny, SplitSettings(), tmp_path)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == []


def test_other_queries_and_anchors_have_blocks_of_their_own(tiny: Tables) -> None:
    def digest(query: str, split: SplitSettings) -> str:
        task = compile_task(query, tiny_schema())
        return Plan(task, tiny, make_anchors(task, tiny, split).all).digest

    found = {
        digest(COUNT, SplitSettings()),
        digest(COUNT, SplitSettings(step="20 days")),
        digest(COUNT.replace("COUNT(orders.*", "SUM(orders.amount"), SplitSettings()),
    }
    assert len(found) == 3
