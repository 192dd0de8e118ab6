"""Split: which labels are for training, which for validation, which for the test.

Where time decides, always earlier before later. Labels that belong nowhere (-1) are left out: of a row that the user
put into no split, and those whose window reaches beyond the first instant of the next split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.project import SPLIT_NAMES, SplitSettings
from kincast.query.anchors import BY_ANCHOR, Anchors, split_family
from kincast.query.encode import Lists
from kincast.query.grid import shifted
from kincast.query.task import Task
from kincast.schema import Table
from kincast.source.base import quote

SPLITS = SPLIT_NAMES
NOWHERE = -1
Int64s = NDArray[np.int64]
Int8s = NDArray[np.int8]


def split_labels(
    task: Task,
    connection: duckdb.DuckDBPyConnection,
    rows: Int64s,
    as_of_us: Int64s,
    anchors: Anchors,
    split: SplitSettings,
) -> Int8s:
    """[n] int8 split of every label, -1 for those to leave out; links are split by ``split_links`` instead.

    Args:
        task: what is predicted.
        connection: to the tables.
        rows: [n] rows of the entity table.
        as_of_us: [n] instants.
        anchors: that the labels were made at.
        split: the settings.

    Raises:
        DataError: the column of a manual split is not there.
    """
    family = split_family(task, split)
    if family == "manual":
        return split_by_column(task.entity_table, connection, rows, split)
    if family == "random":
        return split_by_key(task, connection, rows, split)
    if task.window is not None and family in BY_ANCHOR:
        return split_by_anchor(as_of_us, anchors)
    if split.ranges and family == "time_range":
        return split_by_ranges(as_of_us, split.ranges)
    if split.validation_start_us is not None and split.test_start_us is not None and family == "time_range":
        return split_by_dates(as_of_us, split.validation_start_us, split.test_start_us)
    by_time = split_by_time(as_of_us, split.shares)
    if by_time is None:
        return split_by_key(task, connection, rows, split)
    return by_time if task.window is None else without_overlap(task, as_of_us, by_time)


def split_by_anchor(as_of_us: Int64s, anchors: Anchors) -> Int8s:
    """[n] int8 split of labels made at anchors."""
    result = np.zeros(len(as_of_us), dtype=np.int8)
    for number, instants in ((1, anchors.validation), (2, anchors.test)):
        result[np.isin(as_of_us, np.array(instants, dtype=np.int64))] = number
    return result


def split_by_dates(as_of_us: Int64s, validation_start: int, test_start: int) -> Int8s:
    """[n] int8 split of labels by two dates; a label at a date belongs to the split that starts there."""
    return ((as_of_us >= validation_start).astype(np.int8) + (as_of_us >= test_start)).astype(np.int8)


def split_by_ranges(as_of_us: Int64s, ranges: Mapping[str, tuple[int, int]]) -> Int8s:
    """[n] int8 split of labels by the range that their instant lies in, from its start to before its end."""
    result = np.full(len(as_of_us), NOWHERE, dtype=np.int8)
    for number, name in enumerate(SPLITS):
        start, end = ranges[name]
        result[(as_of_us >= start) & (as_of_us < end)] = number
    return result


def split_by_time(as_of_us: Int64s, shares: Sequence[float] = (0.8, 0.1, 0.1)) -> Int8s | None:
    """[n] int8 split of labels by time and shares; labels of one instant stay together; None when a split is empty."""
    ordered = np.sort(as_of_us)
    if not len(ordered):
        return None
    starts = [int(ordered[min(int(share * len(ordered)), len(ordered) - 1)]) for share in _edges(shares)]
    result = split_by_dates(as_of_us, *starts)
    return result if len(np.unique(result)) == len(SPLITS) else None


def without_overlap(task: Task, as_of_us: Int64s, splits: Int8s) -> Int8s:
    """The splits without labels whose window ends after the next split's first instant."""
    if task.window is None:
        return splits
    result = splits.copy()
    for number in (1, 0):
        later = as_of_us[result == number + 1]
        if len(later):
            start = int(later.min())
            own = np.unique(as_of_us[result == number])
            late = np.array([t for t in own.tolist() if shifted(t, task.window[1]) > start], dtype=np.int64)
            result[(result == number) & np.isin(as_of_us, late)] = NOWHERE
    return result


