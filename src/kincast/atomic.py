"""Atomic: folders and files that appear whole or not at all, whatever moment the machine stops."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from kincast.errors import StorageError

# Names that start so are half-written; readers and listings leave them out.
PARTIAL = ".partial-"
# What is half-written is removed by a later writer when nobody holds its lock and it is this old: time enough to
# take the lock after making a folder, and to write a small file.
_ABANDONED_AFTER_S = 60.0


@contextlib.contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``target`` and rename it to ``target`` when the block ends well.

    Every file and folder in it is flushed to the disk first. When the block or the disk fails, the temporary folder
    is removed and nothing is left at ``target``. What a killed process left beside it is removed too.

    Args:
        target: folder to make; its parents are made when missing.

    Raises:
        StorageError: the disk refused, or ``target`` is already there.

    Example:
        with publish_folder(Path("snapshots/3fa9c1")) as folder:
            (folder / "manifest.json").write_text("{}")
    """
    temporary = _temporary(target)
    _remove_abandoned(target.parent)
    try:
        with storage_errors(target), contextlib.ExitStack() as stack:
            temporary.mkdir(parents=True)
            stack.enter_context(_lock(temporary))
            yield temporary
            _flush_tree(temporary)
            if target.exists():
                raise StorageError("is already there and is never overwritten", where=str(target))
            temporary.rename(target)
            _flush(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give an empty folder that is gone when the block ends; after a kill, the next one made here removes it.

    Args:
        parent: where to make it; made when missing.

    Raises:
        StorageError: the disk refused to make it.
    """
    folder = _temporary(parent / "scratch")
    _remove_abandoned(parent)
    with contextlib.ExitStack() as stack:
        with storage_errors(parent):
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(parents=True)
            stack.enter_context(_lock(folder))
        yield folder


def replace_text(path: Path, text: str) -> None:
    """``replace_bytes`` for text, written as UTF-8."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old content or the new one, never a mix.

    Args:
        path: file to write; its parents are made when missing.
        content: its new content.

    Raises:
        StorageError: the disk refused.
    """
    temporary = _temporary(path)
    _remove_abandoned(path.parent)
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a ``StorageError`` that names the target and the remedy.

    Args:
        target: what was being written.

    Raises:
        StorageError: the block raised an ``OSError``, such as a full, read-only or failing disk.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        hint = "free some space, or check that the folder can be written; nothing half-written was kept"
        raise StorageError(f"cannot be written: {reason}", where=str(target), hint=hint) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    # The kernel drops the lock when its process dies, however it dies.
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _temporary(target: Path) -> Path:
    return target.parent / f"{PARTIAL}{target.name}-{os.getpid()}-{secrets.token_hex(4)}"


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
                with _lock(path):
                    path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def _flush_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush(Path(parent) / name)
        _flush(Path(parent))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
