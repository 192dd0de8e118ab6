"""A task of every kind on the tiny shop, small enough for seconds, and versions trained on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import Project, TaskSettings
from kincast.registry.version import Version
from kincast.schema import Schema, SemanticType
from kincast.source.open import open_source
from kincast.testing.tiny import tiny_database, tiny_schema
from kincast.train.run import train_task

CUSTOMERS = "FOR EACH customers.customer_id"
PRODUCTS = "FOR EACH products.product_id"
QUERIES = {
    "forecasting": f"PREDICT SUM(orders.quantity, 0, 7, days) FORECAST 3 TIMEFRAMES {PRODUCTS}",
    "labels": f"PREDICT LIST_DISTINCT(orders.channel, 0, 30, days) CLASSIFY {CUSTOMERS}",
    "column_labels": f"PREDICT customers.interests CLASSIFY {CUSTOMERS}",
    "several": "PREDICT COUNT(orders.*, 0, 30, days) > 0, SUM(orders.amount, 0, 30, days), "
    f"FIRST(orders.channel, 0, 30, days) {CUSTOMERS}",
    "ranking": f"PREDICT LIST_DISTINCT(orders.channel, 0, 30, days) RANK TOP 2 {CUSTOMERS}",
    "links": f"PREDICT LIST_DISTINCT(orders.product_id, 0, 30, days) RANK TOP 3 {CUSTOMERS}",
    "audience": f"PREDICT LIST_DISTINCT(orders.customer_id, 0, 30, days) RANK TOP 4 {PRODUCTS}",
}
SHOES = (
    f"PREDICT LIST_DISTINCT(orders.product_id WHERE products.category = 'shoes', 0, 30, days) RANK TOP 9 {CUSTOMERS}"
)
ORDERS = f"PREDICT COUNT(orders.*, 0, 30, days) > 0 {CUSTOMERS}"
STATIC = f"PREDICT LIST_DISTINCT(orders.product_id) RANK TOP 3 {CUSTOMERS}"
KINDS = (*QUERIES, "static_links")
TRAIN: dict[str, Any] = {"max_epochs": 2, "batch_size": 64, "num_threads": 1}
MODEL = {"channels": 8, "fanout": [6, 4]}

Shop = tuple[Project, Snapshot]
Trained = Callable[[str], Version]


def timeless_schema() -> Schema:
    """The shop as if nobody had ever written down a time."""
    schema = tiny_schema()
    tables = []
    for table in schema:
        columns = tuple(
            dataclasses.replace(column, type=SemanticType.IGNORED) if column.type is SemanticType.TIMESTAMP else column
            for column in table.columns
        )
        tables.append(dataclasses.replace(table, columns=columns, time=None))
    return Schema(tuple(tables), schema.links)


def make_shop(folder: Path, kind: str, train: dict[str, Any] | None = None, /, **model: Any) -> Shop:
    """A project with the one task of a kind, named after it, and its snapshot."""
    query = (QUERIES | {"shoes": SHOES, "static_links": STATIC, "orders": ORDERS})[kind]
    settings = {"query": query, "train": TRAIN | (train or {}), "model": MODEL | model}
    source = open_source(str(tiny_database(folder)))
    project = Project(folder=folder, source=source.url, tasks={kind: TaskSettings.model_validate(settings)})
    schema = timeless_schema() if kind == "static_links" else tiny_schema()
    return project, build_snapshot(source, schema, project.snapshots)


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Shop]:
    """The shop of a kind; made once."""
    made: dict[str, Shop] = {}

    def shop(kind: str) -> Shop:
        if kind not in made:
            made[kind] = make_shop(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return shop


@pytest.fixture(scope="session")
def trained(shops: Callable[[str], Shop]) -> Trained:
    """The version of a kind; trained once."""
    made: dict[str, Version] = {}

    def version(kind: str) -> Version:
        if kind not in made:
            project, snapshot = shops(kind)
            made[kind] = train_task(project, kind, snapshot=snapshot)
        return made[kind]

    return version
