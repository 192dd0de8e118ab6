"""Forget: a row leaves the log and the snapshots for good, on the request of whom it is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kincast.errors import DataError, KeyNotFoundError
from kincast.graph.collect import remove_others
from kincast.graph.compact import MergedSource, caught_up, compacting, fold
from kincast.graph.deadletter import DeadLetters
from kincast.graph.delta import DeltaLog, remove_segments
from kincast.graph.judge import Judge
from kincast.graph.slots import read_digests
from kincast.graph.snapshot import Snapshot
from kincast.graph.state import State, typed_schema
from kincast.progress import Progress, silent
from kincast.schema import Table
from kincast.source.change import Changes

NEWEST = np.iinfo(np.int64).max
"""Sequence of a deletion that no later change undoes."""


def forget_row(root: Path, table: str, key: Any, progress: Progress = silent) -> Snapshot:
    """Make the next snapshot without a row, and remove the log and every other version, which may have it.

    Rows of other tables that refer to it stay, their foreign key emptied; where that is part of their own key they
    go too. Of the key itself only a digest stays, by which changes that still come for it are passed over for good.

    Args:
        root: folder of all versions.
        table: whose row it is.
        key: a scalar, or a tuple for a composite key; text is read as the key's type.
        progress: told about each step.

    Raises:
        KeyNotFoundError: no row has that key.
        DataError: the table has no key, or the key has the wrong number of parts.
        StorageError: another process writes to the log, or the disk refused.
    """
    with compacting(root), DeltaLog(root) as log:
        state, record = caught_up(root)
        forgotten = {table: [_key_text(state, state.schema.table(table), key)]}
        _follow_keys(state, forgotten)
        for name, texts in forgotten.items():
            _mark(state, name, texts)
        made = fold(root, state, record, progress, forgotten)
        log.rotate()
        remove_segments(root, log.last)
        for path in log.folder.glob("folded-*"):
            if made.id not in path.name:
                path.unlink()
        DeadLetters(root).forget([str(part) for part in key_parts(state.schema.table(table), key)])
    remove_others(root, made.id)
    return made


def key_parts(table: Table, key: Any) -> Sequence[Any]:
    """The parts of a key, one for each key column.

    Raises:
        DataError: the table has no key, or the key has another number of parts.
    """
    if not table.key:
        hint = "forget the row that its rows refer to; they lose the foreign key"
        raise DataError("the table has no key", where=table.name, hint=hint)
    parts = key if isinstance(key, (tuple, list)) else (key,)
    if len(parts) != len(table.key):
        raise DataError(f"{key!r} is not a key", where=table.name, hint=f"give {', '.join(table.key)}")
    return parts


def _key_text(state: State, table: Table, key: Any) -> str:
    """The text of a key that a row has."""
    parts = key_parts(table, key)
    rows = pa.table({name: pa.array([str(part)], pa.string()) for name, part in zip(table.key, parts, strict=True)})
    judged = Judge(state.schema).judge(Changes(table.name, rows, np.zeros(1, np.int64), np.ones(1, np.bool_)))
    text = judged.keys[0].as_py()
    # A key that was heard of may be gone from here, but still be in older versions.
    known = text is not None and state.tables[table.name].slots.find(read_digests(judged.keys))[0] >= 0
    if text is None or (not known and state.base.rows_of(table.name, [key])[0] < 0):
        raise KeyNotFoundError(f"no row has the key {key!r}", where=table.name, keys=[key])
    return str(text)


def _follow_keys(state: State, forgotten: dict[str, list[str]]) -> None:
    """Add the rows whose own key names a forgotten one, and those that these are named by, and so on."""
    judge, waiting = Judge(typed_schema(state.schema)), list(forgotten)
    while waiting:
        target = waiting.pop()
        for link in state.schema.links_to(target):
            table = state.schema.table(link.table)
            if not set(link.columns) & set(table.key):
                continue
            rows = MergedSource(state, {}).scan(table.name).read_all()
            num = rows.num_rows
            judged = judge.judge(Changes(table.name, rows, np.zeros(num, np.int64), np.zeros(num, np.bool_)))
            named = judged.foreign[state.schema.links.index(link)][0].to_pylist()
            keys = judged.keys.to_pylist()
            found = {k for k, text in zip(keys, named, strict=True) if k and text in forgotten[target]}
            fresh = sorted(found - set(forgotten.get(table.name, [])))
            if fresh:
                forgotten.setdefault(table.name, []).extend(fresh)
                waiting.append(table.name)


def _mark(state: State, name: str, texts: Sequence[str]) -> None:
    """Let deletions of those keys hold for good."""
    sequence = np.full(len(texts), NEWEST, np.int64)
    state.tables[name].remember(pa.table({"key": list(texts), "sequence": sequence, "content": ["z"] * len(texts)}))
