"""Version: a self-contained, verified folder."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.registry.examples import WEIGHTS, version, version_info

from kincast.errors import StorageError, VersionError
from kincast.registry import version as module
from kincast.registry.folder import MANIFEST_FILE
from kincast.registry.version import FILES, VersionInfo, list_versions, load_version, save_version


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = version(tmp_path)
    loaded = load_version(tmp_path, saved.info.id)
    assert saved.info.id.startswith("churn-20261120T140501-")
    assert loaded.info.as_dict() == saved.info.as_dict()  # where NaN, which differs from itself, is null
    assert loaded.features == {"tables": {"orders": {"mean": [1.5]}}}
    weights = loaded.weights()
    assert {name: w.dtype for name, w in weights.items()} == {n: w.dtype for n, w in WEIGHTS.items()}
    assert all(np.array_equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert sorted(p.name for p in saved.folder.iterdir()) == sorted((*FILES, MANIFEST_FILE))


def test_same_content_is_the_same_version_and_other_weights_another(tmp_path: Path) -> None:
    first, again = version(tmp_path), version(tmp_path)
    other = save_version(tmp_path, version_info(), {"head.bias": np.ones(2, np.float32)}, {})
    assert first.info.id == again.info.id != other.info.id
    assert set(list_versions(tmp_path)) == {first.info.id, other.info.id}


def test_versions_are_listed_oldest_first_whatever_the_task(tmp_path: Path) -> None:
    late = version(tmp_path, task="a", created_us=2_000_000)
    early = version(tmp_path, task="z é/..", created_us=1_000_000)
    assert list_versions(tmp_path) == [early.info.id, late.info.id]
    assert early.folder.parent == tmp_path
    assert list_versions(tmp_path / "none") == []


def test_weights_that_are_views_are_saved_as_they_read(tmp_path: Path) -> None:
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    saved = save_version(tmp_path, version_info(), {"w": view}, {})
    assert np.array_equal(load_version(tmp_path, saved.info.id).weights()["w"], view)


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    saved = version(tmp_path)
    (saved.folder / name).unlink()
    with pytest.raises(VersionError, match="missing") as caught:
        load_version(tmp_path, saved.info.id)
    assert caught.value.where == str(saved.folder / name)


@settings(deadline=None, max_examples=25)
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, name: str, place: float, bit: int) -> None:
    root = tmp_path_factory.mktemp("versions")
    saved = version(root)
    path = saved.folder / name
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(VersionError, match="damaged") as caught:
        load_version(root, saved.info.id)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": {}}', '{"format": 99}'])
def test_damaged_manifest_is_a_version_error(tmp_path: Path, text: str) -> None:
    saved = version(tmp_path)
    (saved.folder / MANIFEST_FILE).write_text(text)
    with pytest.raises(VersionError) as caught:
        load_version(tmp_path, saved.info.id)
    assert caught.value.where == str(saved.folder / MANIFEST_FILE)


def test_weights_lost_after_opening_are_a_version_error(tmp_path: Path) -> None:
    saved = version(tmp_path)
    (saved.folder / "weights.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(VersionError, match="weights cannot be read"):
        saved.weights()


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "churn", "churn-20261120T140501-3fa9c1", "a\0b"])
def test_unknown_id_is_a_version_error_that_lists_the_known(tmp_path: Path, id: str) -> None:
    saved = version(tmp_path)
    with pytest.raises(VersionError, match="there is no version") as caught:
        load_version(tmp_path, id)
    assert caught.value.hint is not None
    assert saved.info.id in caught.value.hint


def test_renamed_folder_is_refused(tmp_path: Path) -> None:
    saved = version(tmp_path)
    saved.folder.rename(tmp_path / "other-20261120T140501-3fa9c1")
    with pytest.raises(VersionError, match="holds version churn-"):
        load_version(tmp_path, "other-20261120T140501-3fa9c1")


def test_what_is_not_plain_json_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for features in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(VersionError, match="plain JSON"):
            save_version(tmp_path, version_info(), WEIGHTS, features)
    with pytest.raises(VersionError, match="plain JSON"):
        save_version(tmp_path, version_info(settings={"x": {1, 2}}), WEIGHTS, {})
    with pytest.raises(VersionError, match="not a NumPy array"):
        save_version(tmp_path, version_info(), {"w": [1.0]}, {})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_disk_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def refuse(self: Path, data: bytes) -> int:
        if self.name == "weights.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match="No space left"):
        version(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_info_round_trips_through_json() -> None:
    info = version_info(baselines={}, metrics={})
    assert VersionInfo.from_dict(json.loads(json.dumps(info.as_dict()))) == info
    assert module.canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}\n'.encode()
