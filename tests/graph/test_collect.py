"""Collecting: never the current version, one that is needed, or one that is being read."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from kincast.errors import SnapshotError
from kincast.graph.build import build_snapshot
from kincast.graph.collect import collect
from kincast.graph.open import list_snapshots, open_snapshot
from kincast.graph.verify import stamp_path
from kincast.schema import Schema


@pytest.fixture
def ids(tmp_path: Path, make_shop: Any, schema: Schema) -> list[str]:
    """Four versions, the last of them current."""
    extra = [(100 + number, "2024-01-01", None, None) for number in range(4)]
    return [
        build_snapshot(make_shop(tmp_path / f"{n}.duckdb", 0, tuple(extra[:n])), schema, tmp_path / "all").id
        for n in range(4)
    ]


def there(root: Path) -> set[str]:
    return {info.id for info in list_snapshots(root)}


def test_newest_needed_and_current_stay(tmp_path: Path, ids: list[str]) -> None:
    root = tmp_path / "all"
    gc.collect()  # what built them has let go of them
    stamp_path(root / ids[1]).write_text("{}")
    tried = collect(root, keep=1, needed=lambda: [ids[0]], dry_run=True)
    assert there(root) == set(ids)
    found = collect(root, keep=1, needed=lambda: [ids[0]])
    assert found == tried
    assert set(found.removed) == {ids[1], ids[2]}
    assert found.kept == {ids[0]: "a model version was trained on it", ids[3]: "it is the current one"}
    assert found.freed_bytes > 1000
    assert there(root) == {ids[0], ids[3]}
    assert sorted(path.name for path in root.iterdir()) == sorted([".lock", "current", ids[0], ids[3]])


def test_what_is_read_stays_until_it_is_let_go(tmp_path: Path, ids: list[str]) -> None:
    root = tmp_path / "all"
    gc.collect()
    reader = open_snapshot(root, ids[0])
    assert collect(root, keep=0).kept == {ids[0]: "it is being read", ids[3]: "it is the current one"}
    assert reader.columns("customers", ["id"]).num_rows == 4
    del reader
    gc.collect()
    assert collect(root, keep=0).removed == (ids[0],)
    with pytest.raises(SnapshotError, match=f"there is no snapshot {ids[0]}"):
        open_snapshot(root, ids[0])


def test_what_a_killed_collector_left_goes(tmp_path: Path, ids: list[str], make_shop: Any, schema: Schema) -> None:
    root = tmp_path / "all"
    for number, clean in enumerate(
        (lambda: collect(root, keep=9), lambda: build_snapshot(make_shop(tmp_path / "again.duckdb"), schema, root))
    ):
        (root / ids[number]).rename(root / f".removed-{ids[number]}")
        clean()
        assert not list(root.glob(".removed-*"))


def test_what_became_needed_while_it_was_read_stays(tmp_path: Path, ids: list[str]) -> None:
    root = tmp_path / "all"
    gc.collect()
    asked: list[int] = []

    def needed() -> list[str]:
        asked.append(1)
        return [ids[1]] if len(asked) > 1 else []

    assert collect(root, keep=0, needed=needed).kept[ids[1]] == "a model version was trained on it"
    assert there(root) == {ids[1], ids[3]}
