"""Labels of many values: lists of classes, links, forecasts; what is in them, their splits, their round trips."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from kincast.clock import DAY_US, parse_instant
from kincast.errors import DataError
from kincast.project import SplitSettings
from kincast.query.compile import compile_task
from kincast.query.explain import explain
from kincast.query.labels import make_labels
from kincast.query.task import Task, TaskKind
from kincast.schema import Schema
from kincast.source.open import open_source
from kincast.source.tables import Tables, stage
from kincast.testing.tiny import tiny_database, tiny_rows, tiny_schema

SCHEMA = tiny_schema()
TIMELESS = Schema(tuple(dataclasses.replace(table, time=None) for table in SCHEMA), SCHEMA.links)
ROWS = tiny_rows()
CHANNELS = "LIST_DISTINCT(orders.channel, 0, 30, days)"
PRODUCTS = "LIST_DISTINCT(orders.product_id, 0, 30, days)"
WEEKS = "SUM(orders.quantity, 0, 7, days) FORECAST 8 TIMEFRAMES FOR EACH products.product_id"


def task(query: str, schema: Schema = SCHEMA) -> Task:
    return compile_task(f"PREDICT {query}", schema)


@pytest.fixture(scope="module")
def timeless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    folder = tmp_path_factory.mktemp("timeless")
    with stage(open_source(str(tiny_database(folder))), TIMELESS, folder / "tables") as tables:
        yield tables


def keys_of(tables: Tables, table: str, key: str) -> list[int]:
    found = tables.connect().execute(f"SELECT {key} FROM {table} ORDER BY _row").fetchall()
    return [row[0] for row in found]


def bought(customer: int, as_of_us: int, column: int) -> set[object]:
    """Values of a column of a customer's orders in the 30 days after an instant."""
    found = set()
    for order in ROWS["orders"]:
        ordered = parse_instant(order[3].isoformat())
        if order[1] == customer and as_of_us < ordered <= as_of_us + 30 * DAY_US:
            found.add(order[column])
    return found


def test_classes_of_a_label_are_what_happened(tiny: Tables) -> None:
    labels = make_labels(task(f"{CHANNELS} CLASSIFY FOR EACH customers"), tiny, SplitSettings())
    assert labels.kind is TaskKind.MULTILABEL
    assert labels.classes == ("app", "shop", "web")
    assert labels.lists is not None
    assert list(labels.target) == list(labels.lists.lengths)
    customers = keys_of(tiny, "customers", "customer_id")
    for i in range(len(labels)):
        items = labels.lists.items[labels.lists.offsets[i] : labels.lists.offsets[i + 1]]
        names = {labels.classes[int(code)] for code in items}
        assert names == bought(customers[labels.rows[i]], int(labels.as_of_us[i]), 7) != set()
        assert list(items) == sorted(items)


def test_links_are_rows_of_the_table_linked_to(tiny: Tables) -> None:
    labels = make_labels(task(f"{PRODUCTS} RANK TOP 12 FOR EACH customers"), tiny, SplitSettings())
    assert (labels.kind, labels.item_table, labels.classes) == (TaskKind.TEMPORAL_LINK, "products", ())
    assert labels.lists is not None
    customers, products = keys_of(tiny, "customers", "customer_id"), keys_of(tiny, "products", "product_id")
    for i in range(len(labels)):
        items = labels.lists.items[labels.lists.offsets[i] : labels.lists.offsets[i + 1]]
        expected = bought(customers[labels.rows[i]], int(labels.as_of_us[i]), 2)
        assert {products[int(row)] for row in items} == expected


def test_keys_as_classes_are_in_the_order_of_numbers(tiny: Tables) -> None:
    labels = make_labels(task(f"{PRODUCTS} CLASSIFY FOR EACH customers"), tiny, SplitSettings())
    assert labels.classes == tuple(str(key) for key in range(1, 13))


def test_lists_of_a_column(tiny: Tables) -> None:
    every = make_labels(task("customers.interests CLASSIFY FOR EACH customers"), tiny, SplitSettings())
    assert every.classes == ("cooking", "music", "sport", "travel")
    assert every.lists is not None
    assert len(every) == 40
    assert (every.target == 0).any()  # no interests at all is a label too
    ranked = make_labels(task("customers.interests RANK TOP 5 FOR EACH customers"), tiny, SplitSettings())
    assert len(ranked) == np.count_nonzero(every.target)  # but nothing to rank
    owner = keys_of(tiny, "customers", "customer_id")
    interests = {row[0]: sorted(row[4]) for row in ROWS["customers"]}
    for i in range(len(every)):
        items = every.lists.items[every.lists.offsets[i] : every.lists.offsets[i + 1]]
        assert [every.classes[int(code)] for code in items] == interests[owner[every.rows[i]]]


