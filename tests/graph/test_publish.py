"""Publishing: all or nothing, at every step, whoever else is at it."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kincast.errors import SnapshotError
from kincast.graph.history import read_current
from kincast.graph.manifest import Manifest, check_hashes, make_manifest, read_manifest
from kincast.graph.publish import building, publish, save_parts
from kincast.schema import Schema


def publish_number(root: Path, number: int) -> Manifest:
    """Publish a version with one array in it."""
    with building(root) as folder:
        save_parts(folder / "link/0.rows.npy", np.int64, 3, [np.full(3, number)])
        manifest = make_manifest(folder, Schema(()), num_rows={}, num_edges={}, counts={}, max_time_us=number)
        publish(root, folder, manifest)
    return manifest


@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_a_refusal_at_any_step_leaves_the_version_before(
    tmp_path: Path, failing_disk: Any, for_good: bool, exists: bool
) -> None:
    if exists:
        publish_number(tmp_path, 2)
    before = publish_number(tmp_path, 1)
    names = {path.name for path in tmp_path.iterdir()}
    fail_at, build = 1, lambda: publish_number(tmp_path, 2)
    while (after := failing_disk.attempt(fail_at, build, for_good)) is None:
        # If the disk refuses everything, the finished version may stay where it was put, but nothing points at it.
        left = {path.name for path in tmp_path.iterdir()} - names
        assert not left or for_good
        for name in left:
            check_hashes(tmp_path / name, read_manifest(tmp_path / name))
        assert read_current(tmp_path) == before.id
        check_hashes(tmp_path / before.id, read_manifest(tmp_path / before.id))
        fail_at += 1
    assert fail_at > 8
    assert read_current(tmp_path) == after.id != before.id
    check_hashes(tmp_path / after.id, read_manifest(tmp_path / after.id))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_builder_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with building(tmp_path) as folder:
            save_parts(folder / "link/0.rows.npy", np.int64, 3, [np.arange(3)])
            raise error

    with pytest.raises(error):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_id_depends_on_every_part(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"1")
    usual: dict[str, Any] = {"num_rows": {"t": 1}, "num_edges": {}, "counts": {}, "max_time_us": 5}

    def id(**changes: Any) -> str:
        return make_manifest(tmp_path, Schema(()), **{**usual, **changes}).id

    ids = [id(), id(num_rows={"t": 2}), id(num_edges={"l": 0}), id(counts={"t": 0}), id(max_time_us=6), id(parent="x")]
    (tmp_path / "a.npy").write_bytes(b"2")
    ids.append(id())
    assert len(set(ids)) == len(ids)


def test_no_pointer_no_version(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="there is no snapshot yet"):
        read_current(tmp_path)


def test_publishing_from_many_threads(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        manifests = list(pool.map(lambda i: publish_number(tmp_path, i % 3), range(8)))
    assert {manifest.id for manifest in manifests} >= {read_current(tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "current", *(m.id for m in manifests)}
    for manifest in manifests:
        check_hashes(tmp_path / manifest.id, read_manifest(tmp_path / manifest.id))


KILLED = """
import os, signal, sys
from pathlib import Path
from kincast.graph.publish import building
with building(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("built", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_builder_left_goes_with_the_next_one(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, check=False)
    assert (killed.stdout, killed.returncode) == (b"built\n", -signal.SIGKILL)
    assert [path.name for path in tmp_path.rglob("half")] == ["half"]
    manifest = publish_number(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "current", manifest.id}
