"""Folders in RelBench's format, with metadata in each file or a manifest, clean and with a leak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kincast.errors import DataError
from kincast.report import Verdict
from kincast.sample.audit.relbench import audit_relbench
from kincast.testing.leak import World, clean_world
from kincast.testing.plant import leaky_world

SPLITS = ("train", "val", "test")


def write(folder: Path, world: World, *, manifest: bool = False) -> Path:
    """The world as RelBench's Table.save writes it, or with manifests as its third version does."""
    (folder / "db").mkdir()
    task = folder / "tasks" / "buys"
    task.mkdir(parents=True)
    spec = {}
    for name, rows in world.tables.items():
        about = world.about[name]
        spec[name] = {"pkey": about["key"][0], "time_col": about.get("time"), "fkeys": about.get("links", {})}
        save(folder / "db" / f"{name}.parquet", rows, None if manifest else spec[name])
    out = world.outcomes
    keys = world.tables["customers"]["customer_id"]
    for number, name in enumerate(SPLITS):
        part = np.flatnonzero(out.split == number)
        rows = pa.table(
            {
                "timestamp": pa.array(out.as_of_us[part]).cast(pa.timestamp("us")),
                "customer_id": keys.take(pa.array(out.rows[part])),
                "buys": out.target[part],
            }
        )
        about = {"pkey": None, "time_col": "timestamp", "fkeys": {"customer_id": "customers"}}
        save(task / f"{name}.parquet", rows, None if manifest else about)
    if manifest:
        (folder / "manifest.yaml").write_text(yaml.safe_dump({"name": "shop", "tables": spec}))
        about = {
            "entity_table": "customers",
            "entity_col": "customer_id",
            "target_col": "buys",
            "time_col": "timestamp",
        }
        (task / "manifest.yaml").write_text(yaml.safe_dump({"kind": "forecast", "timedelta": "30 days", **about}))
    return folder


def save(path: Path, rows: pa.Table, about: dict[str, Any] | None) -> None:
    if about is not None:
        names = {"pkey_col": about["pkey"], "time_col": about["time_col"], "fkey_col_to_pkey_table": about["fkeys"]}
        rows = rows.replace_schema_metadata({name: json.dumps(value) for name, value in names.items()})
    pq.write_table(rows, path)


@pytest.mark.parametrize("manifest", [False, True])
def test_a_clean_folder_passes(tmp_path: Path, manifest: bool) -> None:
    report = audit_relbench(write(tmp_path, clean_world(3), manifest=manifest))
    assert [c for c in report.checks if c.verdict in (Verdict.FAIL, Verdict.WARN)] == []
    assert report.passed
    noted = [c.message for c in report.checks if c.verdict is Verdict.NOTE and c.name == "label.window"]
    assert ("30 days ahead" in noted[0]) if not manifest else noted == []


@pytest.mark.parametrize(
    ("leak", "name"),
    [
        ("duplicate keys", "key.duplicate"),
        ("degrees of the whole period", "degree.whole"),
        ("split by row", "split.row"),
        ("negatives not yet born", "negative.unborn"),
        ("mixed units and zones", "time.unit"),
    ],
)
def test_leaks_in_a_folder_are_named(tmp_path: Path, leak: str, name: str) -> None:
    world = leaky_world(leak, 1 if leak.startswith("negatives") else 0)
    report = audit_relbench(write(tmp_path, world), "buys")
    assert name in {c.name for c in report.checks if c.verdict is Verdict.FAIL}
    assert not report.passed


def test_a_window_that_reaches_the_next_split_is_a_leak(tmp_path: Path) -> None:
    report = audit_relbench(write(tmp_path, clean_world(3)), window="45 days")
    assert {c.where for c in report.checks if c.verdict is Verdict.FAIL} == {
        "buys: train and validation",
        "buys: validation and test",
    }


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tables in RelBench's format"):
        audit_relbench(tmp_path)
    pq.write_table(pa.table({"id": [1]}), tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="nor the file itself says its keys"):
        audit_relbench(tmp_path)
    (tmp_path / "plain.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="is no Parquet file"):
        audit_relbench(tmp_path)


def test_a_folder_without_labels_fails_closed(tmp_path: Path) -> None:
    world = clean_world(3)
    for name, rows in world.tables.items():
        about = world.about[name]
        save(
            tmp_path / f"{name}.parquet",
            rows,
            {"pkey": about["key"][0], "time_col": about.get("time"), "fkeys": about.get("links", {})},
        )
    report = audit_relbench(tmp_path)
    assert next(c.message for c in report.checks if c.verdict is Verdict.FAIL).startswith("could not run")
    with pytest.raises(DataError, match="there is no task buys"):
        audit_relbench(tmp_path, "buys")
