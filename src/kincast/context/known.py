"""Known: labels that are known at an instant, made from the newest window back, and which of them are learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import Span, add, format_instant
from kincast.errors import DataError
from kincast.progress import Progress, silent
from kincast.project import SplitSettings
from kincast.query.anchors import history_tables, time_range
from kincast.query.block import Plan, make_blocks
from kincast.query.compile import length_of
from kincast.query.encode import encode
from kincast.query.grid import shifted
from kincast.query.labels import Labels, labels_of, static_as_of
from kincast.query.table import LabelTable
from kincast.query.task import Task
from kincast.source.base import quote
from kincast.source.tables import Tables

LEAST_WINDOWS = 8
"""Windows that a context is spread over where there are as many: each gives at most such a share of its rows."""
MAX_WINDOWS = 4_096
MOST_HELD_OUT = 0.2  # of the context
HELD_OUT = 500
"""Rows held out at least, where that share allows: of as few of the newest windows as have them."""

Int64s = NDArray[np.int64]


def known_labels(task: Task, tables: Tables, as_of_us: int, max_rows: int, progress: Progress = silent) -> Labels:
    """All labels of the newest windows that have ended by an instant, as many as give a context of so many rows.

    The label of a column is that of every row that was there by then.

    Args:
        task: what is predicted.
        tables: the rows.
        as_of_us: the instant.
        max_rows: of the context.
        progress: told what is done.

    Returns:
        labels of split 0, by instant and then by row.

    Raises:
        DataError: no window has ended by then, or none has a label.
    """
    if task.is_static:
        as_of = None if static_as_of(task, tables) is None else as_of_us
        table = pa.concat_tables(make_blocks(Plan(task, tables, (), as_of), None, progress))
        table = table.filter(pa.array(table["as_of_us"].to_numpy() <= as_of_us))
    else:
        table = _of_windows(task, tables, as_of_us, max_rows, progress)
    if not table.num_rows:
        what = f"no row has a label by {format_instant(as_of_us)}"
        raise DataError(what, where=task.query_line, hint="ask as of a later instant, or change the filter")
    found = encode(task, table["target"])
    rows, instants = (table[name].to_numpy().astype(np.int64, copy=False) for name in ("row", "as_of_us"))
    split = np.zeros(len(rows), np.int8)
    return labels_of(task, found, LabelTable(rows, instants, table["target"], split), SplitSettings())


def _of_windows(task: Task, tables: Tables, as_of_us: int, max_rows: int, progress: Progress) -> pa.Table:
    """Labels of windows one before the other, the newest first to be made, in the order of time."""
    assert task.window is not None
    first, last = time_range(tables, task.fact_tables)[0], _last_fact(tables, task.fact_tables, as_of_us)
    # Behind the last fact nothing was written down yet, which is not the same as nothing happening.
    step, newest = length_of(task.window), shifted(last, -task.window[1])
    floor = shifted(first, step)  # without a step of facts before it there is nothing to learn from
    if task.history is not None:
        floor = max(floor, shifted(time_range(tables, history_tables(task))[0], task.history))
    parts: list[pa.Table] = []
    num_rows = done = 0
    size = LEAST_WINDOWS  # made at once; then four times as many, until there are enough rows
    while num_rows < max_rows and done < MAX_WINDOWS:
        anchors = [shifted(newest, -(step * number)) for number in range(done, done + size)]
        anchors = [anchor for anchor in reversed(anchors) if anchor >= floor]
        if not anchors:
            break
        part = pa.concat_tables(make_blocks(Plan(task, tables, tuple(anchors)), None, progress))
        counts = np.unique(part["as_of_us"].to_numpy(), return_counts=True)[1]
        num_rows += int(np.minimum(counts, -(-max_rows // LEAST_WINDOWS)).sum())
        parts, done, size = [part, *parts], done + size, 4 * size
    if not parts:
        what = f"no window of {task.window[1]} has ended by {format_instant(as_of_us)}, with as long before it"
        where = f"{', '.join(task.fact_tables)}, from {format_instant(first)} on"
        raise DataError(what, where=where, hint="ask as of a later instant, or use a shorter window")
    return pa.concat_tables(parts)


def _last_fact(tables: Tables, names: Sequence[str], as_of_us: int) -> int:
    """The latest time of the facts by an instant; the instant where there are none. Later ones must not matter."""
    parts = [f"SELECT max(_time) AS hi FROM {quote(name)} WHERE _time <= make_timestamp({as_of_us})" for name in names]
    with tables.connect() as connection:
        found = connection.execute(f"SELECT epoch_us(max(hi)) FROM ({' UNION ALL '.join(parts)})").fetchone()
    return as_of_us if found is None or found[0] is None else int(found[0])


def choose_context(labels: Labels, max_rows: int, seed: int) -> NDArray[np.bool_]:
    """[n] which labels of split 0 are learnt from: the newest, and of each window at most so many, drawn.

    Rows of a column, which have no windows in common, are taken from the newest on.

    Args:
        labels: known ones, of split 0; those of other splits are never chosen.
        max_rows: as many as are chosen.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    free = np.flatnonzero(labels.split == 0)
    order = free[np.lexsort((random.random(len(free)), -labels.as_of_us[free]))]  # newest first, in a drawn order
    instants, starts, sizes = np.unique(-labels.as_of_us[order], return_index=True, return_counts=True)
    most = -(-max_rows // max(min(LEAST_WINDOWS, len(instants)), 1))
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    chosen = np.zeros(len(labels), bool)
    first = order[place < most][:max_rows]
    rest = order[place >= most][: max_rows - len(first)]
    chosen[np.concatenate([first, rest])] = True
    return chosen


def hold_out(task: Task, as_of_us: Int64s, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The newest part of a context, and the part before it that was known when the newest begins.

    Args:
        task: whose window says when a label is known.
        as_of_us: [n] instants of the context.
        seed: of the draw where rows of a column have no time, so that none is the newest.

    Returns:
        two masks [n]: the older part, and the part held out; both empty where no part was known before another.
    """
    instants, counts = np.unique(as_of_us, return_counts=True)
    wanted = min(HELD_OUT, MOST_HELD_OUT * len(as_of_us))
    if len(instants) == 1 and task.is_static:
        held = np.random.default_rng(seed).random(len(as_of_us)) < wanted / len(as_of_us)
        return ~held, held
    later = np.cumsum(counts[::-1])[::-1]  # rows at each instant and after it
    place = int(np.searchsorted(-later, -wanted, side="right")) - 1
    first = int(instants[min(max(place, 1), len(instants) - 1)])
    end = Span(0, "days") if task.window is None else task.window[1]
    known = np.array([add(instant, end) for instant in instants.tolist()], np.int64)
    older = (known[np.searchsorted(instants, as_of_us)] <= first) & (as_of_us < first)
    return older, (as_of_us >= first) & older.any()


def with_asked(labels: Labels, rows: Int64s, instants: Int64s) -> Labels:
    """Known labels of one value each, and behind them the rows asked for, of split 2, whose target is not known: NaN.

    Args:
        labels: known ones.
        rows: [m] rows of the entity table.
        instants: [m] as-of instant of each.
    """
    return replace(
        labels,
        rows=np.concatenate([labels.rows, rows]),
        as_of_us=np.concatenate([labels.as_of_us, instants]),
        target=np.concatenate([labels.target, np.full(len(rows), np.nan)]),
        split=np.concatenate([labels.split, np.full(len(rows), 2, np.int8)]),
    )
