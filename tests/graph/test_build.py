"""Building: row order, times, links, ids; and that a refused write leaves what was there before."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from kincast.clock import format_instant
from kincast.graph.build import build_snapshot
from kincast.graph.open import list_snapshots, open_snapshot
from kincast.graph.snapshot import NEVER_US, Snapshot
from kincast.schema import Schema
from kincast.source.base import Source
from kincast.source.open import open_source

MakeShop = Callable[..., Source]
NEWCOMER = ((11, "2024-05-01", None, 7),)


def link(snapshot: Snapshot, name: str) -> Any:
    return next(link for link in snapshot.links if link.link.name.startswith(name))


def test_rows_are_in_time_order_and_ties_by_key(shop: Snapshot) -> None:
    assert shop.columns("customers", ["id"]).column(0).to_pylist() == [7, 8, 10, 9]
    times = [format_instant(t) for t in shop.tables["customers"].time_us]
    assert times == ["2024-01-01", "2024-01-01", "2024-01-05", "2024-02-01"]
    assert shop.columns("orders", ["amount"]).column(0).to_pylist() == [5.0, 1.5, 2.5, 4.0, None]
    assert shop.tables["visits"].time_us is None
    assert format_instant(shop.max_time_us) == "2024-02-02 12:30:00"


def test_end_times(shop: Snapshot) -> None:
    ends = shop.tables["customers"].end_us
    assert format_instant(ends[0]) == "2024-03-01"
    assert ends[1:].tolist() == [NEVER_US] * 3
    assert shop.tables["orders"].end_us is None


def test_links_in_both_directions(shop: Snapshot) -> None:
    # Customers 7, 8, 10, 9 are rows 0 .. 3; 555, 999 are no customers; text keys find numbers.
    expected = {
        "orders.customer": ([-1, 0, 0, -1, 2], [[1, 2], [], [4], []]),
        "orders.buyer": ([3, 1, -1, 0, 2], [[3], [1], [4], [0]]),
        "orders.(day, shop)": ([-1, 1, 0, -1, 2], [[2], [1], [4]]),
        "customers.referrer": ([2, 0, -1, -1], [[1], [], [0], []]),
    }
    for name, (forward, lists) in expected.items():
        found = link(shop, name)
        assert found.forward.tolist() == forward, name
        assert [x.tolist() for x in np.split(found.rows, found.offsets[1:-1])] == lists, name
        assert found.forward.dtype == found.rows.dtype == np.int32
        assert found.offsets.dtype == np.int64


@pytest.mark.parametrize("shuffle", [1, 2])
def test_same_rows_in_another_order_give_the_same_version(
    tmp_path: Path, shop: Snapshot, make_shop: MakeShop, schema: Schema, shuffle: int
) -> None:
    again = build_snapshot(make_shop(tmp_path / "other.duckdb", shuffle), schema, tmp_path / "snapshots")
    assert again.id == shop.id
    assert again.manifest == shop.manifest


def test_another_row_gives_a_version_beside_the_first(tmp_path: Path, make_shop: MakeShop, schema: Schema) -> None:
    root = tmp_path / "snapshots"
    first = build_snapshot(make_shop(tmp_path / "a.duckdb"), schema, root)
    second = build_snapshot(make_shop(tmp_path / "b.duckdb", 0, NEWCOMER), schema, root)
    assert open_snapshot(root).id == second.id != first.id
    infos = {info.id: info for info in list_snapshots(root)}
    assert infos[second.id].is_current
    assert not infos[first.id].is_current
    assert infos[second.id].num_rows == infos[first.id].num_rows + 1
    assert first.tables["customers"].num_rows == 4  # a reader keeps what it opened
    assert build_snapshot(make_shop(tmp_path / "c.duckdb"), schema, root).id == first.id
    assert open_snapshot(root).id == first.id


def test_empty_tables(tmp_path: Path, schema: Schema) -> None:
    with duckdb.connect(str(tmp_path / "empty.duckdb")) as connection:
        for table in schema:
            columns = ", ".join(f'"{c.name}" {c.stored}' for c in table.columns)
            connection.execute(f"CREATE TABLE {table.name} ({columns})")
    snapshot = build_snapshot(open_source(str(tmp_path / "empty.duckdb")), schema, tmp_path / "snapshots")
    assert [table.num_rows for table in snapshot.tables.values()] == [0, 0, 0]
    assert snapshot.links[0].offsets.tolist() == [0]
    assert snapshot.rows_of("customers", [7]).tolist() == [-1]
    assert snapshot.max_time_us == 0


@pytest.mark.parametrize("first", [1, 8])
def test_a_refused_write_at_any_step_leaves_the_version_before(
    tmp_path: Path, make_shop: MakeShop, schema: Schema, failing_disk: Any, first: int
) -> None:
    root = tmp_path / "snapshots"
    before = build_snapshot(make_shop(tmp_path / "a.duckdb"), schema, root)
    source = make_shop(tmp_path / "b.duckdb", 0, NEWCOMER)
    fail_at = first
    while (after := failing_disk.attempt(fail_at, lambda: build_snapshot(source, schema, root))) is None:
        assert not [path for path in root.rglob("*") if path.name.startswith(".building")]
        assert [info.id for info in list_snapshots(root)] == [before.id]
        assert open_snapshot(root, verify=True).id == before.id
        fail_at += 14
    assert fail_at > 60
    assert open_snapshot(root, verify=True).id == after.id != before.id


def test_concurrent_builds_all_succeed(tmp_path: Path, make_shop: MakeShop, schema: Schema) -> None:
    root = tmp_path / "snapshots"
    sources = [make_shop(tmp_path / f"{i}.duckdb", i, NEWCOMER if i % 2 else ()) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda source: build_snapshot(source, schema, root).id, sources))
    assert ids[0] == ids[2] != ids[1] == ids[3]
    assert {info.id for info in list_snapshots(root)} == set(ids)
    assert all(open_snapshot(root, id, verify=True) for id in ids)
    assert open_snapshot(root).id in ids


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(
    tmp_path: Path, make_shop: MakeShop, schema: Schema
) -> None:
    root = tmp_path / "snapshots"
    for name in ("dead", "living"):
        (root / f".building-{name}" / "tables").mkdir(parents=True)
        (root / f".building-{name}.lock").touch()
    (root / ".building-dead.current").write_text("half")
    with (root / ".building-living.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        build_snapshot(make_shop(tmp_path / "a.duckdb"), schema, root)
        assert sorted(path.name for path in root.glob(".building*")) == [".building-living", ".building-living.lock"]


def test_building_again_heals_a_damaged_version(tmp_path: Path, make_shop: MakeShop, schema: Schema) -> None:
    root = tmp_path / "snapshots"
    source = make_shop(tmp_path / "a.duckdb")
    first = build_snapshot(source, schema, root)
    (first.folder / "link/0.rows.npy").write_bytes(b"")
    assert build_snapshot(source, schema, root).id == first.id
    open_snapshot(root, verify=True)
    assert sorted(path.name for path in root.iterdir()) == sorted([".lock", "current", first.id])
