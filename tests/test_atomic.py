"""Atomic: whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kincast import atomic
from kincast.atomic import publish_folder, replace_text, scratch_folder
from kincast.errors import StorageError


def test_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "one"
    with publish_folder(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text("a")
        assert not target.exists()
        assert folder.parent == target.parent
    assert (target / "inner" / "a.txt").read_text() == "a"
    assert [path.name for path in target.parent.iterdir()] == ["one"]


def test_failing_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError), publish_folder(tmp_path / "one") as folder:
        (folder / "a.txt").write_text(1)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), publish_folder(tmp_path / "one"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_disk_full_in_the_block_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No space left on device") as caught, publish_folder(tmp_path / "one"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.where == str(tmp_path / "one")
    assert caught.value.hint is not None
    assert list(tmp_path.iterdir()) == []


def test_disk_failing_at_the_flush_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with pytest.raises(StorageError, match="cannot be written"), publish_folder(tmp_path / "one") as folder:
        (folder / "a.txt").write_text("a")
    with pytest.raises(StorageError, match="cannot be written"):
        replace_text(tmp_path / "current", "one")
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "one"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(StorageError, match="already there"), publish_folder(target) as folder:
        (folder / "new.txt").write_text("new")
    assert [path.name for path in target.iterdir()] == ["old.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_parent_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"), publish_folder(tmp_path / "file" / "one"):
        pytest.fail("the block must not run")


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "current"
    replace_text(path, "one\n")
    replace_text(path, "zwei ä\n")
    assert path.read_text(encoding="utf-8") == "zwei ä\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["current"]


def test_failed_replacement_keeps_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "current"
    replace_text(path, "one")

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match="Read-only"):
        replace_text(path, "two")
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["current"]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    dead = tmp_path / ".partial-one-1-aa"
    dead.mkdir()
    with publish_folder(tmp_path / "living") as living:
        for folder in (dead, living):
            os.utime(folder, (0, 0))
        with publish_folder(tmp_path / "two"):
            pass
        assert living.exists()
        assert not dead.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"living", "two"}


def test_what_killed_writers_of_files_and_scratch_folders_left_is_removed(tmp_path: Path) -> None:
    dead = [tmp_path / ".partial-notes.json-1-aa", tmp_path / ".partial-scratch-1-bb"]
    dead[0].write_text("half")
    dead[1].mkdir()
    with scratch_folder(tmp_path) as living:
        (living / "rows").write_text("1")
        for path in (*dead, living):
            os.utime(path, (0, 0))
        replace_text(tmp_path / "notes.json", "{}")
        assert living.exists()
        assert not any(path.exists() for path in dead)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.json"]
