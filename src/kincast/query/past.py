"""Past: values that a forecast's target had before an instant, as far as they were known then.

Lag ``i`` is the target over the ``i``-th step back. It is a label of its own, known only when everything that it looks
at has ended; where that lies after what the seed may see, the value is missing.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.clock import Span, add
from kincast.query.block import Plan, make_blocks
from kincast.query.compile import compile_task
from kincast.query.grid import shifted
from kincast.query.print import print_query
from kincast.query.task import Task
from kincast.query.tree import Aggregate
from kincast.source.tables import Tables

MAX_KEPT_BYTES = 1 << 30
YEAR = Span(12, "months")
Int64s = NDArray[np.int64]
Floats = NDArray[np.float32]


class PastValues:
    """The past of a forecast's target, computed when it is asked for and kept; safe to call from several threads.

    Args:
        task: a forecast.
        open_tables: gives the rows.
        lags: values before the instant, a step each.
        year_over_year: also the values of the steps themselves, a year earlier.
        strict: what happens at the very instant is not seen.
        same: [rows of the entity table] first version of each row; None where rows have no versions.
    """

    def __init__(
        self,
        task: Task,
        open_tables: Callable[[], AbstractContextManager[Tables]],
        lags: int,
        *,
        year_over_year: bool = False,
        strict: bool = False,
        same: NDArray[Any] | None = None,
    ) -> None:
        if task.step_length is None:
            raise RuntimeError("only a forecast has a past")
        self._task, self._open_tables = _one_step(task), open_tables
        self._step, self._lags, self._strict = task.step_length, lags, strict
        self._steps = task.steps if year_over_year else 0
        self._same = same
        self._values: dict[int, Floats] = {}  # anchor → [rows of the entity table]
        self._anchors_of: dict[int, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        """Values per seed."""
        return self._lags + self._steps

    def read(self, rows: Int64s, as_of_us: Int64s, visible_us: Int64s) -> Floats:
        """Past values of rows, the newest lag first, then the steps a year earlier.

        Args:
            rows: [n] of the entity table.
            as_of_us: [n] instants they are counted back from.
            visible_us: [n] facts later than this are not seen.

        Returns:
            [n, width] float32, NaN where a value was not known yet or the row did not exist.
        """
        found = np.full((len(rows), self.width), np.nan, np.float32)
        pairs, place = np.unique(np.stack([as_of_us, visible_us]), axis=1, return_inverse=True)
        place = place.reshape(-1)
        rows = rows if self._same is None else np.asarray(self._same[rows], np.int64)
        values = self._of(int(instant) for instant in pairs[0])
        for number, (as_of, visible) in enumerate(pairs.T.tolist()):
            here = np.flatnonzero(place == number)
            for column, anchor in enumerate(self._anchors(as_of)):
                if self._known(anchor) <= visible - self._strict:
                    found[here, column] = values[anchor][rows[here]]
        return found

    def _of(self, instants: Iterable[int]) -> dict[int, Floats]:
        """Values of all rows at the anchors of those instants."""
        with self._lock:
            wanted = {anchor for instant in instants for anchor in self._anchors(instant)}
            missing = sorted(wanted - self._values.keys())
            if missing:
                kept = sum(array.nbytes for array in self._values.values())
                if kept > MAX_KEPT_BYTES:
                    self._values = {a: array for a, array in self._values.items() if a in wanted}
                self._values |= self._compute(missing)
            return {anchor: self._values[anchor] for anchor in wanted}

    def _compute(self, anchors: list[int]) -> dict[int, Floats]:
        with self._open_tables() as tables:
            num_rows = tables.num_rows(self._task.entity)
            found = {anchor: np.full(num_rows, np.nan, np.float32) for anchor in anchors}
            for block in make_blocks(Plan(self._task, tables, tuple(anchors), None)):
                at, rows = (block[name].to_numpy().astype(np.int64, copy=False) for name in ("as_of_us", "row"))
                rows = rows if self._same is None else np.asarray(self._same[rows], np.int64)
                values = block["target"].cast("double").to_numpy()
                starts = np.flatnonzero(np.diff(at, prepend=at[:1] - 1))  # blocks are in the order of time
                for start, stop in zip(starts, [*starts[1:], len(at)], strict=True):
                    found[int(at[start])][rows[start:stop]] = values[start:stop]
        return found

    def _anchors(self, as_of_us: int) -> tuple[int, ...]:
        """Anchors whose windows are the lags and the steps a year earlier."""
        known = self._anchors_of.get(as_of_us)
        if known is None:
            assert self._task.window is not None
            # What happens at the very instant is not seen by a strict task: its windows end just before.
            end = as_of_us - self._strict
            newest = shifted(end, -self._task.window[1])
            last_year = shifted(end, -YEAR)
            known = (
                *(shifted(newest, -(self._step * number)) for number in range(self._lags)),
                *(shifted(last_year, self._step * number) for number in range(self._steps)),
            )
            self._anchors_of[as_of_us] = known
        return known

    def _known(self, anchor: int) -> int:
        """From when on the value of an anchor is known."""
        assert self._task.window is not None
        return add(anchor, self._task.window[1])


def _one_step(task: Task) -> Task:
    """The target over one step, of every entity, whatever filters and conditions the forecast has."""
    entity = dataclasses.replace(task.query.entity, keys=None)
    query = dataclasses.replace(task.query, entity=entity, modifier=None, where=None, assuming=None)
    return compile_task(print_query(query), task.schema)


def step_edges(task: Task, instants_us: Int64s) -> Int64s | None:
    """[n, steps + 1] where the steps of a forecast begin and end, counted from each instant; None for other kinds."""
    if task.step_length is None or not isinstance(task.query.target, Aggregate) or task.query.target.window is None:
        return None
    window = task.query.target.window
    start, length = window.start or 0, task.step_length.count
    unique, place = np.unique(instants_us, return_inverse=True)
    # As the windows of labels: in calendar units months are clipped once, from the instant.
    counts = [start + step * length for step in range(task.steps + 1)]
    edges = [[shifted(instant, Span(count, window.unit)) for count in counts] for instant in unique.tolist()]
    return np.array(edges, np.int64).reshape(-1, task.steps + 1)[place.reshape(-1)]