def test_a_forecast_is_its_windows_in_a_row(tiny: Tables) -> None:
    labels = make_labels(task(WEEKS), tiny, SplitSettings())
    assert labels.kind is TaskKind.FORECASTING
    assert labels.lists is not None
    steps = labels.lists.as_matrix()
    assert steps.shape == (len(labels), 8)
    assert np.allclose(steps.mean(axis=1), labels.target)
    products = keys_of(tiny, "products", "product_id")
    for i in range(0, len(labels), 7):
        for step in range(8):
            start = int(labels.as_of_us[i]) + step * 7 * DAY_US
            total = sum(
                order[5]
                for order in ROWS["orders"]
                if order[2] == products[labels.rows[i]]
                and start < parse_instant(order[3].isoformat()) <= start + 7 * DAY_US
            )
            assert steps[i, step] == total


def test_forecasts_do_not_look_into_the_next_split(tiny: Tables) -> None:
    labels = make_labels(task(WEEKS), tiny, SplitSettings())
    length = 8 * 7 * DAY_US
    assert labels.of(0).as_of_us.max() + length <= labels.of(1).as_of_us.min()
    assert labels.of(1).as_of_us.max() + length <= labels.of(2).as_of_us.min()
    anchors = np.unique(labels.of(0).as_of_us)
    assert set(np.diff(anchors)) == {7 * DAY_US}  # training steps by one timeframe


def test_steps_without_a_value_are_unknown_and_rows_without_any_dropped(tiny: Tables) -> None:
    query = "AVG(orders.amount, 0, 14, days) FORECAST 3 TIMEFRAMES FOR EACH customers"
    labels = make_labels(task(query), tiny, SplitSettings())
    assert labels.lists is not None
    steps = labels.lists.as_matrix()
    assert np.isnan(steps).any()
    assert not np.isnan(steps).all(axis=1).any()
    assert np.allclose(np.nanmean(steps, axis=1), labels.target)


def test_months_of_a_forecast_follow_one_another(tiny: Tables) -> None:
    split = SplitSettings(test_windows=1)
    query = "COUNT(orders.*, 0, 1, months) FORECAST 3 TIMEFRAMES FOR EACH products"
    labels = make_labels(task(query), tiny, split)
    whole = make_labels(task("COUNT(orders.*, 0, 3, months) FOR EACH products"), tiny, SplitSettings(step="1 month"))
    assert labels.lists is not None
    sums = {(r, t): s for r, t, s in zip(labels.rows, labels.as_of_us, labels.target * 3, strict=True)}
    shared = [i for i in range(len(whole)) if (whole.rows[i], whole.as_of_us[i]) in sums]
    assert len(shared) > 20
    assert all(round(sums[whole.rows[i], whole.as_of_us[i]]) == whole.target[i] for i in shared)


def test_each_link_without_a_time_is_in_one_split(timeless: Tables) -> None:
    query = "LIST_DISTINCT(orders.product_id) RANK TOP 10 FOR EACH customers.customer_id"
    checked = task(query, TIMELESS)
    labels = make_labels(checked, timeless, SplitSettings())
    assert labels.kind is TaskKind.STATIC_LINK
    assert list(labels.as_of_us) == list(labels.split)  # links of earlier splits are known
    assert labels.lists is not None
    links = [
        (int(row), int(item))
        for i, row in enumerate(labels.rows)
        for item in labels.lists.items[labels.lists.offsets[i] : labels.lists.offsets[i + 1]]
    ]
    assert len(links) == len(set(links)) == len({(order[1], order[2]) for order in ROWS["orders"]})
    shares = [labels.of(i).target.sum() / len(links) for i in range(3)]
    assert 0.7 < shares[0] < 0.9
    assert min(shares[1:]) > 0.03
    other = make_labels(checked, timeless, SplitSettings(family="random_link", seed=1))
    assert other.of(2).target.sum() != labels.of(2).target.sum() or list(other.rows) != list(labels.rows)
    whole = make_labels(checked, timeless, SplitSettings(family="random"))
    assert len(whole) == len(np.unique(whole.rows))  # every link of a row in the same split


def test_explained_in_words(tiny: Tables, timeless: Tables) -> None:
    found = explain(task(f"{CHANNELS} CLASSIFY FOR EACH customers"), tiny, SplitSettings())
    assert found.splits[0].words.startswith("1.29 a label, shop 43.9%")
    assert "which classes" in found.sentences[0]
    links = explain(
        task("LIST_DISTINCT(orders.product_id) RANK TOP 3 FOR EACH customers", TIMELESS), timeless, SplitSettings()
    )
    assert "drawn by chance" in " ".join(links.sentences)
    assert links.splits[0].num_anchors == 0
    assert explain(task(WEEKS), tiny, SplitSettings()).splits[0].words.startswith("mean ")


def test_lists_of_nothing_are_refused(tiny: Tables) -> None:
    with pytest.raises(DataError, match="gives no labels at all"):
        make_labels(
            task("LIST_DISTINCT(orders.channel WHERE orders.amount > 9999, 0, 30, days) CLASSIFY FOR EACH customers"),
            tiny,
            SplitSettings(),
        )
