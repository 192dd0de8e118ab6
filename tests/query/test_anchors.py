"""Anchors: end-anchored or from start dates; windows of different splits never overlap."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kincast.clock import add, format_instant, parse_instant
from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.anchors import make_anchors, time_range
from kincast.query.compile import compile_task
from kincast.query.task import Task
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()


def task(window: str, tail: str = "") -> Task:
    return compile_task(f"PREDICT COUNT(orders.*, {window}) FOR EACH customers{tail}", SCHEMA)


def texts(instants: tuple[int, ...]) -> list[str]:
    return [format_instant(instant) for instant in instants]


def test_newest_complete_window_is_the_last_test_anchor(tiny: Tables) -> None:
    anchors = make_anchors(task("0, 60, days"), tiny, SplitSettings())
    first, last = time_range(tiny, ("orders",))
    assert format_instant(last) == "2024-12-30 18:00:00"
    assert texts(anchors.test) == ["2024-10-31 18:00:00"]
    assert texts(anchors.validation) == ["2024-09-01 18:00:00"]
    # 2024-01-05 would have less than one step of facts before it.
    assert texts(anchors.train) == ["2024-03-05 18:00:00", "2024-05-04 18:00:00", "2024-07-03 18:00:00"]
    assert first == parse_instant("2024-01-02 05:26")


def test_months_step_by_the_calendar(tiny: Tables) -> None:
    anchors = make_anchors(task("0, 1, month"), tiny, SplitSettings())
    assert texts(anchors.test) == ["2024-11-30 18:00:00"]
    assert texts(anchors.train)[-2:] == ["2024-08-30 18:00:00", "2024-09-30 18:00:00"]


def test_number_and_spacing_of_windows(tiny: Tables) -> None:
    split = SplitSettings(step="7 days", eval_step="10 days", validation_windows=2, test_windows=3)
    anchors = make_anchors(task("0, 30, days"), tiny, split)
    assert texts(anchors.test) == ["2024-11-10 18:00:00", "2024-11-20 18:00:00", "2024-11-30 18:00:00"]
    assert texts(anchors.validation) == ["2024-10-01 18:00:00", "2024-10-11 18:00:00"]
    assert texts(anchors.train)[-2:] == ["2024-08-25 18:00:00", "2024-09-01 18:00:00"]


def test_filter_history_is_reserved(tiny: Tables) -> None:
    with_history = make_anchors(task("0, 30, days", " WHERE COUNT(views.*, -120, 0, days) > 0"), tiny, SplitSettings())
    assert texts(with_history.train)[0] == "2024-05-04 18:00:00"
    assert "look back 120 days" in with_history.notes[0]


def test_start_dates_step_forward_and_training_back(tiny: Tables) -> None:
    split = SplitSettings(
        validation_start="2024-07-01", test_start="2024-08-30", validation_windows=5, test_windows=9, step="30 days"
    )
    anchors = make_anchors(task("0, 30, days"), tiny, split)
    assert texts(anchors.validation) == ["2024-07-01", "2024-07-31"]
    assert texts(anchors.test) == ["2024-08-30", "2024-09-29", "2024-10-29", "2024-11-28"]
    # As far back as any table reaches: customers signed up before the first order.
    assert texts(anchors.train)[0] == "2023-12-04"
    assert texts(anchors.train)[-1] == "2024-06-01"
    assert anchors.notes == (
        "3 of 5 validation windows are left out: they would end after the test split starts",
        "5 of 9 test windows are left out: they would end after the data",
    )


def test_train_start_bounds_training(tiny: Tables) -> None:
    anchors = make_anchors(task("0, 30, days"), tiny, SplitSettings(train_start="2024-08-01"))
    assert (
        texts(anchors.train)
        == ["2024-08-02 18:00:00", "2024-09-01 18:00:00", "2024-10-01 18:00:00"][: len(anchors.train)]
    )


@pytest.mark.parametrize(
    ("window", "name"), [("0, 200, days", "validation"), ("0, 150, days", "training"), ("0, 3, years", "test")]
)
def test_too_little_data_is_an_error(tiny: Tables, window: str, name: str) -> None:
    with pytest.raises(DataError, match="is left for the training split: the facts reach from 2024-01-02"):
        make_anchors(task(window), tiny, SplitSettings())


_spans = st.tuples(st.integers(1, 40), st.sampled_from(["days", "weeks", "months"])).map(
    lambda t: f"{t[0] % 40 + 1} {t[1]}"
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0, 20),
    length=st.integers(1, 40),
    step=st.none() | _spans,
    eval_step=st.none() | _spans,
    windows=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dated=st.booleans(),
)
def test_windows_of_different_splits_never_overlap(
    tiny: Tables,
    start: int,
    length: int,
    step: str | None,
    eval_step: str | None,
    windows: tuple[int, int],
    dated: bool,
) -> None:
    dates = {"validation_start": "2024-06-01", "test_start": "2024-08-11"} if dated else {}
    split = SplitSettings(
        step=step, eval_step=eval_step, validation_windows=windows[0], test_windows=windows[1], **dates
    )
    checked = task(f"{start}, {start + length}, days")
    assert checked.window is not None
    try:
        anchors = make_anchors(checked, tiny, split)
    except DataError:
        return
    for earlier, later in ((anchors.train, anchors.validation), (anchors.validation, anchors.test)):
        assert add(earlier[-1], checked.window[1]) <= later[0]
    assert add(anchors.test[-1], checked.window[1]) <= time_range(tiny, ("orders",))[1]
    assert list(anchors.all) == sorted(set(anchors.all))
