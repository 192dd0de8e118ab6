"""RelBench: a folder of tables and label tables in RelBench's format, as an audit takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from kincast.clock import parse_span
from kincast.errors import DataError
from kincast.report import Check, Report, Verdict
from kincast.sample.audit.columns import foreknown
from kincast.sample.audit.run import attempt, audit_labels, audit_rows
from kincast.sample.audit.strength import telling_columns
from kincast.sample.audit.subject import Facts, Int64s, Outcomes, instants, numbers

MANIFEST = "manifest.yaml"
SPLITS = {"train": 0, "val": 1, "test": 2}
_LAYOUT = "it has db/TABLE.parquet and tasks/TASK/{train,val,test}.parquet"
Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _About:
    key: str | None
    time: str | None
    links: dict[str, str]


def audit_relbench(folder: Path, task: str | None = None, window: str | None = None) -> Report:
    """Audit a database and its label tables, as RelBench writes them: with a manifest, or metadata in each file.

    Args:
        folder: with ``db`` and ``tasks``.
        task: only this one; all when None.
        window: how far the labels look ahead, such as ``30 days``; from the manifest, or the anchors, when None.

    Raises:
        DataError: the folder is of another format, or has no such task.
    """
    tables = read_tables(folder)
    names = sorted(path.name for path in (folder / "tasks").glob("*") if (path / "train.parquet").is_file())
    if task is not None:
        if task not in names:
            raise DataError(f"there is no task {task}", where=str(folder), hint=f"tasks: {', '.join(names) or 'none'}")
        names = [task]
    checks = audit_rows(tables, None)
    if not names:
        checks.append(
            Check("label.window", "tasks", Verdict.FAIL, f"could not run: there are no label tables; {_LAYOUT}")
        )
    for name in names:
        checks += _audit_task(tables, folder / "tasks" / name, window)
    return Report(f"audit of {folder.name}", tuple(checks))


def read_tables(folder: Path) -> dict[str, Facts]:
    """The tables of the folder.

    Raises:
        DataError: there are none, or a file is not Parquet or says nothing of its keys.
    """
    place = folder / "db" if (folder / "db").is_dir() else folder
    manifest = _manifest(folder / MANIFEST).get("tables", {})
    tables = {}
    for path in sorted(place.glob("*.parquet")):
        rows = _read(path)
        about = _about(rows, path, manifest.get(path.stem))
        tables[path.stem] = Facts.of(
            path.stem, rows, key=(about.key,) if about.key else (), time=about.time, links=about.links
        )
    if not tables:
        raise DataError("there are no tables in RelBench's format", where=str(folder), hint=_LAYOUT)
    return tables


def _audit_task(tables: Mapping[str, Facts], folder: Path, window: str | None) -> list[Check]:
    def both() -> list[Check]:
        outcomes, checks = _outcomes(tables, folder, window)
        checks += audit_labels(tables, outcomes)
        checks += attempt("row.mutated", lambda: foreknown(tables, (), outcomes))
        return checks + attempt("column.target", lambda: telling_columns(tables, outcomes))

    return [
        Check(c.name, f"{folder.name}: {c.where}", c.verdict, c.message, c.value, c.limit, c.samples)
        for c in attempt("label.window", both)
    ]


def _outcomes(tables: Mapping[str, Facts], folder: Path, window: str | None) -> tuple[Outcomes, list[Check]]:
    """The labels of all splits, and how their window was found."""
    manifest = _manifest(folder / MANIFEST)
    parts = []
    for name, number in SPLITS.items():
        path = folder / f"{name}.parquet"
        if path.is_file():
            parts.append((number, _read(path), path))
    about = _task_about(parts[0][1], parts[0][2], manifest)
    (column, entity), *_ = about.links.items()
    if about.time is None:
        raise DataError("the label table has no time", where=str(folder))
    target = manifest.get("target_col")
    rows, at, targets, splits = [], [], [], []
    for number, labels, _ in parts:
        rows.append(_rows_of(tables[entity], labels[column]))
        at.append(instants(labels[about.time]))
        targets.append(_target(labels, about, target))
        splits.append(np.full(labels.num_rows, number, np.int8))
    found, as_of = np.concatenate(rows), np.concatenate(at)
    known = found >= 0
    checks = []
    if not known.all():
        what = f"{int((~known).sum()):,} labels are about rows that are not there"
        checks.append(Check("label.unknown", entity, Verdict.WARN, what, int((~known).sum()), 0))
    frozen = _is_frozen(tables[entity], found[known], as_of[known], manifest)
    length = None if frozen else _window(manifest, window, as_of[np.concatenate(splits) == 0])
    if length is not None and not window and "timedelta" not in manifest:
        what = f"labels are taken to look {length / 86_400e6:g} days ahead, the distance of the training instants"
        checks.append(Check("label.window", entity, Verdict.NOTE, f"{what}; say so where that is wrong", length))
    return (
        Outcomes(
            entity,
            found[known],
            as_of[known],
            np.concatenate(targets)[known],
            np.concatenate(splits)[known],
            window_us=length,
            frozen=frozen,
        ),
        checks,
    )


def _rows_of(facts: Facts, keys: pa.ChunkedArray) -> Int64s:
    own = facts.read(facts.key[0]).combine_chunks()
    found = pc.fill_null(pc.index_in(pc.cast(keys, own.type), value_set=own), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def _target(labels: pa.Table, about: _About, named: str | None) -> np.ndarray:
    """The label as a number: its value, the length of a list; 0 where it is masked."""
    left = [name for name in labels.column_names if name != about.time and name not in about.links]
    name = named if named in labels.column_names else left[0] if left else None
    if name is None:
        several = [n for n in labels.column_names if pa.types.is_list(labels[n].type)]
        name = several[0] if several else None
    if name is None:
        return np.zeros(labels.num_rows)
    column = labels[name]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.list_value_length(column)
    values = numbers(column)
    if values is None:
        index = column.combine_chunks().dictionary_encode().indices
        values = numbers(index)
    return np.nan_to_num(np.zeros(labels.num_rows) if values is None else values)


def _is_frozen(facts: Facts, rows: Int64s, as_of: Int64s, manifest: Manifest) -> bool:
    """True when a column of each row is predicted at the row's own instant."""
    if manifest.get("kind") == "autocomplete":
        return True
    return facts.born is not None and len(rows) > 0 and bool((facts.born[rows] == as_of).all())


