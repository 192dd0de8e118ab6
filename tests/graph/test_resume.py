"""A build that was killed goes on from the tables that were staged, if the source is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.kills import SCHEMA, make_source

from kincast.errors import SourceError
from kincast.graph.build import build_snapshot
from kincast.graph.open import open_snapshot
from kincast.source.clean import Cleaning

HOME = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from benchmarks.kills import SCHEMA
from kincast.graph.build import build_snapshot
from kincast.source.open import open_source
def progress(step, done, total):
    if step == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
build_snapshot(open_source(sys.argv[1]), SCHEMA, Path(sys.argv[2]), progress)
"""


def kill_at(step: str, source: Path, root: Path) -> None:
    """Build in a process of its own that dies when it comes to that step."""
    command = [sys.executable, "-c", KILLED, str(source), str(root), step]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), str(HOME / "src")])}
    assert subprocess.run(command, env=env, check=False).returncode == -signal.SIGKILL
    assert len(list(root.glob(".building-*.token"))) == 1


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables staged in this process."""
    found: list[str] = []
    real = Cleaning.run

    def run(self: Cleaning, *arguments: object) -> object:
        found.append(self.table.name)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Cleaning, "run", run)
    return found


@pytest.mark.parametrize(
    ("step", "kind", "left"),
    [("write users", "parquet", ["users", "names"]), ("links", "parquet", []), ("publish", "duckdb", [])],
)
def test_goes_on_where_the_killed_one_was(
    tmp_path: Path, staged: list[str], step: str, kind: str, left: list[str]
) -> None:
    source = make_source(tmp_path / "data", 200, 1, kind)
    expected = build_snapshot(source, SCHEMA, tmp_path / "undisturbed").id
    root = tmp_path / "snapshots"
    kill_at(step, tmp_path / "data" / ("all.duckdb" if kind == "duckdb" else ""), root)
    staged.clear()
    assert build_snapshot(source, SCHEMA, root).id == expected
    assert staged == left
    assert open_snapshot(root, verify=True).id == expected
    assert {path.name for path in root.iterdir()} == {".lock", "current", expected}


def test_starts_anew_when_a_file_was_written(tmp_path: Path, staged: list[str]) -> None:
    make_source(tmp_path / "data", 200, 1)
    kill_at("links", tmp_path / "data", tmp_path / "snapshots")
    source = make_source(tmp_path / "data", 200, 2)
    expected = build_snapshot(source, SCHEMA, tmp_path / "undisturbed").id
    staged.clear()
    assert build_snapshot(source, SCHEMA, tmp_path / "snapshots").id == expected
    assert staged == ["events", "users", "names"]


def test_a_table_cut_short_is_staged_again(tmp_path: Path, staged: list[str]) -> None:
    source = make_source(tmp_path / "data", 200, 1)
    expected = build_snapshot(source, SCHEMA, tmp_path / "undisturbed").id
    kill_at("links", tmp_path / "data", tmp_path / "snapshots")
    (path,) = (tmp_path / "snapshots").glob(".building-*/tables/users.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    staged.clear()
    assert build_snapshot(source, SCHEMA, tmp_path / "snapshots").id == expected
    assert staged == ["users"]


def test_a_file_written_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path / "data", 200, 1)

    def progress(step: str, done: int, total: int | None) -> None:
        if step == "write users":
            make_source(tmp_path / "data", 200, 2)

    with pytest.raises(SourceError, match="was written to while it was read"):
        build_snapshot(source, SCHEMA, tmp_path / "snapshots", progress)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [".lock"]


def test_rows_read_in_place_and_rows_that_are_streamed_give_the_same_version(tmp_path: Path) -> None:
    ids = {
        build_snapshot(make_source(tmp_path / kind, 500, 3, kind), SCHEMA, tmp_path / f"{kind}-snapshots").id
        for kind in ("parquet", "duckdb")
    }
    assert len(ids) == 1
