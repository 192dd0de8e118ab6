"""Rows: a versioned, memory-mapped namespace of one vector or record per key, switched in one step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kincast.atomic import PARTIAL, publish_folder, replace_text
from kincast.errors import DataError, StorageError
from kincast.store.key import (
    Int64s,
    bucket_starts,
    column_bytes,
    find_bytes,
    find_integers,
    hash_bytes,
    hash_one,
    integer_code,
    integer_hashes,
    is_integer_key,
    join_keys,
    key_bytes,
    mix,
)

FORMAT = 1
KEPT_VERSIONS = 3
CURRENT_FILE = "current"
MANIFEST_FILE = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FOLDER = re.compile(r"\d{8}-[0-9a-f]{6}")

Vectors = npt.NDArray[np.float32]
Found = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where the rows come from.

    Attributes:
        version_id: the model version that made them.
        snapshot_id: the snapshot they were made from.
        as_of_us: the instant they hold for.
        created_us: when they were made.
        counts: what was counted on the way; ``rows`` is filled in when they are published.
    """

    version_id: str
    snapshot_id: str
    as_of_us: int
    created_us: int
    counts: dict[str, int] = field(default_factory=dict)


class Store:
    """One published version of a namespace, read-only; ``open_store`` makes it.

    It stays what it is while newer versions are published; ``refresh`` gives the newest.

    Attributes:
        root: folder of all namespaces.
        name: the namespace.
        folder: this version's folder.
        stamp: where its rows come from.
        key_names: names of the key columns.
    """

    def __init__(self, root: Path, name: str, folder: Path, verify: bool) -> None:
        self.root, self.name, self.folder = root, name, folder
        manifest = _read_manifest(folder)
        _verify(folder, manifest["files"], verify)
        try:
            self.stamp = Stamp(**manifest["stamp"])
            self._shift = int(manifest["shift"])
            self._starts = _map(folder / "starts.npy", np.int64, 1)
            self._hashes = _map(folder / "hashes.npy", np.uint64, 1)
            self._keys: pa.Table = _map_table(folder / "keys.arrow")
            self.key_names: tuple[str, ...] = tuple(self._keys.column_names)
            self._types = [column.type for column in self._keys.columns]
            self._is_integer = is_integer_key(self._types)
            self._is_signed = self._is_integer and pa.types.is_signed_integer(self._types[0])
            self._key_data: Any = None if self._is_integer else _map(folder / "key_data.npy", np.uint8, 1)
            self._key_offsets: Any = None if self._is_integer else _map(folder / "key_offsets.npy", np.int64, 1)
            vectors = "values.npy" in manifest["files"]
            self._vectors = _map(folder / "values.npy", np.float32, 2) if vectors else None
            self._table: pa.Table = None if vectors else _map_table(folder / "values.arrow")
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
            raise _damaged(folder, str(error)) from None
        if (
            not len(self.values())
            == len(self._hashes)
            == len(self._keys)
            == self._starts[-1]
            == self.stamp.counts.get("rows")
        ):
            raise _damaged(folder, "its files do not have the same number of rows")

    def __len__(self) -> int:
        return len(self._hashes)

    def keys(self) -> pa.Table:
        """The key columns, in the order the rows lie in the store."""
        return self._keys

    def values(self) -> Any:
        """All rows in the order of ``keys``: ``[n, d] float32``, read-only and memory-mapped, or an Arrow table."""
        return self._table if self._vectors is None else self._vectors

    def lookup(self, keys: Sequence[Any] | pa.Table) -> tuple[Any, Found]:
        """The rows of some keys.

        Args:
            keys: scalars, tuples for composite keys (text counts for any type), or the key columns.

        Returns:
            values ``[n, d] float32`` (NaN where unknown), or a table of ``n`` records (null where unknown);
            and found ``[n] bool``.
        """
        rows = self.rows_of(keys)
        found = rows >= 0
        if self._vectors is None:
            return self._table.take(pa.array(rows, mask=~found)), found
        if len(self) == 0 or not found.all():
            values = np.full((len(rows), self._vectors.shape[1]), np.nan, np.float32)
            values[found] = self._vectors[rows[found]]
            return values, found
        return self._vectors[rows], found

    def get(self, key: Any) -> Any:
        """The row of one key: ``[d] float32``, or a dict of the record; None when it is unknown. Microseconds."""
        row = self._integer_row(key) if self._is_integer else self._bytes_row(key)
        if row < 0:
            return None
        if self._vectors is not None:
            return self._vectors[row]
        return {name: self._table.column(name)[row].as_py() for name in self._table.column_names}

    def rows_of(self, keys: Sequence[Any] | pa.Table) -> Int64s:
        """Place of each key in the store, -1 where unknown: ``[n] int64``."""
        if isinstance(keys, pa.Table):
            keys = list(zip(*keys.to_pydict().values(), strict=True)) if keys.num_columns > 1 else keys[0].to_pylist()
        if self._is_integer:
            return self._integer_rows(keys)
        data, offsets, impossible = join_keys(keys, self._types)
        arguments = (data, offsets, self._starts, self._hashes, self._shift, self._key_data, self._key_offsets)
        rows: Int64s = find_bytes(*arguments)
        rows[impossible] = -1
        return rows

    def refresh(self) -> Store:
        """The newest published version: itself when there is none newer.

        Raises:
            StorageError: the newest version is damaged.
        """
        if _read_current(self.root / self.name) == self.folder.name:
            return self
        return open_store(self.root, self.name)

    def _integer_row(self, key: Any) -> int:
        code = key if type(key) is int and self._is_signed else integer_code(key, self._types[0])
        if code is None or not -(1 << 63) <= code < 1 << 64:
            return -1
        starts, hashes = self._views
        wanted = mix(code)
        bucket = wanted >> self._shift
        for row in range(starts[bucket], starts[bucket + 1]):
            if hashes[row] == wanted:
                return row
        return -1

    def _bytes_row(self, key: Any) -> int:
        encoded = key_bytes(key, self._types)
        if encoded is None:
            return -1
        starts, hashes = self._views
        wanted = hash_one(encoded)
        bucket = wanted >> self._shift
        for row in range(starts[bucket], starts[bucket + 1]):
            if hashes[row] == wanted and self._key_at(row) == encoded:
                return row
        return -1

    def _key_at(self, row: int) -> bytes:
        data, offsets = self._key_views
        return bytes(data[offsets[row] : offsets[row + 1]])

    def _integer_rows(self, keys: Sequence[Any]) -> Int64s:
        if self._is_signed and {type(key) for key in keys} == {int}:
            with contextlib.suppress(OverflowError):
                plain = np.array(keys, np.int64).view(np.uint64)
                return np.asarray(find_integers(plain, self._starts, self._hashes, self._shift))
        codes = [integer_code(key, self._types[0]) for key in keys]
        wanted = np.array([(code or 0) & 0xFFFFFFFFFFFFFFFF for code in codes], np.uint64)
        rows: Int64s = find_integers(wanted, self._starts, self._hashes, self._shift)
        for i, code in enumerate(codes):
            if code is None:
                rows[i] = -1
        return rows

    @cached_property
    def _views(self) -> tuple[memoryview, memoryview]:
        # Indexing a memoryview is several times faster than indexing an array.
        return memoryview(self._starts), memoryview(self._hashes)

    @cached_property
    def _key_views(self) -> tuple[memoryview, memoryview]:
        return memoryview(self._key_data), memoryview(self._key_offsets)


