"""Verify: hashes are read again only of files that may have changed since they were last read.

After a version was found sound, ``.verified-<id>`` beside it keeps for each file its device, inode, length and the
times of its last write and last change. Nothing but the kernel sets the last of these, so whoever writes a file,
replaces it or swaps it with another shows. What no write did, a cell of the disk that lost a bit, does not show:
the stamp is good for a day, and ``kincast snapshots verify`` always reads everything.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from kincast.atomic import replace_text
from kincast.errors import StorageError
from kincast.graph.manifest import Manifest, check_hashes, check_sizes
from kincast.source.base import stamp_of

STAMP = ".verified-"
_GOOD_FOR_S = 86_400.0
# A file changed within the clock's last tick before it was looked at could change again and look the same.
_SETTLED_AFTER_S = 2.0


def check_once(folder: Path, manifest: Manifest) -> None:
    """Hold every file's SHA-256 against the manifest, unless that was done and no file was written since.

    Raises:
        SnapshotError: a file is missing, has another length, or differs in a single bit.
    """
    check_sizes(folder, manifest)
    path = stamp_path(folder)
    now = time.time()
    stamps = _stamps(folder, manifest)
    if stamps == _read(path, now):
        return
    check_hashes(folder, manifest)
    if max((stamp[-1] for stamp in stamps.values()), default=0) / 1e9 < now - _SETTLED_AFTER_S:
        # Where nothing can be written, the files are read at every opening.
        with contextlib.suppress(StorageError, OSError):
            replace_text(path, json.dumps({"at_s": now, "files": stamps}))


def stamp_path(folder: Path) -> Path:
    """Where the stamp of a version lies."""
    return folder.parent / f"{STAMP}{folder.name}"


def _stamps(folder: Path, manifest: Manifest) -> dict[str, list[int]]:
    with contextlib.suppress(OSError):
        return {name: list(stamp_of(folder / name)) for name in manifest.files}
    return {}


def _read(path: Path, now: float) -> dict[str, list[int]] | None:
    try:
        values = json.loads(path.read_bytes())
        age = now - values["at_s"]
        return values["files"] if 0 <= age < _GOOD_FOR_S else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
