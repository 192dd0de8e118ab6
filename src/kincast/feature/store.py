"""Store: encoded features on disk, memory-mapped, gathered by row."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.atomic import publish_folder
from kincast.errors import StorageError
from kincast.feature import convert
from kincast.feature.spec import FeatureSpec, TableSpec
from kincast.graph.manifest import MANIFEST_FILE, file_entries
from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class TableFeatures:
    """Encoded inputs of one table, row for row.

    Attributes:
        numeric: float32 [num_rows, numeric_width].
        codes: int32 [num_rows, categorical columns].
        instants_us: int64 [num_rows, instant columns]; ``convert.NO_INSTANT`` where missing.
        time_us: int64 [num_rows] row times; None for a timeless table.
    """

    numeric: NDArray[np.float32]
    codes: NDArray[np.int32]
    instants_us: NDArray[np.int64]
    time_us: NDArray[np.int64] | None


def open_features(snapshot: Snapshot, spec: FeatureSpec, root: Path, progress: Progress = silent) -> FeatureStore:
    """Open the encoded features of a snapshot under a spec, encoding them first where that has not been done.

    Args:
        snapshot: the rows.
        spec: the inputs with their fitted statistics.
        root: folder of all encoded features; one folder for each (snapshot, spec).

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
    return FeatureStore(snapshot, spec, folder)


def _encode_all(snapshot: Snapshot, spec: FeatureSpec, folder: Path, progress: Progress) -> None:
    with publish_folder(folder) as draft:
        for done, table in enumerate(spec.tables):
            progress("encode features", done, len(spec.tables))
            encoded = encode_table(snapshot, table)
            stem = _index(spec, table)
            np.save(draft / f"{stem}.numeric.npy", encoded.numeric, allow_pickle=False)
            np.save(draft / f"{stem}.codes.npy", encoded.codes, allow_pickle=False)
            np.save(draft / f"{stem}.instants.npy", encoded.instants_us, allow_pickle=False)
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
    """Encoded features of every table of one snapshot, memory-mapped."""

    def __init__(self, snapshot: Snapshot, spec: FeatureSpec, folder: Path) -> None:
        self.spec = spec
        self.snapshot = snapshot
        self.folder = folder
        self.tables = {table.table: self._open(table) for table in spec.tables}

    def _open(self, table: TableSpec) -> TableFeatures:
        stem = _index(self.spec, table)
        numeric, codes, instants_us = (
            np.load(self.folder / f"{stem}.{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("numeric", "codes", "instants")
        )
        return TableFeatures(numeric, codes, instants_us, self.snapshot.tables[table.table].time_us)


def encode_table(snapshot: Snapshot, spec: TableSpec) -> TableFeatures:
    """Encode all rows of one table in memory."""
    table = snapshot.tables[spec.table]
    return encode_rows(snapshot.columns(spec.table, spec.columns), table.num_rows, table.time_us, spec)


def encode_rows(rows: pa.Table, num_rows: int, time_us: NDArray[np.int64] | None, spec: TableSpec) -> TableFeatures:
    """Encode rows of one table.

    Args:
        rows: [num_rows] at least the columns of the spec, typed as in a snapshot.
        num_rows: how many; a spec may have no columns.
        time_us: [num_rows] int64 row times; None for a timeless table.
        spec: the table's inputs.
    """
    numeric = [convert.scaled(convert.as_floats(rows[part.column]), part) for part in spec.numeric]
    numeric += [convert.item_flags(convert.as_lists(rows[p.column], p.separator), p.items) for p in spec.items]
    numeric += [convert.hashed_words(convert.as_texts(rows[part.column]), part.width) for part in spec.text]
    if spec.calendar and time_us is not None:
        numeric.append(convert.calendar(time_us))
    codes = [convert.codes_of(convert.as_texts(rows[part.column]), part.categories) for part in spec.categorical]
    instants = [convert.as_instants(rows[part.column]) for part in spec.instants]
    return TableFeatures(
        numeric=np.concatenate(numeric, axis=1) if numeric else np.zeros((num_rows, 0), np.float32),
        codes=np.stack(codes, axis=1) if codes else np.zeros((num_rows, 0), np.int32),
        instants_us=np.stack(instants, axis=1) if instants else np.zeros((num_rows, 0), np.int64),
        time_us=time_us,
    )


def _index(spec: FeatureSpec, table: TableSpec) -> str:
    """Names of files do not depend on what users call their tables."""
    return f"{spec.tables.index(table):04d}"
