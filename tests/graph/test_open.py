"""Opening: what is missing or damaged is named, never served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kincast.errors import SnapshotError
from kincast.graph.history import read_current
from kincast.graph.open import list_snapshots, open_snapshot
from kincast.graph.snapshot import Snapshot


@pytest.fixture
def root(shop: Snapshot, tmp_path: Path) -> Path:
    """A copy of the shop's snapshots to be spoiled."""
    return Path(shutil.copytree(shop.folder.parent, tmp_path / "snapshots"))


def version(root: Path) -> Path:
    return root / read_current(root)


def test_opens_the_current_one_and_one_by_id(root: Path, shop: Snapshot) -> None:
    assert open_snapshot(root, verify=True).id == open_snapshot(root, shop.id).id == shop.id
    assert open_snapshot(root).schema == shop.schema


def test_no_snapshot_yet(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="kincast build"):
        open_snapshot(tmp_path / "nowhere")
    assert list_snapshots(tmp_path / "nowhere") == []


@pytest.mark.parametrize("id", ["0123456789abcdef", "../snapshots", "", "ABC"])
def test_unknown_id_names_those_there_are(root: Path, shop: Snapshot, id: str) -> None:
    with pytest.raises(SnapshotError, match=shop.id):
        open_snapshot(root, id)


def test_a_flipped_bit_in_any_file_is_found_by_verify(root: Path) -> None:
    folder = version(root)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 4 + 3 + 12 + 1
    for number, path in enumerate(files):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            spoiled = bytearray(whole)
            spoiled[place] ^= 1 << number % 8
            path.write_bytes(spoiled)
            with pytest.raises(SnapshotError) as caught:
                open_snapshot(root, verify=True)
            assert path.name in str(caught.value)
        path.write_bytes(whole)
    open_snapshot(root, verify=True)


def test_a_flipped_bit_in_the_manifest_is_found_at_every_open(root: Path) -> None:
    path = version(root) / "manifest.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 29):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << place % 8
        path.write_bytes(spoiled)
        with pytest.raises(SnapshotError, match=r"manifest\.json"):
            open_snapshot(root)


def test_a_missing_or_shortened_file_is_found_at_every_open(root: Path) -> None:
    for path in [path for path in version(root).rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        for spoil in (lambda p: p.unlink(), lambda p, w=whole: p.write_bytes(w[:-1])):
            spoil(path)
            with pytest.raises(SnapshotError) as caught:
                open_snapshot(root)
            assert path.name in str(caught.value)
            assert list_snapshots(root)[0].problem
            path.write_bytes(whole)
    assert list_snapshots(root)[0].problem is None


def test_swapped_files_are_found_by_verify(root: Path) -> None:
    folder = version(root)
    one, two = folder / "link/0.offsets.npy", folder / "link/1.offsets.npy"
    assert one.stat().st_size == two.stat().st_size
    first, second = one.read_bytes(), two.read_bytes()
    assert first != second
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(SnapshotError, match="does not match its hash"):
        open_snapshot(root, verify=True)


def test_another_format_says_so(root: Path) -> None:
    path = version(root) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(SnapshotError, match="has format 99, this Kincast reads format 1"):
        open_snapshot(root)


@pytest.mark.parametrize("text", ["", "garbage", "[]", "{}", "{" * 100_000])
def test_a_manifest_that_is_none(root: Path, text: str) -> None:
    (version(root) / "manifest.json").write_text(text)
    with pytest.raises(SnapshotError, match=r"manifest\.json"):
        open_snapshot(root)


@pytest.mark.parametrize("text", ["", "garbage", "0123456789abcdef", "../../../etc/abc\n"])
def test_a_damaged_pointer_is_named(root: Path, text: str) -> None:
    (root / "current").write_text(text)
    with pytest.raises(SnapshotError, match="current: is damaged"):
        open_snapshot(root)


def test_a_renamed_version_is_refused(root: Path) -> None:
    version(root).rename(root / "0123456789abcdef")
    with pytest.raises(SnapshotError, match="holds snapshot"):
        open_snapshot(root, "0123456789abcdef")
