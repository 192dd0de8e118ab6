"""Hold: a reader's claim on a version, so that it is not removed while it is read; nobody waits for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

from kincast.errors import SnapshotError


class Hold:
    """A shared claim on a version's folder, given up with the object or with the process, however it ends.

    Args:
        folder: of the version.

    Raises:
        SnapshotError: the version is gone or just being removed.
    """

    def __init__(self, folder: Path) -> None:
        gone = SnapshotError("was removed", where=str(folder), hint="see: kincast snapshots list")
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            raise gone from None
        self.release = weakref.finalize(self, os.close, handle)
        try:
            with contextlib.suppress(OSError):  # a file system without locks has no remover that could be told
                _lock(handle, fcntl.LOCK_SH)
            if not os.path.samestat(os.stat(folder), os.fstat(handle)):
                raise gone
        except (BlockedError, FileNotFoundError):
            self.release()
            raise gone from None


class BlockedError(Exception):
    """Somebody else's claim stands against it."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """True while nobody reads the version, and nobody can begin to."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            _lock(handle, fcntl.LOCK_EX)
        except BlockedError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockedError from None
