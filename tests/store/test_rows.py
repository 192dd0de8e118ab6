"""Rows: published whole, looked up exactly."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast import atomic
from kincast.errors import DataError, StorageError
from kincast.store import rows as module
from kincast.store.rows import Stamp, Store, open_store, publish

STAMP = Stamp("churn-20261120T140501-3fa9c1", "00112233aabbccdd", 5, 6)


def vectors(n: int, d: int = 3, base: float = 0.0) -> np.ndarray:
    return (np.arange(n * d, dtype=np.float32) + np.float32(base)).reshape(n, d)


def put(root: Path, keys: Any, base: float = 0.0, name: str = "churn.embeddings") -> Store:
    table = keys if isinstance(keys, pa.Table) else pa.table({"id": keys})
    return publish(root, name, table, vectors(len(table), base=base), STAMP)


@settings(deadline=None, max_examples=25)
@given(
    keys=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=60),
    wanted=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
)
def test_integer_keys_are_found_exactly(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], wanted: list[int]
) -> None:
    store = put(tmp_path_factory.mktemp("s"), pa.array(keys, pa.int64()))
    _agree(store, keys, [*keys, *wanted])
    _agree(store, [str(key) for key in keys], [str(key) for key in [*keys, *wanted]])


@settings(deadline=None, max_examples=25)
@given(
    keys=st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=40),
    wanted=st.lists(st.text(), max_size=20),
)
def test_text_keys_are_found_exactly(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], wanted: list[str]
) -> None:
    store = put(tmp_path_factory.mktemp("s"), pa.array(keys, pa.string()))
    _agree(store, keys, [*keys, *wanted])


def _agree(store: Store, keys: list[Any], wanted: list[Any]) -> None:
    expected = dict(zip(keys, vectors(len(keys)), strict=True))
    values, found = store.lookup(wanted)
    assert found.tolist() == [key in expected for key in wanted]
    for key, value in zip(wanted, values, strict=True):
        one = store.get(key)
        if key in expected:
            assert np.array_equal(value, expected[key])
            assert np.array_equal(one, expected[key])
        else:
            assert np.isnan(value).all()
            assert one is None


def test_equal_hashes_do_not_confuse_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clash(data: Any, offsets: Any) -> Any:
        return np.full(len(offsets) - 1, 7, np.uint64)

    monkeypatch.setattr(module, "hash_bytes", clash)
    monkeypatch.setattr(module, "hash_one", lambda key: 7)
    keys = [f"k{i}" for i in range(20)]
    store = put(tmp_path, keys)
    for i, key in enumerate(keys):
        assert np.array_equal(store.get(key), vectors(20)[i])
    assert store.get("k20") is None
    with pytest.raises(DataError, match="1 keys are there twice, such as k3"):
        put(tmp_path, [*keys, "k3"])


def test_what_is_no_key_is_not_the_empty_text(tmp_path: Path) -> None:
    store = put(tmp_path, ["", "a"])
    assert store.lookup([None, "", [], 5.5])[1].tolist() == [False, True, False, False]
    assert store.get(None) is None
    assert store.get("").tolist() == [0, 1, 2]


def test_composite_keys(tmp_path: Path) -> None:
    table = pa.table({"date": ["2024-01-01", "2024-01-01", "2024-01-02"], "home": pa.array([1, 2, 1], pa.int32())})
    store = put(tmp_path, table)
    values, found = store.lookup([("2024-01-02", 1), ["2024-01-01", "2"], ("2024-01-02", 2), "2024-01-02", (1,)])
    assert found.tolist() == [True, True, False, False, False]
    assert values[:2].tolist() == vectors(3)[[2, 1]].tolist()
    assert store.key_names == ("date", "home")
    assert store.lookup(table)[1].all()
    assert store.get(("2024-01-01", 1)).tolist() == [0, 1, 2]


def test_unsigned_keys_at_the_end_of_their_range(tmp_path: Path) -> None:
    store = put(tmp_path, pa.array([0, 2**64 - 1], pa.uint64()))
    assert store.get(-1) is None
    assert store.get(2**64 - 1).tolist() == [3, 4, 5]
    assert store.lookup([-1, 2**64 - 1, 2**64])[1].tolist() == [False, True, False]


def test_huge_integers_are_simply_unknown(tmp_path: Path) -> None:
    store = put(tmp_path, [1, 2])
    assert store.get(2**64 + 1) is None
    assert store.lookup([2**64 + 1, 1])[1].tolist() == [False, True]


def test_records_come_back_as_they_went_in(tmp_path: Path) -> None:
    records = pa.table({"score": [0.1, 0.2, 0.3], "class": ["a", None, "c"]})
    store = publish(tmp_path, "churn.predictions", pa.table({"id": [30, 10, 20]}), records, STAMP)
    values, found = store.lookup([20, 99, 30])
    assert values.to_pydict() == {"score": [0.3, None, 0.1], "class": ["c", None, "a"]}
    assert found.tolist() == [True, False, True]
    assert store.get(10) == {"score": 0.2, "class": None}
    assert store.get(11) is None


def test_all_rows_can_be_read_beside_their_keys(tmp_path: Path) -> None:
    store = put(tmp_path, ["b", "a", "c"])
    by_key = dict(zip(store.keys().column("id").to_pylist(), store.values().tolist(), strict=True))
    assert by_key == {"b": [0, 1, 2], "a": [3, 4, 5], "c": [6, 7, 8]}


def test_empty_namespace(tmp_path: Path) -> None:
    for keys in (pa.array([], pa.int64()), pa.array([], pa.string())):
        store = put(tmp_path, keys)
        assert len(open_store(tmp_path, store.name)) == 0
        values, found = store.lookup(["1", 2])
        assert (values.shape, found.tolist()) == ((2, 3), [False, False])
        assert store.get(1) is None
        assert store.lookup([])[0].shape == (0, 3)


def test_stamp_comes_back_with_the_rows_counted(tmp_path: Path) -> None:
    stamp = open_store(tmp_path, put(tmp_path, [1, 2]).name).stamp
    assert stamp == Stamp(STAMP.version_id, STAMP.snapshot_id, 5, 6, {"rows": 2})


def test_reader_keeps_its_version_until_it_refreshes(tmp_path: Path) -> None:
    first = put(tmp_path, [1, 2])
    for base in (100, 200, 300, 400):
        put(tmp_path, [2, 3], base=base)
    assert first.get(1).tolist() == [0, 1, 2]
    assert first.get(3) is None
    newest = first.refresh()
    assert newest.get(3).tolist() == [403, 404, 405]
    assert newest.get(1) is None
    assert newest.refresh() is newest


def test_last_three_versions_are_kept(tmp_path: Path) -> None:
    stores = [put(tmp_path, [1], base=base) for base in range(5)]
    home = tmp_path / "churn.embeddings"
    assert sorted(path.name for path in home.iterdir()) == [*(s.folder.name for s in stores[2:]), "current"]


def test_readers_never_see_a_mix_while_a_writer_publishes(tmp_path: Path) -> None:
    keys = list(range(50))
    put(tmp_path, keys)
    done = threading.Event()
    wrong: list[Any] = []

    def read() -> None:
        store = open_store(tmp_path, "churn.embeddings")
        while not done.is_set():
            store = store.refresh()
            values, found = store.lookup(keys)
            if not found.all() or len(np.unique(values - vectors(50))) != 1:
                wrong.append(values)

    reader = threading.Thread(target=read)
    reader.start()
    for base in range(1, 12):
        put(tmp_path, keys, base=base * 1000)
    done.set()
    reader.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ({"id": [1, 2, 1, 2, 3]}, vectors(5), "2 keys are there twice, such as"),
        ({"id": ["a", "b", "a"]}, vectors(3), "1 keys are there twice, such as a"),
        ({"id": [1, None]}, vectors(2), "1 keys are null"),
        ({"id": [1, 2]}, vectors(3), "2 keys and 3 rows"),
        ({"id": [1, 2]}, np.zeros(2, np.float32), "must be"),
        ({"id": [1, 2]}, np.zeros((2, 1), np.int64), "must be"),
        ({}, vectors(0), "at least one key column"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, keys: Any, values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        publish(tmp_path, "x", pa.table(keys), values, STAMP)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".x"])
def test_wrong_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="cannot name a store"):
        open_store(tmp_path, name)


def test_missing_namespace_names_those_there_are(tmp_path: Path) -> None:
    put(tmp_path, [1])
    with pytest.raises(StorageError, match="nothing is published as 'spend'") as caught:
        open_store(tmp_path, "spend")
    assert caught.value.hint == "published: churn.embeddings"


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("s")
    store = put(root, ["a", "b", "c"])
    paths = sorted(path for path in store.folder.iterdir() if path.name != "manifest.json")
    path = data.draw(st.sampled_from(paths))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        open_store(root, store.name)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 9}', '{"format":1,"stamp":{},"shift":1,"files":{}}'])
def test_damaged_manifest(tmp_path: Path, text: str) -> None:
    store = put(tmp_path, [1])
    (store.folder / "manifest.json").write_text(text)
    with pytest.raises(StorageError, match="damaged"):
        open_store(tmp_path, store.name)


@pytest.mark.parametrize("text", ["", "../../etc", "00000009-aaaaaa"])
def test_damaged_pointer(tmp_path: Path, text: str) -> None:
    store = put(tmp_path, [1])
    (tmp_path / store.name / "current").write_text(text)
    with pytest.raises(StorageError, match="damaged"):
        open_store(tmp_path, store.name)


def test_truncated_file_is_found_without_hashing(tmp_path: Path) -> None:
    store = put(tmp_path, list(range(100)))
    path = store.folder / "values.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StorageError, match="damaged"):
        open_store(tmp_path, store.name, verify=False)


def test_disk_full_keeps_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = put(tmp_path, [1])

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with pytest.raises(StorageError, match="No space left"):
        put(tmp_path, [2])
    assert open_store(tmp_path, store.name).get(1) is not None
    assert sorted(path.name for path in store.folder.parent.iterdir()) == [store.folder.name, "current"]
