"""Verifying: once, and again when a file was touched."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from kincast.errors import SnapshotError
from kincast.graph import verify
from kincast.graph.open import open_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.graph.verify import stamp_path


@pytest.fixture
def root(shop: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shop's snapshots, old enough to be stamped."""
    monkeypatch.setattr(verify, "_SETTLED_AFTER_S", -1e9)
    return Path(shutil.copytree(shop.folder.parent, tmp_path / "snapshots"))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose files were all read."""
    found: list[Path] = []
    real = verify.check_hashes

    def read(folder: Path, manifest: Any) -> None:
        found.append(folder)
        real(folder, manifest)

    monkeypatch.setattr(verify, "check_hashes", read)
    return found


def test_files_are_read_once(root: Path, readings: list[Path]) -> None:
    for _ in range(3):
        open_snapshot(root)
    assert len(readings) == 1


def test_a_write_that_keeps_length_and_time_is_noticed(root: Path, shop: Snapshot, readings: list[Path]) -> None:
    open_snapshot(root)
    path = root / shop.id / "link/0.rows.npy"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(SnapshotError, match="does not match its hash"):
        open_snapshot(root)
    assert len(readings) == 2


def test_a_file_put_in_the_place_of_another_is_noticed(root: Path, shop: Snapshot) -> None:
    open_snapshot(root)
    one, two = root / shop.id / "link/0.offsets.npy", root / shop.id / "link/1.offsets.npy"
    os.link(one, root / "one")
    os.replace(two, one)
    os.replace(root / "one", two)
    with pytest.raises(SnapshotError, match="does not match its hash"):
        open_snapshot(root)


def test_a_stamp_is_good_for_a_day(root: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    open_snapshot(root)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_000)
    open_snapshot(root)
    assert len(readings) == 1
    monkeypatch.setattr(time, "time", lambda: now + 87_000)
    open_snapshot(root)
    assert len(readings) == 2


def test_a_file_written_just_now_gets_no_stamp(
    root: Path, shop: Snapshot, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_SETTLED_AFTER_S", 1e9)
    open_snapshot(root)
    open_snapshot(root)
    assert len(readings) == 2
    assert not stamp_path(root / shop.id).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at_s": 1e12, "files": {}}', '{"at_s": "x"}'])
def test_a_damaged_stamp_is_none(root: Path, shop: Snapshot, readings: list[Path], text: str) -> None:
    stamp_path(root / shop.id).write_text(text)
    open_snapshot(root)
    assert len(readings) == 1
