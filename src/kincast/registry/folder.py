"""Folder: files that belong together, written whole or not at all, each held to its hash when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kincast.atomic import publish_folder
from kincast.errors import VersionError

FORMAT = 1
MANIFEST_FILE = "manifest.json"
_RESTORE = "restore the folder from a copy, or train again"


def save_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files and their manifest.

    Args:
        folder: appears with all of them.
        contents: name → bytes.

    Raises:
        StorageError: the disk refused.
    """
    with publish_folder(folder) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        files = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in contents.items()}
        (temporary / MANIFEST_FILE).write_bytes(canonical_json({"format": FORMAT, "files": files}))


def load_folder(folder: Path, names: Collection[str]) -> dict[str, bytes]:
    """Read files, each with the hash of the manifest.

    Raises:
        VersionError: one is missing or damaged; names it.
    """
    return {name: _verified(folder, name, entry) for name, entry in _manifest(folder, names).items()}


def digest_of(contents: Mapping[str, bytes]) -> str:
    """SHA-256 of files and their names, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + contents[name])
    return digest.hexdigest()


def canonical_json(values: Any) -> bytes:
    """JSON with sorted names, no spaces and no NaN: equal values give equal bytes.

    Raises:
        VersionError: something in it is not a plain JSON value.
    """
    try:
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise VersionError(f"a version holds plain JSON values only: {error}") from None
    return text.encode() + b"\n"


def _manifest(folder: Path, names: Collection[str]) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT:
            hint = "open it with the Kincast that wrote it, or train again"
            raise VersionError(f"has format {manifest['format']}, not {FORMAT}", where=str(path), hint=hint)
        files = manifest["files"]
        return {name: {"bytes": int(files[name]["bytes"]), "sha256": str(files[name]["sha256"])} for name in names}
    except FileNotFoundError:
        raise VersionError("the file is missing", where=str(path), hint=_RESTORE) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VersionError(f"the file is damaged: {error}", where=str(path), hint=_RESTORE) from None


def _verified(folder: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise VersionError(f"the file {reason}", where=str(path), hint=_RESTORE) from None
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        what = f"the file is damaged: {len(content)} bytes do not have the hash of the {entry['bytes']} written"
        raise VersionError(what, where=str(path), hint=_RESTORE)
    return content
