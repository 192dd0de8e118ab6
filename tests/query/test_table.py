"""Label tables of the user's own: lists, links, forecasts, weights and further columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.labels import Labels, read_labels
from kincast.query.task import Task
from kincast.source.tables import Tables
from kincast.testing.tiny import tiny_schema

SCHEMA = tiny_schema()
CHANNELS = "LIST_DISTINCT(orders.channel, 0, 30, days) CLASSIFY FOR EACH customers"
LINKS = "LIST_DISTINCT(orders.product_id, 0, 30, days) RANK TOP 12 FOR EACH customers"
WEEKS = "SUM(orders.quantity, 0, 7, days) FORECAST 3 TIMEFRAMES FOR EACH customers"
COUNT = "COUNT(orders.*, 0, 30, days) FOR EACH customers"


def task(query: str) -> Task:
    return compile_task(f"PREDICT {query}", SCHEMA)


def written(folder: Path, target: list[Any], suffix: str = "parquet", **more: list[Any]) -> Path:
    columns: dict[str, list[Any]] = {
        "customer_id": [3, 1, 2, 1],
        "as_of": ["2024-03-01", "2024-03-01", "2024-06-01", "2024-09-01"],
        "target": target,
        "split": ["train", "train", "validation", "test"],
        **more,
    }
    path = folder / f"labels.{suffix}"
    (pa.csv.write_csv if suffix == "csv" else pa.parquet.write_table)(pa.table(columns), path)
    return path


def items(labels: Labels) -> list[list[float]]:
    assert labels.lists is not None
    bounds = labels.lists.offsets
    return [labels.lists.items[bounds[i] : bounds[i + 1]].tolist() for i in range(len(labels))]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_lists_of_classes(tiny: Tables, tmp_path: Path, suffix: str) -> None:
    lists: list[Any] = [["web", "app"], ["web"], ["shop", "shop"], ["app"]]
    if suffix == "parquet":
        lists[1] = []
    target = lists if suffix == "parquet" else [", ".join(words) for words in lists]
    labels = read_labels(task(CHANNELS), tiny, written(tmp_path, target, suffix), SplitSettings())
    assert labels.classes == ("app", "shop", "web")
    assert items(labels) == [[0, 2], [] if suffix == "parquet" else [2], [1], [0]]
    assert list(labels.rows) == [2, 0, 1, 0]


@pytest.mark.parametrize("target", [[[2, 1], [4], [1], [12]], ["2, 1", "4", "1", "12"]])
def test_links_by_their_keys(tiny: Tables, tmp_path: Path, target: list[Any]) -> None:
    labels = read_labels(task(LINKS), tiny, written(tmp_path, target), SplitSettings())
    assert labels.item_table == "products"
    assert items(labels) == [[0, 1], [3], [0], [11]]


def test_links_to_nowhere_are_refused(tiny: Tables, tmp_path: Path) -> None:
    path = written(tmp_path, [[2, 77], [4], [1], [78]])
    with pytest.raises(DataError, match="2 links lead to a key that products does not have: 77, 78"):
        read_labels(task(LINKS), tiny, path, SplitSettings())


def test_rankings_of_nothing_are_left_out_with_all_that_belongs_to_them(tiny: Tables, tmp_path: Path) -> None:
    path = written(tmp_path, [[2], [], [1], [4]], weight=[1.0, 2.0, 3.0, 4.0], note=["a", "b", "c", "d"])
    labels = read_labels(task(LINKS), tiny, path, SplitSettings())
    assert labels.weight is not None
    assert labels.extra is not None
    assert list(labels.weight) == [1.0, 3.0, 4.0]
    assert labels.extra["note"].to_pylist() == ["a", "c", "d"]


@pytest.mark.parametrize(
    "target", [[[1, 2, 3], [0, 0, None], [1, 1, 1], [2, 2, 2]], ["1,2,3", "0,0,0", "1,1,1", "2,2,2"]]
)
def test_steps_of_a_forecast(tiny: Tables, tmp_path: Path, target: list[Any]) -> None:
    labels = read_labels(task(WEEKS), tiny, written(tmp_path, target), SplitSettings())
    assert items(labels)[0] == [1, 2, 3]
    assert labels.target[0] == 2


def test_forecasts_of_another_length_are_refused(tiny: Tables, tmp_path: Path) -> None:
    path = written(tmp_path, [[1, 2], [0, 0, 0], [1, 1, 1], [2, 2, 2]])
    with pytest.raises(DataError, match="1 targets do not have 3 steps"):
        read_labels(task(WEEKS), tiny, path, SplitSettings())


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_weights_and_further_columns_are_kept(tiny: Tables, tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, [1, 2, 3, 4], suffix, weight=[0.5, 1.0, 2.0, 0.0], Source=["x", "y", "x", "z"])
    labels = read_labels(task(COUNT), tiny, path, SplitSettings())
    assert labels.weight is not None
    assert labels.extra is not None
    assert list(labels.weight) == [0.5, 1.0, 2.0, 0.0]
    assert labels.extra.column_names == ["Source"]
    train = labels.of(0)
    assert train.weight is not None
    assert list(train.weight) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -1.0, 1.0, 1.0], "1 labels have a weight that is no number of 0 or more: -1.0"),
        (["a", "1", "b", "1"], "2 labels have a weight that is no number of 0 or more: a, b"),
        ([None, 1.0, 1.0, 1.0], "1 labels have no weight: 3"),
    ],
)
def test_weights_that_are_none_are_refused(tiny: Tables, tmp_path: Path, weight: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(task(COUNT), tiny, written(tmp_path, [1, 2, 3, 4], weight=weight), SplitSettings())


def test_splits_against_the_order_of_time_are_refused(tiny: Tables, tmp_path: Path) -> None:
    path = written(tmp_path, [1, 2, 3, 4], split=["validation", "test", "train", "test"])
    with pytest.raises(DataError, match="newest train label, of 2024-06-01, is later than the newest validation label"):
        read_labels(task(COUNT), tiny, path, SplitSettings())
