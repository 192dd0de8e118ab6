"""Exported labels: the user's own keys go out, and read back they are the same labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.export import export_labels
from kincast.query.labels import Labels, make_labels, read_labels
from kincast.schema import Schema
from kincast.source.open import open_source
from kincast.source.tables import Tables, stage
from kincast.testing.tiny import tiny_database, tiny_schema

SCHEMA = tiny_schema()
TIMELESS = Schema(tuple(dataclasses.replace(table, time=None) for table in SCHEMA), SCHEMA.links)
QUERIES = (
    "COUNT(orders.*, 0, 30, days) = 0 FOR EACH customers.customer_id",
    "SUM(orders.amount, 0, 30, days) FOR EACH customers",
    "LAST(orders.channel, 0, 30, days) FOR EACH customers",
    "customers.age FOR EACH customers",
    "orders.product_id FOR EACH orders",
    "LIST_DISTINCT(orders.channel, 0, 30, days) CLASSIFY FOR EACH customers",
    "LIST_DISTINCT(orders.channel, 0, 30, days) RANK TOP 2 FOR EACH customers",
    "LIST_DISTINCT(orders.product_id, 0, 30, days) RANK TOP 3 FOR EACH customers",
    "SUM(orders.quantity, 0, 7, days) FORECAST 8 TIMEFRAMES FOR EACH products",
    "AVG(orders.amount, 0, 30, days) FORECAST 2 TIMEFRAMES FOR EACH customers",
)


@pytest.fixture(scope="module")
def timeless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    folder = tmp_path_factory.mktemp("timeless")
    with stage(open_source(str(tiny_database(folder))), TIMELESS, folder / "tables") as tables:
        yield tables


def assert_same(found: Labels, wanted: Labels) -> None:
    assert (found.entity, found.kind, found.classes) == (wanted.entity, wanted.kind, wanted.classes)
    assert found.item_table == wanted.item_table
    for name in ("rows", "as_of_us", "split"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    assert np.allclose(found.target, wanted.target)
    if wanted.lists is not None:
        assert found.lists is not None
        assert np.array_equal(found.lists.offsets, wanted.lists.offsets)
        assert np.array_equal(found.lists.items, wanted.lists.items, equal_nan=True)


@pytest.mark.parametrize("query", QUERIES)
def test_what_is_exported_is_read_back(tiny: Tables, tmp_path: Path, query: str) -> None:
    task = compile_task(f"PREDICT {query}", SCHEMA)
    labels = make_labels(task, tiny, SplitSettings())
    pq.write_table(export_labels(task, labels, tiny), tmp_path / "labels.parquet")
    assert_same(read_labels(task, tiny, tmp_path / "labels.parquet", SplitSettings()), labels)


def test_links_without_time_are_read_back(timeless: Tables, tmp_path: Path) -> None:
    task = compile_task("PREDICT LIST_DISTINCT(orders.product_id) RANK TOP 10 FOR EACH customers", TIMELESS)
    labels = make_labels(task, timeless, SplitSettings())
    pq.write_table(export_labels(task, labels, timeless), tmp_path / "labels.parquet")
    assert_same(read_labels(task, timeless, tmp_path / "labels.parquet", SplitSettings()), labels)


def test_weights_and_further_columns_go_out_again(tiny: Tables) -> None:
    task = compile_task(f"PREDICT {QUERIES[1]}", SCHEMA)
    labels = make_labels(task, tiny, SplitSettings())
    noted = dataclasses.replace(
        labels, weight=np.arange(len(labels), dtype=float), extra=pa.table({"note": ["x"] * len(labels)})
    )
    table = export_labels(task, noted, tiny)
    assert table.column_names == ["customer_id", "as_of", "target", "split", "weight", "note"]
    assert table["weight"].to_pylist()[:3] == [0.0, 1.0, 2.0]