def publish(root: Path, name: str, keys: pa.Table, values: npt.NDArray[Any] | pa.Table, stamp: Stamp) -> Store:
    """Write a new version of a namespace and switch to it; readers see the old one or the new one, whole.

    The last three versions are kept.

    Args:
        root: folder of all namespaces.
        name: the namespace, such as ``churn.embeddings``: letters, digits, ``_``, ``.`` and ``-``.
        keys: the key columns, unique and without nulls, ``n`` rows.
        values: ``[n, d] float32`` vectors, or an Arrow table of ``n`` records.
        stamp: where the rows come from.

    Returns:
        The version just published, opened.

    Raises:
        DataError: a key is null or there twice, or keys and values do not fit each other.
        StorageError: the disk refused; the old version stays current.
    """
    home = _home(root, name)
    keys, values = _checked(keys, values)
    if is_integer_key(keys.schema.types):
        data, offsets = None, None
        hashes = integer_hashes(keys.column(0).combine_chunks())
    else:
        data, offsets = column_bytes(keys)
        hashes = hash_bytes(data, offsets)
    order = np.argsort(hashes, kind="stable")
    _refuse_duplicates(keys, hashes, order, data, offsets)
    starts, shift = bucket_starts(hashes[order])
    stamp = replace(stamp, counts={**stamp.counts, "rows": len(keys)})
    folder = home / f"{_next_number(home):08d}-{secrets.token_hex(3)}"
    with publish_folder(folder) as temporary:
        np.save(temporary / "starts.npy", starts)
        np.save(temporary / "hashes.npy", hashes[order])
        _write_table(temporary / "keys.arrow", keys.take(pa.array(order)))
        if data is not None and offsets is not None:
            ordered, ordered_offsets = column_bytes(keys.take(pa.array(order)))
            np.save(temporary / "key_data.npy", ordered)
            np.save(temporary / "key_offsets.npy", ordered_offsets)
        if isinstance(values, np.ndarray):
            np.save(temporary / "values.npy", values[order])
        else:
            _write_table(temporary / "values.arrow", values.take(pa.array(order)))
        files = {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}
        manifest = {"format": FORMAT, "shift": shift, "stamp": asdict(stamp), "files": files}
        (temporary / MANIFEST_FILE).write_text(json.dumps(manifest, sort_keys=True), encoding="utf-8")
    store = Store(root, name, folder, verify=False)
    replace_text(home / CURRENT_FILE, folder.name + "\n")
    _prune(home)
    return store


