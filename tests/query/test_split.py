"""Splits: the seven families, the default of each situation, and label windows that never overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kincast.clock import add, format_instant, parse_instant
from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.anchors import make_anchors, split_family, time_range
from kincast.query.compile import compile_task
from kincast.query.explain import explain
from kincast.query.labels import Labels, make_labels
from kincast.query.task import Task
from kincast.schema import Schema
from kincast.source.open import open_source
from kincast.source.tables import Tables, stage
from kincast.testing.tiny import tiny_database, tiny_schema

SCHEMA = tiny_schema()
TIMELESS = Schema(tuple(dataclasses.replace(table, time=None) for table in SCHEMA), SCHEMA.links)
COUNT = "COUNT(orders.*, 0, 14, days) FOR EACH customers"
LINKS = "LIST_DISTINCT(orders.product_id, 0, 14, days) RANK TOP 3 FOR EACH customers"
WEEKS = "SUM(orders.quantity, 0, 7, days) FORECAST 4 TIMEFRAMES FOR EACH products"
RANGES = {
    "train": ("2024-01-01", "2024-06-01"),
    "validation": ("2024-06-01", "2024-09-01"),
    "test": ("2024-09-01", "2025-01-01"),
}


def task(query: str = COUNT, schema: Schema = SCHEMA) -> Task:
    return compile_task(f"PREDICT {query}", schema)


def texts(instants: tuple[int, ...]) -> list[str]:
    return [format_instant(instant)[:10] for instant in instants]


def assert_apart(checked: Task, labels: Labels) -> None:
    """No window of a split ends after the first instant of the next one."""
    assert checked.window is not None
    for number in (0, 1):
        ends = [add(int(t), checked.window[1]) for t in np.unique(labels.of(number).as_of_us)]
        assert max(ends) <= labels.of(number + 1).as_of_us.min()


@pytest.mark.parametrize(
    ("query", "schema", "family"),
    [
        ("orders.is_fraud FOR EACH orders", SCHEMA, "temporal"),
        ("products.price FOR EACH products", SCHEMA, "random"),
        ("LIST_DISTINCT(orders.product_id) RANK TOP 3 FOR EACH customers", TIMELESS, "random_link"),
        (COUNT, SCHEMA, "approx_date_offset"),
        ("COUNT(orders.*, 7, 14, days) FOR EACH customers", SCHEMA, "date_offset"),
        (LINKS, SCHEMA, "date_offset"),
        (WEEKS, SCHEMA, "date_offset"),
    ],
)
def test_default_of_each_situation(query: str, schema: Schema, family: str) -> None:
    assert split_family(task(query, schema), SplitSettings()) == family


def test_approximate_shares_of_the_windows(tiny: Tables) -> None:
    anchors = make_anchors(task("COUNT(orders.*, 0, 7, days) FOR EACH customers"), tiny, SplitSettings())
    assert [len(part) for part in (anchors.train, anchors.validation, anchors.test)] == [40, 5, 5]
    even = SplitSettings(shares=(0.5, 0.25, 0.25))
    anchors = make_anchors(task("COUNT(orders.*, 0, 7, days) FOR EACH customers"), tiny, even)
    assert [len(part) for part in (anchors.train, anchors.validation, anchors.test)] == [26, 12, 12]


def test_a_lead_time_leaves_a_whole_label_between_splits(tiny: Tables) -> None:
    anchors = make_anchors(task("COUNT(orders.*, 30, 60, days) FOR EACH customers"), tiny, SplitSettings())
    assert texts(anchors.test) == ["2024-10-31"]
    assert texts(anchors.validation) == ["2024-09-01"]
    assert texts(anchors.train)[-2:] == ["2024-06-03", "2024-07-03"]


def test_offsets_from_the_newest_anchor(tiny: Tables) -> None:
    split = SplitSettings(offsets=["-56 days", "-28 days"])
    anchors = make_anchors(task(), tiny, split)
    assert texts(anchors.test) == ["2024-11-18", "2024-12-02", "2024-12-16"]
    assert texts(anchors.validation) == ["2024-10-21", "2024-11-04"]
    assert texts(anchors.train)[-1] == "2024-10-07"


def test_rolling_origins(tiny: Tables) -> None:
    split = SplitSettings(test_windows=4, validation_windows=2, eval_step="7 days")
    anchors = make_anchors(task(), tiny, split)
    assert texts(anchors.test) == ["2024-11-25", "2024-12-02", "2024-12-09", "2024-12-16"]
    assert texts(anchors.validation) == ["2024-11-04", "2024-11-11"]


def test_ranges_hold_their_windows(tiny: Tables) -> None:
    anchors = make_anchors(task(), tiny, SplitSettings(ranges=RANGES))
    assert texts(anchors.validation) == [
        "2024-06-09",
        "2024-06-23",
        "2024-07-07",
        "2024-07-21",
        "2024-08-04",
        "2024-08-18",
    ]
    assert texts(anchors.test)[-1] == "2024-12-16"
    assert texts(anchors.train)[-1] == "2024-05-18"


def test_end_hides_later_facts(tiny: Tables) -> None:
    anchors = make_anchors(task(), tiny, SplitSettings(end="2024-10-01"))
    assert texts(anchors.test)[-1] == "2024-09-17"


def test_temporal_split_of_windows_cuts_by_labels_and_leaves_out_what_crosses(tiny: Tables) -> None:
    split = SplitSettings(family="temporal", step="5 days")
    labels = make_labels(task(), tiny, split)
    assert_apart(task(), labels)
    assert 0.05 < len(labels.of(2)) / len(labels) < 0.25
    assert "cuts by the number of labels" in " ".join(explain(task(), tiny, split).warnings)


def test_random_split_keeps_a_key_together(tiny: Tables) -> None:
    labels = make_labels(task(), tiny, SplitSettings(family="random"))
    parts: dict[int, set[int]] = {}
    for row, part in zip(labels.rows, labels.split, strict=True):
        parts.setdefault(int(row), set()).add(int(part))
    assert all(len(found) == 1 for found in parts.values())
    other = make_labels(task(), tiny, SplitSettings(family="random", seed=3, shares=(0.5, 0.25, 0.25)))
    assert len(other.of(0)) < len(labels.of(0))
    explained = explain(task(), tiny, SplitSettings(family="random"))
    assert "metrics will flatter" in " ".join(explained.warnings)
    assert explained.splits[0].num_anchors > 5


def test_split_by_hand(tiny: Tables) -> None:
    query = "products.price FOR EACH products"
    split = SplitSettings(column="products.category", values=["shoes", "books", "toys"])
    labels = make_labels(task(query), tiny, split)
    assert [len(labels.of(i)) for i in range(3)] == [4, 4, 4]
    windowed = make_labels(task("COUNT(orders.*, 0, 30, days) FOR EACH products"), tiny, split)
    assert set(windowed.rows[windowed.split == 1]) == set(labels.rows[labels.split == 1])
    with pytest.raises(DataError, match="no column colour to split by"):
        make_labels(task(query), tiny, SplitSettings(column="colour"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """Products whose category is the word of a split, or none."""
    import duckdb

    folder = tmp_path_factory.mktemp("written")
    path = tiny_database(folder)
    with duckdb.connect(str(path)) as connection:
        words = "['train', 'val', '2', 'never', NULL]"
        connection.execute(f"UPDATE products SET category = {words}[product_id % 5 + 1]")
    with stage(open_source(str(path)), SCHEMA, folder / "tables") as tables:
        yield tables


def test_rows_without_a_split_are_left_out(written: Tables) -> None:
    labels = make_labels(task("products.price FOR EACH products"), written, SplitSettings(column="category"))
    assert [len(labels.of(i)) for i in range(3)] == [2, 3, 3]


@pytest.mark.parametrize(
    ("query", "values", "message"),
    [
        (COUNT, {"family": "random_link"}, "a random_link split does not suit"),
        (LINKS, {"family": "random"}, "a random split does not suit temporal link prediction"),
        (WEEKS, {"family": "temporal"}, "use date_offset or time_range"),
        ("products.price FOR EACH products", {"family": "temporal"}, "whose rows have no time"),
        (COUNT, {"offsets": ["-900 days", "0 days"]}, "no window of 14 days is left for the training split"),
    ],
)
def test_what_does_not_suit_is_refused(tiny: Tables, query: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        make_labels(task(query), tiny, SplitSettings(**values))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shares": [0.5, 0.5, 0.5]}, "add up to 1"),
        ({"offsets": ["0 days", "-30 days"]}, "validation first"),
        ({"family": "random", "offsets": ["-30 days", "0 days"]}, "offsets belongs to the family date_offset"),
        ({"family": "manual"}, "needs column"),
        ({"family": "time_range"}, "needs ranges"),
        ({"ranges": {**RANGES, "test": ("2024-08-01", "2025-01-01")}}, "without overlapping"),
        ({"ranges": {"train": ("2024-01-01", "2024-06-01")}}, "train, validation and test"),
        ({"column": "c", "values": ["a", "a", "b"]}, "values must differ"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitSettings(**values)


_spans = st.tuples(st.integers(1, 40), st.sampled_from(["days", "weeks", "months"])).map(lambda t: f"{t[0]} {t[1]}")
_layouts = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"validation_windows": st.integers(1, 4), "test_windows": st.integers(1, 4)}),
    st.just({"ranges": RANGES}),
    st.just({"validation_start": "2024-06-01", "test_start": "2024-08-11", "test_windows": 3}),
    st.tuples(st.integers(1, 90), st.integers(0, 60)).map(
        lambda t: {"offsets": [f"-{t[0] + t[1]} days", f"-{t[1]} days"]}
    ),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    window=st.tuples(st.integers(0, 20), st.integers(1, 40), st.sampled_from(["days", "days", "months"])),
    form=st.sampled_from(["COUNT", "LINKS", "FORECAST 3 TIMEFRAMES"]),
    step=st.none() | _spans,
    eval_step=st.none() | _spans,
    layout=_layouts,
)
def test_windows_of_different_splits_never_overlap(
    tiny: Tables,
    window: tuple[int, int, str],
    form: str,
    step: str | None,
    eval_step: str | None,
    layout: dict[str, Any],
) -> None:
    start, length, unit = window
    start, length = (start // 10, length // 20 + 1) if unit == "months" else (start, length)
    written = f"{start}, {start + length}, {unit}"
    heads = {"LINKS": f"LIST_DISTINCT(orders.product_id, {written}) RANK TOP 3", "COUNT": f"COUNT(orders.*, {written})"}
    checked = task(f"{heads.get(form, f'COUNT(orders.*, {written}) {form}')} FOR EACH customers")
    assert checked.window is not None
    try:
        anchors = make_anchors(checked, tiny, SplitSettings(step=step, eval_step=eval_step, **layout))
    except DataError:
        return
    for earlier, later in ((anchors.train, anchors.validation), (anchors.validation, anchors.test)):
        assert add(earlier[-1], checked.window[1]) <= later[0]
    assert add(anchors.test[-1], checked.window[1]) <= time_range(tiny, ("orders",))[1]
    assert list(anchors.all) == sorted(set(anchors.all))


def test_a_split_column_of_numbers() -> None:
    assert SplitSettings(column="part", values=[0, 1, 2]).values == ("0", "1", "2")
    assert parse_instant("2024-06-01") == SplitSettings(ranges=RANGES).ranges["validation"][0]
