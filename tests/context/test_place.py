"""A source without a project is read once, and again when its files have changed."""

from __future__ import annotations

import stat
from pathlib import Path

import duckdb
import pytest

import kincast
from kincast.context.place import cache_folder, place_of, read_at_us, snapshot_of
from kincast.errors import ProjectError, SourceError
from kincast.graph.open import open_snapshot
from kincast.project import Project
from kincast.testing.tiny import tiny_database

QUERY = "PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR customers.customer_id IN (1, 2)"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kincast"


def test_a_source_is_read_once_until_its_file_changes(tmp_path: Path, cache: Path) -> None:
    path = tiny_database(tmp_path)
    answer = kincast.ask(path, QUERY)
    assert len(answer.predictions) == 2
    (folder,) = cache.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {child.name for child in folder.iterdir()} == {"schema.yaml", "origin.json", ".kincast"}
    first = read_at_us(place_of(path))
    assert kincast.ask(str(path), QUERY).snapshot == answer.snapshot
    assert read_at_us(place_of(path)) == first
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM orders WHERE order_id = 300")
    changed = place_of(path)
    assert read_at_us(changed) != first
    assert open_snapshot(changed.snapshots).id != answer.snapshot
    assert place_of(path, fresh=True).folder == folder
    assert read_at_us(changed) not in (first, None)


def test_a_folder_with_a_project_is_that_project(tmp_path: Path) -> None:
    (tmp_path / "kincast.yaml").write_text(f"source: {tiny_database(tmp_path)}\n")
    project = place_of(tmp_path)
    assert (project.folder, read_at_us(project)) == (tmp_path, None)
    with pytest.raises(ProjectError, match="no schema card"):
        snapshot_of(project)
    assert not cache_folder().exists()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        kincast.ask(tmp_path / "none.duckdb", QUERY)
    with pytest.raises(ProjectError, match="no schema card"):
        kincast.ask(Project(folder=tmp_path, source="none.duckdb"), QUERY)