def split_by_key(
    task: Task, connection: duckdb.DuckDBPyConnection, rows: Int64s, split: SplitSettings | None = None
) -> Int8s:
    """[n] int8 split of labels by a hash of the entity's key: the same key is always in the same."""
    split = split or SplitSettings()
    share = key_hashes(task, task.entity, connection, split.seed)[rows].astype(np.float64) / 2.0**32
    return by_share(share, split.shares)


def split_by_column(table: Table, connection: duckdb.DuckDBPyConnection, rows: Int64s, split: SplitSettings) -> Int8s:
    """[n] int8 split of rows of a table by a column of it; -1 where it holds none of the three values."""
    wanted = (split.column or "").removeprefix(f"{table.name}.")
    if not table.has_column(wanted):
        hint = f"it has {', '.join(column.name for column in table.columns)}"
        raise DataError(f"table {table.name} has no column {wanted} to split by", where="split.column", hint=hint)
    sql = f"SELECT CAST({quote(wanted)} AS VARCHAR) AS word FROM {quote(table.name)} ORDER BY _row"
    words = connection.execute(sql).fetchnumpy()["word"]
    numbers = {value: number for number, value in enumerate(split.values)}
    if split.values == SPLITS:
        numbers = {**WORDS, **numbers}
    known = np.array([numbers.get(_word(word), NOWHERE) for word in np.ma.filled(words, "").tolist()], dtype=np.int8)
    return known[rows]


def split_links(
    task: Task, connection: duckdb.DuckDBPyConnection, rows: Int64s, links: Lists, split: SplitSettings
) -> tuple[Int64s, Int8s, Lists]:
    """Each link of its own into a split: the same row may have a label in all three, with different links.

    Args:
        task: static link prediction.
        connection: to the tables.
        rows: [n] rows of the entity table.
        links: [n] the rows that each is linked to.
        split: shares and seed.

    Returns:
        Rows [m], splits [m], and the links of each, by split and then as they came.
    """
    if task.item_table is None:
        raise RuntimeError("only links can be split link by link")
    mine = key_hashes(task, task.entity, connection, split.seed)[np.repeat(rows, links.lengths)]
    theirs = key_hashes(task, task.item_table, connection, split.seed)[links.items.astype(np.int64)]
    parts = by_share(mixed(mine, theirs).astype(np.float64) / 2.0**32, split.shares)
    owners = np.repeat(np.arange(len(rows)), links.lengths)
    found: list[tuple[Int64s, Int8s, Int64s, Int64s]] = []
    for number in range(len(SPLITS)):
        chosen = parts == number
        own, lengths = np.unique(owners[chosen], return_counts=True)
        items = links.items[chosen].astype(np.int64)
        found.append((rows[own], np.full(len(own), number, dtype=np.int8), lengths.astype(np.int64), items))
    new_rows, splits, lengths, items = (np.concatenate(column) for column in zip(*found, strict=True))
    return new_rows, splits, Lists(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), items)


def key_hashes(task: Task, table: str, connection: duckdb.DuckDBPyConnection, seed: int) -> NDArray[np.uint64]:
    """[rows] uint64 below 2^32: a hash of every row's key, whatever its place."""
    names = [f"CAST({quote(name)} AS VARCHAR)" for name in task.schema.table(table).key]
    names += [f"'{seed}'"] if seed else []
    key = ", ".join(names)
    sql = f"SELECT _row, CAST('0x' || left(md5(concat_ws('/', {key})), 8) AS BIGINT) AS h FROM {quote(table)}"
    found = connection.execute(f"SELECT h FROM ({sql}) ORDER BY _row").fetchnumpy()["h"]
    return np.asarray(found, dtype=np.uint64)


def mixed(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Two hashes below 2^32 → one, by the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = (a << np.uint64(32)) | b
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(32)


WORDS = {**{name: i for i, name in enumerate(SPLITS)}, **{str(i): i for i in range(3)}, "val": 1, "valid": 1}
"""How a split is written, in a label table or a column."""


def _word(value: object) -> str:
    return str(value).strip()


def _edges(shares: Sequence[float]) -> tuple[float, float]:
    # Rounded so that 0.8 + 0.1 is 0.9.
    return round(shares[0], 12), round(shares[0] + shares[1], 12)


def by_share(share: NDArray[np.float64], shares: Sequence[float]) -> Int8s:
    """[n] int8 split of numbers from 0 to 1."""
    validation, test = _edges(shares)
    return ((share >= validation).astype(np.int8) + (share >= test)).astype(np.int8)
