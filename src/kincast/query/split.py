"""Split: which labels are for training, which for validation, which for the test; always earlier before later."""

from __future__ import annotations

import duckdb
import numpy as np
from numpy.typing import NDArray

from kincast.project import SplitSettings
from kincast.query.anchors import Anchors
from kincast.query.task import Task
from kincast.source.base import quote

SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.9)
"""Where validation and test begin, as a share of all labels of a static target."""


def split_by_anchor(as_of_us: NDArray[np.int64], anchors: Anchors) -> NDArray[np.int8]:
    """[n] int8 split of labels made at anchors."""
    result = np.zeros(len(as_of_us), dtype=np.int8)
    for number, instants in ((1, anchors.validation), (2, anchors.test)):
        result[np.isin(as_of_us, np.array(instants, dtype=np.int64))] = number
    return result


def split_by_dates(as_of_us: NDArray[np.int64], validation_start: int, test_start: int) -> NDArray[np.int8]:
    """[n] int8 split of labels by two dates; a label at a date belongs to the split that starts there."""
    return ((as_of_us >= validation_start).astype(np.int8) + (as_of_us >= test_start)).astype(np.int8)


def split_by_time(as_of_us: NDArray[np.int64]) -> NDArray[np.int8] | None:
    """[n] int8 split of labels by time, .8/.1/.1; labels of one instant stay together; None when a split is empty."""
    ordered = np.sort(as_of_us)
    if not len(ordered):
        return None
    starts = [int(ordered[min(int(share * len(ordered)), len(ordered) - 1)]) for share in SHARES]
    result = split_by_dates(as_of_us, *starts)
    return result if len(np.unique(result)) == len(SPLITS) else None


def split_by_key(task: Task, connection: duckdb.DuckDBPyConnection, rows: NDArray[np.int64]) -> NDArray[np.int8]:
    """[n] int8 split of labels by a hash of the entity's key, about .8/.1/.1: the same key is always in the same."""
    key = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in task.entity_table.key)
    sql = f"SELECT _row, CAST('0x' || left(md5(concat_ws('/', {key})), 8) AS BIGINT) AS h FROM {quote(task.entity)}"
    found = connection.execute(f"SELECT h FROM ({sql}) ORDER BY _row").fetchnumpy()["h"].astype(np.float64)
    share = found[rows] / 2.0**32
    return ((share >= SHARES[0]).astype(np.int8) + (share >= SHARES[1])).astype(np.int8)


def split_static(
    task: Task,
    connection: duckdb.DuckDBPyConnection,
    rows: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    split: SplitSettings,
) -> NDArray[np.int8]:
    """[n] int8 split of a static target's labels: by start dates, by time, or by key where there is no time."""
    timed = task.entity_table.time is not None
    if timed and split.validation_start_us is not None and split.test_start_us is not None:
        return split_by_dates(as_of_us, split.validation_start_us, split.test_start_us)
    by_time = split_by_time(as_of_us) if timed else None
    return split_by_key(task, connection, rows) if by_time is None else by_time