def open_store(root: Path, name: str, verify: bool = True) -> Store:
    """Open the current version of a namespace.

    Args:
        root: folder of all namespaces.
        name: the namespace.
        verify: compare every file with its hash; otherwise its size only.

    Raises:
        StorageError: nothing was published under that name, or a file of it is missing or damaged.
    """
    home = _home(root, name)
    current = _read_current(home)
    while True:
        if current is None:
            known = ", ".join(sorted(path.parent.name for path in root.glob(f"*/{CURRENT_FILE}"))) or "nothing yet"
            raise StorageError(f"nothing is published as '{name}'", where=str(root), hint=f"published: {known}")
        try:
            return Store(root, name, home / current, verify)
        except StorageError:
            # A writer may have gone on and removed it since we read its name.
            newer = _read_current(home)
            if newer == current:
                raise
            current = newer


def _home(root: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise StorageError(f"'{name}' cannot name a store", hint="use letters, digits, '_', '.' and '-'")
    return root / name


def _checked(keys: pa.Table, values: Any) -> tuple[pa.Table, Any]:
    if keys.num_columns == 0:
        raise DataError("a store needs at least one key column")
    if len(keys) != len(values):
        raise DataError(f"there are {len(keys)} keys and {len(values)} rows of values")
    for key_name in keys.column_names:
        if num_null := keys.column(key_name).null_count:
            raise DataError(f"{num_null} keys are null", where=key_name)
    if not isinstance(values, np.ndarray):
        return keys, values
    if values.ndim != 2 or values.dtype.kind != "f":
        raise DataError(f"vectors must be [n, d] float32, not {list(values.shape)} {values.dtype}")
    return keys, np.ascontiguousarray(values, np.float32)


def _refuse_duplicates(keys: pa.Table, hashes: Any, order: Int64s, data: Any, offsets: Any) -> None:
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    twice = []
    if data is None:
        twice = [int(order[i]) for i in same]
    elif len(same):  # equal hashes are rare: compare all keys of each run of them
        run = np.cumsum(np.concatenate([[True], hashes[order][1:] != hashes[order][:-1]]))
        seen = set()
        for i in np.flatnonzero(np.isin(run, run[same])):
            row = int(order[i])
            key = data[offsets[row] : offsets[row + 1]].tobytes()
            twice += [row] if key in seen else []
            seen.add(key)
    if twice:
        samples = [", ".join(str(v) for v in keys.slice(row, 1).to_pylist()[0].values()) for row in twice[:3]]
        where = ", ".join(keys.column_names)
        raise DataError(f"{len(twice)} keys are there twice, such as {'; '.join(samples)}", where=where)


def _next_number(home: Path) -> int:
    return max((int(name.split("-")[0]) for name in _folders(home)), default=0) + 1


def _folders(home: Path) -> list[str]:
    return sorted(p.name for p in home.iterdir() if _FOLDER.fullmatch(p.name)) if home.is_dir() else []


def _prune(home: Path) -> None:
    current = _read_current(home)
    for name in _folders(home)[:-KEPT_VERSIONS]:
        if name != current:
            # Out of the readers' sight in one step; those who have it mapped keep it.
            hidden = home / f"{PARTIAL}{name}-removed"
            with contextlib.suppress(OSError):
                (home / name).rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)


def _read_current(home: Path) -> str | None:
    try:
        name = (home / CURRENT_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(home / CURRENT_FILE, str(error)) from None
    if not _FOLDER.fullmatch(name):
        raise _damaged(home / CURRENT_FILE, f"'{name[:40]}' is not the name of a version")
    return name


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT:
            raise _damaged(path, f"it has format {manifest['format']}, not {FORMAT}")
        return {name: manifest[name] for name in ("stamp", "shift", "files")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from None


def _verify(folder: Path, files: dict[str, Any], hashes: bool) -> None:
    try:
        for name, expected in files.items():
            path = folder / name
            found = _fingerprint(path) if hashes else {"bytes": path.stat().st_size}
            if any(found[part] != expected[part] for part in found):
                raise _damaged(path, "its content is not what was written")
    except (OSError, AttributeError, TypeError, KeyError) as error:
        raise _damaged(folder, str(error)) from None


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _map(path: Path, dtype: Any, ndim: int) -> Any:
    # An empty file part cannot be mapped.
    array = np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > 128 else np.load(path)
    if array.dtype != dtype or array.ndim != ndim:
        raise ValueError(f"{path.name} holds {array.dtype} {list(array.shape)}")
    return array.view(np.ndarray)


def _map_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"the store is damaged: {reason}", where=str(path), hint="publish it again with kincast predict"
    )
