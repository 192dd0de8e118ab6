"""History: which version is current and which were before it, in one file that is replaced in one step.

The first line of the file ``current`` is the id of the current version. Each line after it tells of one publication,
the newest first: its number, its instant in microseconds UTC, the version's id, and a hash of all that and of the line
of the publication before, so that the lines form one chain and a changed or missing character shows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from kincast.errors import SnapshotError

CURRENT_FILE = "current"
MAX_ENTRIES = 2_000
"""Publications told; older ones are forgotten."""

_LINE = re.compile(r"(\d{1,18}) (\d{1,18}) ([0-9a-f]{16}) ([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Publication:
    """That a version became current.

    Attributes:
        number: 1, 2, 3, … without gaps.
        at_us: when, microseconds UTC; not before the publication ahead of it.
        id: of the version.
        digest: hash of this and of the digest of the publication before.
    """

    number: int
    at_us: int
    id: str
    digest: str


def read_history(root: Path) -> list[Publication]:
    """All publications told, newest first; the first is of the current version.

    Raises:
        SnapshotError: there is no version yet, or the file that tells is damaged.
    """
    return _read(root)[1]


def read_current(root: Path) -> str:
    """The id of the current version.

    Raises:
        SnapshotError: there is none yet, or the file that names it is damaged.
    """
    return _read(root)[0]


def current_at(root: Path, at_us: int) -> str:
    """The id of the version that was current at an instant.

    Raises:
        SnapshotError: none was, as far as is told.
    """
    history = read_history(root)
    for publication in history:
        if publication.at_us <= at_us:
            return publication.id
    hint = "see: kincast snapshots history"
    raise SnapshotError("no snapshot was current at that instant", where=str(root), hint=hint)


def extended(history: Sequence[Publication], id: str, now_us: int) -> str:
    """Content of the file once one more version became current."""
    last = history[0] if history else Publication(0, 0, "", "")
    number, at_us = last.number + 1, max(now_us, last.at_us)
    told = [Publication(number, at_us, id, _digest(last.digest, number, at_us, id)), *history][:MAX_ENTRIES]
    return "\n".join([id, *(f"{p.number} {p.at_us} {p.id} {p.digest}" for p in told)]) + "\n"


def is_id(text: str) -> bool:
    """True for 16 lower-case hexadecimal digits."""
    return len(text) == 16 and set(text) <= set("0123456789abcdef")


def _read(root: Path) -> tuple[str, list[Publication]]:
    path = root / CURRENT_FILE
    try:
        text = path.read_bytes().decode("ascii", "replace")
    except OSError:
        hint = "build one with: kincast build"
        raise SnapshotError("there is no snapshot yet", where=str(root), hint=hint) from None
    first, *lines = text.split("\n")
    told = [_publication(line) for line in lines[:-1]]
    whole = [entry for entry in told if entry is not None]
    if not is_id(first) or lines[-1:] != [""] or len(whole) != len(told) or not _is_chain(first, whole):
        raise SnapshotError("is damaged: it does not name a snapshot", where=str(path), hint="run: kincast build")
    return first, whole


def _publication(line: str) -> Publication | None:
    found = _LINE.fullmatch(line)
    return Publication(int(found[1]), int(found[2]), found[3], found[4]) if found else None


def _is_chain(current: str, told: list[Publication]) -> bool:
    if not told or told[0].id != current or (told[-1].number != 1 and len(told) != MAX_ENTRIES):
        return False  # the last lines are missing, or all of them
    before = [entry.digest for entry in told[1:]]
    if told[-1].number == 1:
        before.append("")
    return all(
        entry.digest == _digest(digest, entry.number, entry.at_us, entry.id)
        for entry, digest in zip(told, before, strict=False)
    ) and all(later.number == earlier.number + 1 for later, earlier in pairwise(told))


def _digest(before: str, number: int, at_us: int, id: str) -> str:
    return hashlib.sha256(f"{before} {number} {at_us} {id}".encode()).hexdigest()[:16]
