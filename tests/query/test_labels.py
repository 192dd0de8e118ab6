"""Labels: splits, classes, round trips, what to predict for, and label tables of the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from kincast.clock import DAY_US, parse_instant
from kincast.errors import DataError, KeyNotFoundError
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.labels import find_rows, make_labels, prediction_seeds, read_labels
from kincast.query.split import split_by_dates, split_by_time
from kincast.query.task import Task, TaskKind
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()
CHURN = "COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id"


def task(query: str = CHURN) -> Task:
    return compile_task(f"PREDICT {query}", SCHEMA)


def test_labels_are_in_order_and_split_by_anchor(tiny: Tables) -> None:
    labels = make_labels(task(), tiny, SplitSettings())
    assert list(zip(labels.as_of_us, labels.rows, strict=True)) == sorted(
        zip(labels.as_of_us, labels.rows, strict=True)
    )
    assert labels.classes == ("false", "true")
    assert (labels.rows.dtype, labels.as_of_us.dtype, labels.target.dtype, labels.split.dtype) == (
        np.int64,
        np.int64,
        np.float64,
        np.int8,
    )
    assert labels.of(0).as_of_us.max() + 30 * DAY_US <= labels.of(1).as_of_us.min()
    assert set(labels.split) == {0, 1, 2}


def test_freeze_hides_later_facts(tiny: Tables) -> None:
    labels = make_labels(task(), tiny, SplitSettings(freeze="2024-06-01"))
    assert labels.visible_us.max() == parse_instant("2024-06-01")
    assert np.array_equal(
        labels.visible_us[labels.as_of_us < labels.visible_us.max()],
        labels.as_of_us[labels.as_of_us < labels.visible_us.max()],
    )


def test_classes_are_sorted_and_codes_point_at_them(tiny: Tables) -> None:
    labels = make_labels(task("orders.product_id FOR EACH orders.order_id"), tiny, SplitSettings())
    assert labels.classes == tuple(str(key) for key in range(1, 13))
    products = tiny.connect().execute("SELECT product_id FROM orders ORDER BY _row").fetchnumpy()["product_id"]
    assert [labels.classes[int(code)] for code in labels.target] == [str(key) for key in products[labels.rows]]


def test_static_labels_of_timed_rows_are_split_by_time(tiny: Tables) -> None:
    labels = make_labels(task("orders.is_fraud FOR EACH orders.order_id"), tiny, SplitSettings())
    assert [len(labels.of(i)) for i in range(3)] == [240, 30, 30]
    assert labels.of(0).as_of_us.max() < labels.of(1).as_of_us.min()
    assert labels.of(1).as_of_us.max() < labels.of(2).as_of_us.min()


def test_static_labels_of_timed_rows_obey_start_dates(tiny: Tables) -> None:
    split = SplitSettings(validation_start="2024-06-01", test_start="2024-09-01")
    labels = make_labels(task("orders.is_fraud FOR EACH orders.order_id"), tiny, split)
    assert labels.of(0).as_of_us.max() < parse_instant("2024-06-01") <= labels.of(1).as_of_us.min()
    assert labels.of(1).as_of_us.max() < parse_instant("2024-09-01") <= labels.of(2).as_of_us.min()


def test_timeless_rows_are_split_by_their_key_as_of_the_end(tiny: Tables) -> None:
    labels = make_labels(task("products.price FOR EACH products.product_id"), tiny, SplitSettings())
    assert set(labels.as_of_us) == {parse_instant("2024-12-30 23:18")} or len(set(labels.as_of_us)) == 1
    fewer = make_labels(task("products.price FOR EACH products WHERE products.price != 5"), tiny, SplitSettings())
    kept = dict(zip(fewer.rows, fewer.split, strict=True))
    assert all(kept.get(row, part) == part for row, part in zip(labels.rows, labels.split, strict=True))


def test_ties_never_straddle_a_split() -> None:
    instants = np.repeat(np.arange(10, dtype=np.int64), 7)
    parts = split_by_time(instants)
    assert parts is not None
    assert all(len(set(parts[instants == instant])) == 1 for instant in range(10))
    assert split_by_time(np.zeros(5, dtype=np.int64)) is None
    assert list(split_by_dates(np.array([4, 5, 6, 7, 8]), 5, 7)) == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("COUNT(orders.*, 0, 30, days) > 9999 FOR EACH customers", "training labels are 'false'"),
        ("COUNT(orders.*, 0, 30, days) FOR EACH customers WHERE customers.age > 200", "gives no labels at all"),
    ],
)
def test_useless_labels_are_refused(tiny: Tables, query: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_labels(task(query), tiny, SplitSettings())


def test_seeds_are_who_exists_and_passes_the_filter(tiny: Tables) -> None:
    everyone, as_of = prediction_seeds(task(), tiny)
    assert (len(everyone), as_of) == (40, parse_instant("2024-12-30 18:00"))
    early, _ = prediction_seeds(task(), tiny, parse_instant("2024-01-31"))
    assert len(early) < 40
    filtered, _ = prediction_seeds(
        task(f"{CHURN} WHERE customers.age > 60 ASSUMING COUNT(coupons.*, 0, 9, days) > 9"), tiny
    )
    assert 0 < len(filtered) < 40
    future, later = prediction_seeds(task(), tiny, parse_instant("2030-01-01"))
    assert (len(future), later) == (40, parse_instant("2030-01-01"))


def test_seeds_of_named_keys_keep_their_order(tiny: Tables) -> None:
    rows, _ = prediction_seeds(task(), tiny, keys=[17, "3", 5])
    assert list(rows) == list(find_rows(task(), tiny.connect(), [17, 3, 5])) == [16, 2, 4]
    assert list(prediction_seeds(task(CHURN.replace("EACH ", "") + " IN (2, 1)"), tiny)[0]) == [1, 0]
    young = task(f"{CHURN} WHERE customers.age < 40")
    assert list(prediction_seeds(young, tiny, keys=[4, 1])[0]) == [0]  # customer 4 is 70 and left out
    with pytest.raises(KeyNotFoundError, match="2 of 3 keys are not in customers: 99, x"):
        prediction_seeds(task(), tiny, keys=[1, 99, "x"])
    with pytest.raises(DataError, match="lies before the first fact"):
        prediction_seeds(task(), tiny, parse_instant("1999-01-01"))


def own_table(**changes: list[object]) -> pa.Table:
    columns: dict[str, list[object]] = {
        "customer_id": [3, 1, 2, 1, 2, 1],
        "as_of": ["2024-03-01", "2024-03-01", "2024-03-01", "2024-06-01", "2024-06-01", "2024-09-01"],
        "target": [1, 0, 1, 1, 0, 1],
        "split": ["train", "train", "train", "validation", "validation", "test"],
    }
    return pa.table({**columns, **changes})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_own_labels_keep_their_order(tiny: Tables, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels.{suffix}"
    (pa.csv.write_csv if suffix == "csv" else pa.parquet.write_table)(own_table(), path)
    labels = read_labels(task(), tiny, path, SplitSettings(freeze="2024-04-01"))
    assert list(labels.rows) == [2, 0, 1, 0, 1, 0]
    assert list(labels.target) == [1, 0, 1, 1, 0, 1]
    assert list(labels.split) == [0, 0, 0, 1, 1, 2]
    assert labels.as_of_us[0] == parse_instant("2024-03-01")
    assert (labels.kind, labels.freeze_us) == (TaskKind.BINARY, parse_instant("2024-04-01"))


def test_own_labels_without_a_split_take_the_start_dates(tiny: Tables, tmp_path: Path) -> None:
    pa.parquet.write_table(own_table().drop(["split"]), tmp_path / "labels.parquet")
    split = SplitSettings(validation_start="2024-05-01", test_start="2024-09-01")
    assert list(read_labels(task(), tiny, tmp_path / "labels.parquet", split).split) == [0, 0, 0, 1, 1, 2]
    with pytest.raises(DataError, match="lacks the column split"):
        read_labels(task(), tiny, tmp_path / "labels.parquet", SplitSettings())


_DAYS = ["2024-03-01", "2024-03-01", "2024-03-01", "2024-06-01", "2024-06-01"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"customer_id": [3, 77, 2, 1, 78, 1]}, "2 labels have a key that customers does not have: 77, 78"),
        ({"customer_id": [3, None, 2, 1, 2, 1]}, "1 labels have a key that customers does not have"),
        ({"target": [1, None, 1, 1, 0, 1]}, "1 labels have no target: 1"),
        ({"target": ["1", "0", "1", "many", "0", "1"]}, "1 labels have a target that is no yes or no: many"),
        ({"as_of": [*_DAYS, None]}, "1 labels have no as_of: 1"),
        ({"as_of": [*_DAYS, "soon"]}, "1 labels have an as_of that is no date: soon"),
        ({"as_of": [*_DAYS, "2024-06-01"]}, "2 labels are about the same row at the same instant: 1, 1"),
        ({"as_of": [*_DAYS, "2020-06-01"]}, "1 labels are about customers at an instant before they exist: 1"),
        ({"split": ["train", "train", "train", "exam", "validation", "test"]}, "1 labels have an unknown split: exam"),
        ({"split": ["train", "train", "train", "train", "validation", "validation"]}, "no labels in the test split"),
    ],
)
def test_own_labels_that_cannot_be_used_are_refused(
    tiny: Tables, tmp_path: Path, changes: dict[str, list[object]], message: str
) -> None:
    pa.parquet.write_table(own_table(**changes), tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=message):
        read_labels(task(), tiny, tmp_path / "labels.parquet", SplitSettings())


def test_own_labels_that_cannot_be_read_are_refused(tiny: Tables, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_text("no")
    pa.parquet.write_table(own_table().drop(["target"]), tmp_path / "short.parquet")
    for name, message in {
        "broken.parquet": "cannot be read",
        "none.parquet": "no such file",
        "labels.xls": "is a .parquet or .csv file",
        "short.parquet": "lacks the column target",
    }.items():
        with pytest.raises(DataError, match=message):
            read_labels(task(), tiny, tmp_path / name, SplitSettings())
