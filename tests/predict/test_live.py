"""A row that was appended a moment ago changes the prediction, to what it is on the snapshot built from those rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from kincast.clock import parse_instant
from kincast.graph.append import append_rows
from kincast.graph.build import build_snapshot
from kincast.graph.compact import compact
from kincast.graph.delta import DeltaLog
from kincast.graph.snapshot import Snapshot
from kincast.predict.live import LivePredictor
from kincast.predict.online import Predictor
from kincast.project import Project
from kincast.registry.version import Version
from kincast.source.open import open_source

AS_OF = parse_instant("2024-10-27")


def test_an_appended_row_is_predicted_with(planted: tuple[Project, Snapshot], version: Version, tmp_path: Path) -> None:
    project, snapshot = planted
    root = tmp_path / "live"
    shutil.copytree(project.snapshots, root)
    changed = tmp_path / "planted.duckdb"
    shutil.copy(project.source, changed)
    values = "SELECT 900000 + i AS order_id, 5 AS customer_id, 7 AS product_id, "
    values += "TIMESTAMP '2024-10-20' + to_hours(i) AS ordered_at, 12.5 AS amount FROM range(3) r(i)"
    with duckdb.connect(str(changed)) as connection:
        connection.execute(f"INSERT INTO orders BY NAME {values}")
        connection.execute("UPDATE orders SET amount = 99.5 WHERE order_id = 17")
        rows = connection.sql("SELECT * FROM orders WHERE order_id >= 900000 OR order_id = 17").to_arrow_table()
        connection.execute(
            "INSERT INTO customers BY NAME SELECT * REPLACE (7777 AS customer_id) FROM customers LIMIT 1"
        )
        fresh = connection.sql("SELECT * FROM customers WHERE customer_id = 7777").to_arrow_table()
        touched = connection.sql("SELECT customer_id FROM orders WHERE order_id = 17").fetchall()
    rebuilt = build_snapshot(open_source(str(changed)), snapshot.schema, tmp_path / "rebuilt")
    expected = Predictor.load(version, rebuilt, tmp_path / "features")
    live = LivePredictor(version, root, tmp_path / "features")
    keys = [5, touched[0][0], 1, 250]
    before = live.predict(keys, AS_OF).scores
    with DeltaLog(root) as log:
        appended = append_rows(log, snapshot.schema, "orders", rows)
        assert (appended.num_rows, appended.rejected.num_rows) == (4, 0)
        append_rows(log, snapshot.schema, "customers", fresh)
    assert (live.predict(keys, AS_OF).scores == before).all()
    live.refresh()
    now = live.predict([*keys, 7777], AS_OF).scores
    assert now[0] != before[0]
    np.testing.assert_allclose(now, expected.predict([*keys, 7777], AS_OF).scores, atol=1e-6)
    np.testing.assert_allclose(live.embed([7777], AS_OF), expected.embed([7777], AS_OF), atol=1e-5)
    assert live.default_as_of() == expected.default_as_of()
    assert live.snapshot.id != snapshot.id
    assert compact(root).id == rebuilt.id
    live.refresh()
    np.testing.assert_allclose(live.predict([*keys, 7777], AS_OF).scores, now, atol=1e-6)


def test_rejected_rows_are_told(planted: tuple[Project, Snapshot], tmp_path: Path) -> None:
    _, snapshot = planted
    rows = pa.table({"order_id": [1, None], "customer_id": ["3", "4"], "ordered_at": [None, "2024-01-01"]})
    with DeltaLog(tmp_path) as log:
        appended = append_rows(log, snapshot.schema, "orders", rows)
    assert appended.rejected["_rule"].to_pylist() == ["time.missing", "key.null"]
    assert appended.num_rows == 0
    with DeltaLog(tmp_path) as log, pytest.raises(Exception, match="no column order_id"):
        append_rows(log, snapshot.schema, "orders", rows.select(["customer_id"]))
