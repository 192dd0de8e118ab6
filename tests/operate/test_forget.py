"""A forgotten row is nowhere any more: its values are in no byte of any file, nor in what the files unpack to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.live import Event, Shop, as_changes, shop_schema, take_all

from kincast.errors import DataError, KeyNotFoundError
from kincast.feature.fit import fit_features
from kincast.feature.store import open_features
from kincast.graph.append import append_rows
from kincast.graph.compact import compact
from kincast.graph.delta import DeltaLog
from kincast.graph.follow import Live
from kincast.graph.open import list_snapshots, open_snapshot
from kincast.operate.forget import forget
from kincast.project import Project
from kincast.source.change import Delivery
from kincast.store.rows import Stamp, publish

SECRETS = ("anna@example.org", "anna-invoice")


def event(table: str, sequence: int, **row: Any) -> Event:
    key = {"customers": ("id",), "invoices": ("id",), "lines": ("invoice", "place")}.get(table, ())
    return Event(table, tuple(row[name] for name in key) or f"visit {sequence}", sequence, row, False)


AT = np.datetime64("2024-01-03", "us").item()
OLD = [
    event("customers", 1, id="anna@example.org", joined=AT, age=33.0),
    event("customers", 2, id="ben@example.org", joined=AT, referrer="anna@example.org", age=44.0),
    event("invoices", 3, id="anna-invoice", customer="anna@example.org", at=AT),
    event("invoices", 4, id="ben-invoice", customer="ben@example.org", at=AT),
    event("lines", 5, invoice="anna-invoice", place=1, amount=5.0),
    event("visits", 6, customer="anna@example.org", at=AT),
]
NEW = [
    event("customers", 11, id="anna@example.org", joined=AT, age=34.0),
    event("lines", 12, invoice="anna-invoice", place=2, amount=6.0),
    event("lines", 13, invoice="ben-invoice", place=1, amount=7.0),
]


def found_in(folder: Path, text: str) -> list[str]:
    """Files that have the text, as they are or unpacked."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pydict()).encode()
        if text.encode() in content:
            found.append(str(path.relative_to(folder)))
    return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    schema = shop_schema("VARCHAR")
    shop = Shop(schema)
    take_all(shop, OLD)
    project = Project(folder=tmp_path, source="nowhere")
    shop.build(project.snapshots)
    with DeltaLog(project.snapshots) as log:
        log.append(Delivery("s", "1", tuple(as_changes(schema, NEW[:2]))))
    snapshot = compact(project.snapshots)
    with DeltaLog(project.snapshots) as log:
        log.append(Delivery("s", "2", tuple(as_changes(schema, NEW))))
    open_features(snapshot, fit_features(snapshot, snapshot.max_time_us), project.work / "features")
    keys = snapshot.keys_of("customers", np.arange(2))
    publish(project.store, "buys.predictions", keys, np.zeros((2, 2), np.float32), Stamp("v", snapshot.id, 0, 0))
    return project


def test_nothing_is_left(project: Project) -> None:
    assert len(found_in(project.work, SECRETS[0])) > 4
    done = forget(project, "customers", "anna@example.org")
    assert found_in(project.work, SECRETS[0]) == []
    assert done.stores == ("buys.predictions",)
    assert [info.id for info in list_snapshots(project.snapshots)] == [done.snapshot]
    left = open_snapshot(project.snapshots, verify=True)
    assert left.columns("customers", ["id"]).to_pydict() == {"id": ["ben@example.org"]}
    assert left.columns("invoices", ["customer"]).to_pydict() == {"customer": [None, "ben@example.org"]}
    assert found_in(project.work, SECRETS[1]) != []
    forget(project, "invoices", "anna-invoice")  # its lines have it in their key
    assert found_in(project.work, SECRETS[1]) == []
    assert open_snapshot(project.snapshots).columns("lines", ["invoice"]).to_pydict() == {"invoice": ["ben-invoice"]}


def test_it_does_not_come_back(project: Project) -> None:
    forget(project, "customers", "anna@example.org")
    schema = open_snapshot(project.snapshots).schema
    with DeltaLog(project.snapshots) as log, Live(project.snapshots) as live:
        log.append(Delivery("s", "3", tuple(as_changes(schema, NEW))))
        append_rows(log, schema, "customers", pa.table({"id": ["anna@example.org"], "joined": ["2024-01-01"]}))
        assert live.refresh().rows_of("customers", ["anna@example.org", "ben@example.org"]).tolist() == [-1, 0]
    compact(project.snapshots)
    assert found_in(project.work / "snapshots", "anna@example.org") == []


def test_unknown_keys_and_tables_without_key_are_refused(project: Project) -> None:
    with pytest.raises(KeyNotFoundError, match="no row has the key 'nobody'"):
        forget(project, "customers", "nobody")
    with pytest.raises(DataError, match="has no key"):
        forget(project, "visits", "nobody")
    with pytest.raises(DataError, match="is not a key"):
        forget(project, "lines", "anna-invoice")
    assert len(list_snapshots(project.snapshots)) == 2
