"""Manifest: which files a snapshot has, with their sizes and hashes; its own hash is the snapshot's id."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kincast.errors import SnapshotError
from kincast.schema import Schema

MANIFEST_FILE = "manifest.json"
FORMAT = 1
_CHUNK_BYTES = 1 << 20
_REBUILD = "build the snapshot again with: kincast build"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a snapshot.

    Attributes:
        size_bytes: its length.
        sha256: 64 hexadecimal digits.
    """

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot consists of.

    Attributes:
        id: first 16 hexadecimal digits of the SHA-256 of everything else here in canonical JSON.
        parent: id of the version it grew from; None for one built from the source.
        schema: of the database.
        num_rows: table → rows.
        num_edges: link name → edges.
        counts: table → what became of the rows read: kept, and rejected by rule.
        max_time_us: latest effective row time of all tables; 0 when no row has a time.
        files: path relative to the snapshot's folder, with ``/`` → size and hash.
    """

    id: str
    parent: str | None
    schema: Schema
    num_rows: Mapping[str, int]
    num_edges: Mapping[str, int]
    counts: Mapping[str, Any]
    max_time_us: int
    files: Mapping[str, FileEntry]

    @property
    def size_bytes(self) -> int:
        """Length of all files together, without the manifest."""
        return sum(entry.size_bytes for entry in self.files.values())

    def to_json(self) -> str:
        """Canonical JSON: sorted names, no blanks, one line."""
        return _canonical({"id": self.id, **self._body()})

    def _body(self) -> dict[str, Any]:
        body = asdict(self)
        del body["id"]
        return {**body, "format": FORMAT, "schema": self.schema.as_dict()}


def make_manifest(
    folder: Path,
    schema: Schema,
    *,
    num_rows: Mapping[str, int],
    num_edges: Mapping[str, int],
    counts: Mapping[str, Any],
    max_time_us: int,
    parent: str | None = None,
) -> Manifest:
    """Hash every file in a folder and describe them."""
    files = file_entries(folder)
    draft = Manifest("", parent, schema, num_rows, num_edges, counts, max_time_us, files)
    return Manifest(content_id(draft), parent, schema, num_rows, num_edges, counts, max_time_us, files)


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Size and hash of every file in a folder, by its path from there with ``/``, sorted."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return dict(zip(names, _entries(folder / name for name in names), strict=True))


def content_id(manifest: Manifest) -> str:
    """The id that a manifest of that content must have."""
    return hashlib.sha256(_canonical(manifest._body()).encode()).hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` and hold it against its own hash.

    Raises:
        SnapshotError: it is missing, not JSON, of another format, or was changed.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_bytes().decode("utf-8")
        values = json.loads(text)
    except FileNotFoundError:
        raise SnapshotError("is missing", where=str(path), hint=_REBUILD) from None
    except OSError as error:
        raise SnapshotError(f"cannot be read: {error}", where=str(path), hint=_REBUILD) from None
    except (ValueError, RecursionError):
        raise SnapshotError("is damaged: not JSON", where=str(path), hint=_REBUILD) from None
    found = values.get("format") if isinstance(values, dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise SnapshotError(f"has format {found}, this Kincast reads format {FORMAT}", where=str(path), hint=_REBUILD)
    try:
        manifest = Manifest(
            id=values["id"],
            parent=values["parent"],
            schema=Schema.from_dict(values["schema"]),
            num_rows=values["num_rows"],
            num_edges=values["num_edges"],
            counts=values["counts"],
            max_time_us=values["max_time_us"],
            files={name: FileEntry(**entry) for name, entry in values["files"].items()},
        )
        sound = manifest.to_json() == text and content_id(manifest) == manifest.id
    except Exception:  # whatever a changed byte leads to: the content is not ours
        sound = False
    if not sound:
        raise SnapshotError("is damaged: it does not match its own hash", where=str(path), hint=_REBUILD)
    return manifest


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Hold every file's length against the manifest.

    Raises:
        SnapshotError: a file is missing or has another length.
    """
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError:
            raise SnapshotError("is missing", where=str(path), hint=_REBUILD) from None
        if size != entry.size_bytes:
            what = f"is damaged: {size:,} bytes, expected {entry.size_bytes:,}"
            raise SnapshotError(what, where=str(path), hint=_REBUILD)


def check_hashes(folder: Path, manifest: Manifest) -> None:
    """Hold every file's SHA-256 against the manifest.

    Raises:
        SnapshotError: a file is missing or differs in a single bit.
    """
    check_sizes(folder, manifest)
    try:
        found = _entries(folder / name for name in manifest.files)
    except OSError as error:
        raise SnapshotError(f"cannot be read: {error}", where=str(error.filename), hint=_REBUILD) from None
    for (name, entry), now in zip(manifest.files.items(), found, strict=True):
        if now != entry:
            what = "is damaged: its content does not match its hash"
            raise SnapshotError(what, where=str(folder / name), hint=_REBUILD)


def _entries(paths: Iterable[Path]) -> list[FileEntry]:
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # hashing releases the interpreter lock
        return list(pool.map(_entry, paths))


def _entry(path: Path) -> FileEntry:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(size, digest.hexdigest())


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