def _window(manifest: Manifest, window: str | None, train: Int64s) -> int | None:
    if window is not None:
        return parse_span(window).approx_us
    if "timedelta" in manifest:
        return parse_span(str(manifest["timedelta"]).partition("days")[0] + "days").approx_us
    apart = np.diff(np.unique(train))
    return int(apart.min()) if len(apart) else None


def _task_about(rows: pa.Table, path: Path, manifest: Manifest) -> _About:
    pairs = (("entity_col", "entity_table"), ("src_entity_col", "src_entity_table"))
    for column, table in pairs:
        if manifest.get(column) and manifest.get(table):
            return _About(None, manifest.get("time_col"), {manifest[column]: manifest[table]})
    return _about(rows, path, None)


def _about(rows: pa.Table, path: Path, manifest: Manifest | None) -> _About:
    if manifest is not None:
        return _About(manifest.get("pkey"), manifest.get("time_col"), dict(manifest.get("fkeys") or {}))
    metadata = rows.schema.metadata or {}
    try:
        links = json.loads(metadata[b"fkey_col_to_pkey_table"])
        key, time = (json.loads(metadata[name]) for name in (b"pkey_col", b"time_col"))
        return _About(key, time, dict(links))
    except (KeyError, ValueError, TypeError):
        what = f"neither {MANIFEST} nor the file itself says its keys and time"
        raise DataError(what, where=str(path), hint="write it with RelBench's Table.save, or add a manifest") from None


def _manifest(path: Path) -> Manifest:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"cannot be read: {str(error).splitlines()[0]}", where=str(path)) from None
    return values if isinstance(values, dict) else {}


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"is no Parquet file: {str(error).splitlines()[0]}", where=str(path)) from None
