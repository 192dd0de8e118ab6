"""History: one chain, whoever publishes; what was current when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kincast.errors import SnapshotError
from kincast.graph import history
from kincast.graph.history import CURRENT_FILE, current_at, extended, read_current, read_history

IDS = [f"{number:016x}" for number in range(1, 6)]


def told(root: Path, *instants: int) -> None:
    """A history of ids 1, 2, … that became current at those instants."""
    for id, at_us in zip(IDS, instants, strict=False):
        before = read_history(root) if (root / CURRENT_FILE).exists() else []
        (root / CURRENT_FILE).write_text(extended(before, id, at_us))


def test_newest_first_with_numbers_and_instants(tmp_path: Path) -> None:
    told(tmp_path, 10, 20, 15)  # the clock was put back
    assert read_current(tmp_path) == IDS[2]
    assert [(p.number, p.at_us, p.id) for p in read_history(tmp_path)] == [
        (3, 20, IDS[2]),
        (2, 20, IDS[1]),
        (1, 10, IDS[0]),
    ]


@pytest.mark.parametrize(("at_us", "expected"), [(10, 0), (19, 0), (20, 1), (39, 2), (10**18, 3)])
def test_which_was_current(tmp_path: Path, at_us: int, expected: int) -> None:
    told(tmp_path, 10, 20, 30, 40)
    assert current_at(tmp_path, at_us) == IDS[expected]
    with pytest.raises(SnapshotError, match="no snapshot was current at that instant"):
        current_at(tmp_path, 9)


def test_any_changed_bit_is_noticed(tmp_path: Path) -> None:
    told(tmp_path, 10, 20, 30)
    path = tmp_path / CURRENT_FILE
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoiled)
        with pytest.raises(SnapshotError, match="is damaged"):
            read_current(tmp_path)


def test_lines_taken_out_or_swapped_are_noticed(tmp_path: Path) -> None:
    told(tmp_path, 10, 20, 30, 40)
    path = tmp_path / CURRENT_FILE
    first, *lines = path.read_text().splitlines()
    for changed in (lines[:1] + lines[2:], lines[1:], [lines[1], lines[0], *lines[2:]], [*lines, lines[0]]):
        path.write_text("\n".join([first, *changed]) + "\n")
        with pytest.raises(SnapshotError, match="is damaged"):
            read_current(tmp_path)


def test_a_file_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    told(tmp_path, 10, 20, 30)
    path = tmp_path / CURRENT_FILE
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SnapshotError, match="is damaged"):
            read_current(tmp_path)


def test_old_publications_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_ENTRIES", 3)
    told(tmp_path, 10, 20, 30, 40, 50)
    assert [p.number for p in read_history(tmp_path)] == [5, 4, 3]
    with pytest.raises(SnapshotError, match="no snapshot was current"):
        current_at(tmp_path, 25)


PUBLISHER = """
import sys
from pathlib import Path
import numpy as np
from kincast.graph.manifest import make_manifest
from kincast.graph.publish import building, publish, save_parts
from kincast.schema import Schema
root, first = Path(sys.argv[1]), int(sys.argv[2])
sys.stdin.readline()
for number in range(first, first + 5):
    with building(root) as folder:
        save_parts(folder / "link/0.rows.npy", np.int64, 3, [np.full(3, number)])
        manifest = make_manifest(folder, Schema(()), num_rows={}, num_edges={}, counts={}, max_time_us=number)
        publish(root, folder, manifest)
"""


def test_many_processes_at_once_make_one_chain(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(tmp_path), str(100 * number)],
            stdin=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        for number in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
        assert process.returncode == 0
    found = read_history(tmp_path)
    assert [p.number for p in found] == list(range(20, 0, -1))
    assert len({p.id for p in found}) == 20
    assert [p.at_us for p in found] == sorted((p.at_us for p in found), reverse=True)
    assert read_current(tmp_path) == found[0].id
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "current", *(p.id for p in found)}
