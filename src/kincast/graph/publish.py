"""Publish: how a finished folder becomes a version at one instant, or not at all.

A builder works in ``.building-<token>`` beside the versions and holds a lock on ``.building-<token>.lock`` while it
lives. Publication renames the folder to its id and then replaces the file ``current``, both under the lock ``.lock``,
so that any number of publishers makes one history. The kernel gives up the locks of a process that dies. A crash at any
instant leaves the last good version current; what a dead builder left is removed by the next one, unless that one
builds from the same rows and goes on with what is there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.atomic import storage_errors
from kincast.errors import DataError, SnapshotError
from kincast.graph.history import CURRENT_FILE, Publication, extended, read_current, read_history
from kincast.graph.manifest import MANIFEST_FILE, Manifest, check_hashes, read_manifest

REMOVED = ".removed-"
"""How the name of a version begins that is being removed."""

_BUILDING = ".building-"
_LOCK_FILE = ".lock"
_TOKEN = ".token"


@contextmanager
def building(root: Path, token: str | None = None) -> Iterator[Path]:
    """A folder to build a version in; it is gone afterwards unless it was published.

    Args:
        root: folder of all versions; made when missing.
        token: stands for the rows to build from. If a builder with the same token was killed, the folder is the one
            that it left, else it is empty.

    Raises:
        StorageError: the disk refused any write inside, whoever made it.
    """
    folder = root / f"{_BUILDING}{uuid.uuid4().hex}"
    lock = folder.with_suffix(".lock")
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            with root_lock(root):
                held = lock.open("w")
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with held:
                with root_lock(root):
                    take_over(root, folder, token)
                folder.mkdir(exist_ok=True)
                if token is not None:
                    write_text(folder.with_suffix(_TOKEN), token)
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for path in (folder.with_suffix(_TOKEN), lock):
                with suppress(OSError):
                    path.unlink()


def publish(root: Path, folder: Path, manifest: Manifest) -> None:
    """Make a built folder the current version; if that version is there already and sound, only point at it.

    Args:
        root: folder of all versions.
        folder: from ``building``, all files of the version in it but the manifest.
        manifest: describes them.

    Raises:
        OSError: the disk refused (``building`` turns it into StorageError); the current version is as before.
    """
    write_text(folder / MANIFEST_FILE, manifest.to_json())
    with ThreadPoolExecutor(4) as pool:  # a disk takes several requests at once
        list(pool.map(sync, [*folder.rglob("*"), folder]))
    version = root / manifest.id
    pointer = folder.with_suffix(".current")
    with root_lock(root):
        try:
            history, current = _told(root)
            if current != manifest.id:
                write_text(pointer, extended(history, manifest.id, time.time_ns() // 1000))
                sync(pointer)
            placed = not _is_sound(version)
            if placed:
                _discard(version, folder.with_suffix(".damaged"))
                rename(folder, version)
            try:
                sync(root)
                if pointer.exists():
                    rename(pointer, root / CURRENT_FILE)
            except BaseException:
                if placed:
                    rename(version, folder)
                raise
            # Published. Were this to fail, a crash could at worst bring back the version before.
            with suppress(OSError):
                sync(root)
        finally:
            with suppress(OSError):
                pointer.unlink(missing_ok=True)


def save_parts(path: Path, kind: type[np.generic], length: int, parts: Iterable[NDArray[Any]]) -> None:
    """Write a one-dimensional ``.npy`` file from arrays of that type that come one after the other.

    Raises:
        DataError: the parts are not as long as was said.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": (length,)}
    written = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, kind).data)
            written += len(part)
    if written != length:
        what = f"{written:,} values came of {length:,}"
        raise DataError(what, where=str(path), hint="please report this as a bug")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file."""
    path.write_text(text, encoding="utf-8")


def rename(path: Path, target: Path) -> None:
    """Move a file or folder within the disk in one step, over a file that is there."""
    os.rename(path, target)


def sync(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(root: Path) -> tuple[list[Publication], str | None]:
    """The history so far and the current version; a damaged file is begun anew."""
    try:
        return read_history(root), read_current(root)
    except SnapshotError:
        return [], None


@contextmanager
def root_lock(root: Path) -> Iterator[None]:
    """Alone among builders, publishers and removers; readers do not ask for it."""
    with (root / _LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take_over(root: Path, folder: Path | None = None, token: str | None = None) -> None:
    """Remove what builders left that no longer live: their lock can be had. Needs the root lock.

    A folder of the same token becomes ours instead.
    """
    for path in root.glob(f"{_BUILDING}*.lock"):
        with suppress(OSError), path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            dead = path.with_suffix("")
            if (
                folder is not None
                and token is not None
                and dead.is_dir()
                and not folder.exists()
                and _reads(dead.with_suffix(_TOKEN)) == token
            ):
                rename(dead, folder)
            for left in root.glob(f"{path.stem}*"):
                if left != path:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            path.unlink()
    for left in root.glob(f"{REMOVED}*"):
        shutil.rmtree(left, ignore_errors=True)


def _reads(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")
    return None


def _is_sound(version: Path) -> bool:
    try:
        check_hashes(version, read_manifest(version))
    except SnapshotError:
        return False
    return True


def _discard(version: Path, aside: Path) -> None:
    """Move a damaged version out of the way in one step, then delete it; readers that hold it open are not hurt."""
    if version.exists():
        rename(version, aside)
        shutil.rmtree(aside, ignore_errors=True)
