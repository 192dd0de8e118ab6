"""Store: encoded features on disk, memory-mapped, gathered by row."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kincast.atomic import publish_folder
from kincast.errors import StorageError
from kincast.feature.encode import write_records
from kincast.feature.gather import MappedWords, memory_bytes
from kincast.feature.record import HEADER_BYTES, record_type
from kincast.feature.spec import FeatureSpec, TableSpec
from kincast.graph.manifest import MANIFEST_FILE, file_entries
from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent
from kincast.project import FeatureStorage

Readahead = Literal["auto", "always", "never"]
LARGE_SHARE = 0.5
"""Of the memory: a store larger than this is read as one that does not stay in memory."""


@dataclass(frozen=True, slots=True)
class RowFeatures:
    """Encoded inputs of some rows, row for row; views of one piece of memory.

    Attributes:
        numbers: [n, numeric_width] float32, float16 or int8, as stored.
        codes: [n, categorical columns] int32.
        instants_us: [n, instants] int64: the row's own time where the table has one, then each instant column;
            ``convert.NO_INSTANT`` where missing.
    """

    numbers: NDArray[np.generic]
    codes: NDArray[np.int32]
    instants_us: NDArray[np.int64]


class Words(Protocol):
    """Where records lie."""

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The records of those rows: [n, width] uint64, in memory of its own."""


@dataclass(frozen=True, slots=True)
class HeldWords:
    """Records in memory.

    Attributes:
        words: [num_rows, width] uint64.
    """

    words: NDArray[np.uint64]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The records of those rows: [n, width] uint64, in memory of its own."""
        return self.words[rows]


class TableFeatures:
    """Encoded inputs of one table.

    Attributes:
        spec: what they are.
        storage: of the numbers.
        words: the records.
        record: what lies where in the bytes of a row.
        scales: float32 [numeric_width] that stored int8 numbers are multiplied with; None for other storage.
    """

    def __init__(self, spec: TableSpec, storage: FeatureStorage, words: Words) -> None:
        self.spec, self.storage, self.words = spec, storage, words
        self.record = record_type(spec, storage)
        self.scales = spec.int8_scales if storage == "int8" else None

    def gather(self, rows: NDArray[np.int64]) -> RowFeatures:
        """The inputs of rows [n] int64, copied once out of the file's memory.

        Raises:
            IndexError: there is no such row.
        """
        words, spec = self.words.take(rows), self.spec
        records: NDArray[Any] = words.view(self.record).reshape(-1) if self.record.itemsize else words
        widths = {"numbers": spec.numeric_width, "codes": len(spec.categorical)}
        widths["instants"] = int(spec.calendar) + len(spec.instants)
        empty = {"numbers": np.float32, "codes": np.int32, "instants": np.int64}
        found = {
            name: records[name] if width else np.zeros((len(rows), 0), empty[name]) for name, width in widths.items()
        }
        return RowFeatures(found["numbers"], found["codes"], found["instants"])


def open_features(
    snapshot: Snapshot,
    spec: FeatureSpec,
    root: Path,
    progress: Progress = silent,
    *,
    readahead: Readahead = "auto",
) -> FeatureStore:
    """Open the encoded features of a snapshot under a spec, encoding them first where that has not been done.

    Args:
        snapshot: the rows.
        spec: the inputs with their fitted statistics.
        root: folder of all encoded features; one folder for each (snapshot, spec).
        progress: told about each table that is encoded.
        readahead: whether to ask the disk for the rows of each batch beforehand; ``auto`` when they do not fit well
            into memory.

    Raises:
        StorageError: the disk refused, and nothing half-written stays; or a file is missing or damaged.
    """
    folder = root / f"{snapshot.id}-{spec.digest}"
    if not folder.is_dir():
        try:
            _encode_all(snapshot, spec, folder, progress)
        except StorageError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise
    _verify(folder)
    return FeatureStore(snapshot, spec, folder, readahead=readahead)


def _encode_all(snapshot: Snapshot, spec: FeatureSpec, folder: Path, progress: Progress) -> None:
    with publish_folder(folder) as draft:
        for done, table in enumerate(spec.tables):
            progress("encode features", done, len(spec.tables))
            write_records(snapshot, table, spec.storage, draft / _file(spec, table))
        files = {name: asdict(entry) for name, entry in file_entries(draft).items()}
        (draft / MANIFEST_FILE).write_text(json.dumps({"files": files}, sort_keys=True), encoding="utf-8")
        progress("encode features", len(spec.tables), len(spec.tables))


def _verify(folder: Path) -> None:
    """Hold every file against the manifest's size and hash; raises StorageError naming the first that differs."""
    hint = f"delete the folder {folder}; its features are encoded again when next needed"
    path = folder / MANIFEST_FILE
    try:
        expected = json.loads(path.read_bytes())["files"]
        found = {name: asdict(entry) for name, entry in file_entries(folder).items()}
        differing = [name for name, entry in expected.items() if found.get(name) != entry]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
        raise StorageError(reason, where=str(path), hint=hint) from None
    if differing:
        reason = "is damaged: its content does not match its hash" if differing[0] in found else "is missing"
        raise StorageError(reason, where=str(folder / differing[0]), hint=hint)


class FeatureStore:
    """Encoded features of every table of one snapshot, memory-mapped.

    Attributes:
        spec: the inputs.
        snapshot: whose rows they are.
        folder: where the files lie.
        size_bytes: of all files.
        readahead: whether the disk is asked for the rows of each batch beforehand.
        tables: name → its features.
    """

    def __init__(self, snapshot: Snapshot, spec: FeatureSpec, folder: Path, *, readahead: Readahead = "auto") -> None:
        self.spec = spec
        self.snapshot = snapshot
        self.folder = folder
        self.size_bytes = sum((folder / _file(spec, table)).stat().st_size for table in spec.tables)
        large = self.size_bytes > LARGE_SHARE * memory_bytes()
        self.readahead = readahead == "always" or (readahead == "auto" and large)
        self.tables = {table.table: self._open(table) for table in spec.tables}

    def _open(self, table: TableSpec) -> TableFeatures:
        num_rows = self.snapshot.tables[table.table].num_rows
        path = self.folder / _file(self.spec, table)
        width = record_type(table, self.spec.storage).itemsize // 8
        words = MappedWords(path, HEADER_BYTES, num_rows, width, readahead=self.readahead)
        return TableFeatures(table, self.spec.storage, words)


def _file(spec: FeatureSpec, table: TableSpec) -> str:
    """Names of files do not depend on what users call their tables."""
    return f"{spec.tables.index(table):04d}.npy"
