"""Only labels whose windows have ended are known; the newest are learnt from, and the very newest held out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kincast.clock import DAY_US, add, parse_instant
from kincast.context.known import choose_context, hold_out, known_labels, with_asked
from kincast.errors import DataError
from kincast.graph.build import build_snapshot
from kincast.query.anchors import time_range
from kincast.query.compile import compile_task
from kincast.query.labels import Labels, labels_at
from kincast.query.task import Task, TaskKind
from kincast.source.open import open_source
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_database, tiny_schema

ORDERS = "PREDICT SUM(orders.amount, 0, 30, days) FOR EACH customers.customer_id"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    folder = tmp_path_factory.mktemp("tiny")
    source = open_source(str(tiny_database(folder)))
    with build_snapshot(source, tiny_schema(), folder / "snapshots").open_tables() as found:
        yield found


def task_of(text: str = ORDERS) -> Task:
    return compile_task(text, tiny_schema())


@pytest.mark.parametrize("window", ["0, 30, days", "0, 1, months", "7, 21, days"])
def test_windows_have_ended_and_labels_are_those_of_the_query(tables: Tables, window: str) -> None:
    task, as_of = task_of(ORDERS.replace("0, 30, days", window)), parse_instant("2024-08-31 12:00")
    labels = known_labels(task, tables, as_of, 1_000)
    anchors = np.unique(labels.as_of_us).tolist()
    assert task.window is not None
    ends = [add(anchor, task.window[1]) for anchor in anchors]
    last = tables.connect().execute(f"SELECT epoch_us(max(_time)) FROM orders WHERE _time <= make_timestamp({as_of})")
    assert max(ends) == last.fetchall()[0][0]
    rows, instants, targets = labels_at(task, tables, anchors)
    np.testing.assert_array_equal(labels.rows, rows)
    np.testing.assert_array_equal(labels.as_of_us, instants)
    np.testing.assert_array_equal(labels.target, targets.to_numpy())


def test_no_more_windows_are_made_than_the_context_needs(tables: Tables) -> None:
    few = known_labels(task_of(), tables, parse_instant("2024-12-30"), 80)
    assert len(np.unique(few.as_of_us)) == 8
    all_of_them = known_labels(task_of(), tables, parse_instant("2024-12-30"), 10_000)
    assert len(np.unique(all_of_them.as_of_us)) == 11


def test_behind_the_last_fact_nothing_is_taken_for_a_zero(tables: Tables) -> None:
    last = time_range(tables, ("orders",))[1]
    late = known_labels(task_of(), tables, last + 400 * DAY_US, 1_000)
    assert late.as_of_us.max() == last - 30 * DAY_US


def test_no_window_has_ended_yet(tables: Tables) -> None:
    with pytest.raises(DataError, match="no window of 30 days has ended by 2024-02-15"):
        known_labels(task_of(), tables, parse_instant("2024-02-15"), 100)


def test_the_label_of_a_column_is_of_rows_that_were_there(tables: Tables) -> None:
    task, as_of = task_of("PREDICT orders.is_fraud FOR EACH orders.order_id"), parse_instant("2024-06-01")
    labels = known_labels(task, tables, as_of, 10)
    assert 100 < len(labels) < 150
    assert labels.as_of_us.max() <= as_of


def labels_of(instants: list[int]) -> Labels:
    num = len(instants)
    days = np.array(instants) * DAY_US
    return Labels("customers", TaskKind.REGRESSION, np.arange(num), days, np.zeros(num), np.zeros(num, np.int8))


def test_each_window_gives_its_share_and_the_newest_come_first() -> None:
    labels = labels_of([day for day in range(0, 600, 30) for _ in range(100)])
    chosen = choose_context(labels, 400, 0)
    days, counts = np.unique(labels.as_of_us[chosen] // DAY_US, return_counts=True)
    assert days.tolist() == list(range(360, 600, 30))
    assert counts.tolist() == [50] * 8
    assert (choose_context(labels, 400, 1) != chosen).any()
    np.testing.assert_array_equal(choose_context(labels, 400, 0), chosen)


@pytest.mark.parametrize("max_rows", [1, 7, 299, 300, 5_000])
def test_as_many_are_chosen_as_there_are(max_rows: int) -> None:
    labels = labels_of([0] * 250 + [30] * 40 + [60] * 10)
    assert choose_context(labels, max_rows, 0).sum() == min(max_rows, 300)


def test_what_is_asked_is_never_learnt_from() -> None:
    both = with_asked(labels_of([0, 30]), np.array([0]), np.array([60 * DAY_US]))
    assert choose_context(both, 10, 0).tolist() == [True, True, False]
    assert np.isnan(both.of(2).target).all()


def test_the_newest_are_held_out_and_the_rest_was_known_by_then() -> None:
    task = task_of()
    as_of = np.repeat(np.arange(0, 300, 10), 10) * DAY_US  # windows overlap: each starts 10 days after the one before
    older, held = hold_out(task, as_of, 0)
    assert as_of[held].min() == 240 * DAY_US
    assert held.sum() == 60
    assert as_of[older].max() == 210 * DAY_US  # its window ends when the first one held out begins


def test_no_more_is_held_out_than_tells() -> None:
    as_of = np.repeat(np.arange(0, 1_200, 30), 200) * DAY_US
    older, held = hold_out(task_of(), as_of, 0)
    assert (held.sum(), as_of[held].min()) == (600, 1_110 * DAY_US)
    assert older.sum() == 7_400


def test_of_one_instant_nothing_can_be_held_out_unless_it_is_of_a_column() -> None:
    as_of = np.zeros(50, np.int64)
    assert not hold_out(task_of(), as_of, 0)[1].any()
    older, held = hold_out(task_of("PREDICT products.price FOR EACH products.product_id"), as_of, 0)
    assert held.any()
    np.testing.assert_array_equal(older, ~held)
