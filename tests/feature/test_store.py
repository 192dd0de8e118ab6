"""The features on disk: made once, held against their hashes whenever they are opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.graph.conftest import SCHEMA, write_shop

from kincast.atomic import publish_folder
from kincast.errors import StorageError
from kincast.feature import store
from kincast.feature.fit import fit_features
from kincast.feature.spec import FeatureSpec
from kincast.feature.store import open_features
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("shop")
    return build_snapshot(write_shop(folder / "shop.duckdb"), SCHEMA, folder / "snapshots")


@pytest.fixture(scope="module")
def spec(snapshot: Snapshot) -> FeatureSpec:
    return fit_features(snapshot, snapshot.max_time_us)


def test_a_flipped_bit_in_any_file_is_found(snapshot: Snapshot, spec: FeatureSpec, tmp_path: Path) -> None:
    folder = open_features(snapshot, spec, tmp_path).folder
    files = sorted(folder.iterdir())
    assert len(files) == 3 + 1
    for path in files:
        whole = path.read_bytes()
        spoiled = bytearray(whole)
        spoiled[len(whole) // 2] ^= 4
        for content in (bytes(spoiled), whole[:-1], None):
            path.unlink() if content is None else path.write_bytes(content)
            with pytest.raises(StorageError, match=r"is (damaged|missing)") as caught:
                open_features(snapshot, spec, tmp_path)
            assert str(folder) in str(caught.value)
            assert "delete the folder" in str(caught.value)
            path.write_bytes(whole)
    open_features(snapshot, spec, tmp_path)
    shutil.rmtree(folder)
    assert open_features(snapshot, spec, tmp_path).folder == folder


def test_a_manifest_that_is_no_manifest(snapshot: Snapshot, spec: FeatureSpec, tmp_path: Path) -> None:
    path = open_features(snapshot, spec, tmp_path).folder / "manifest.json"
    for content in ("", "[]", "{}", json.dumps({"files": []}), "\0" * 9):
        path.write_text(content)
        with pytest.raises(StorageError, match=r"manifest\.json"):
            open_features(snapshot, spec, tmp_path)


def test_another_process_that_was_faster(
    snapshot: Snapshot, spec: FeatureSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = open_features(snapshot, spec, tmp_path / "theirs")
    encode = store.write_records

    def overtaken(*arguments: object) -> object:
        if not (tmp_path / "ours" / theirs.folder.name).is_dir():
            with publish_folder(tmp_path / "ours" / theirs.folder.name) as draft:
                shutil.copytree(theirs.folder, draft, dirs_exist_ok=True)
        return encode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "write_records", overtaken)
    ours = open_features(snapshot, spec, tmp_path / "ours")
    rows = np.arange(5)
    assert np.array_equal(ours.tables["orders"].gather(rows).numbers, theirs.tables["orders"].gather(rows).numbers)
    assert [path.name for path in (tmp_path / "ours").iterdir()] == [theirs.folder.name]
