"""Live features: those of rows that came since the snapshot, encoded once each and read with the stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.feature.encode import encode_rows
from kincast.feature.spec import FeatureSpec
from kincast.feature.store import FeatureStore, TableFeatures, Words
from kincast.graph.growing import Growing
from kincast.graph.live import LiveSnapshot, LiveTable


@dataclass(frozen=True, slots=True)
class LiveFeatures:
    """Features of every row of a live view.

    Attributes:
        spec: the inputs.
        tables: name → features by the view's rows.
    """

    spec: FeatureSpec
    tables: Mapping[str, TableFeatures]


class LiveEncoder:
    """Encodes what is new in each view of one base snapshot.

    Args:
        store: encoded features of the base.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._blocks = {name: _Block(features) for name, features in store.tables.items()}

    def encode(self, view: LiveSnapshot) -> LiveFeatures:
        """Features of a view; only rows that no view before had are encoded.

        Args:
            view: of the same base.
        """
        tables = {name: block.extended(view) for name, block in self._blocks.items()}
        return LiveFeatures(self.store.spec, tables)


@dataclass(frozen=True, slots=True)
class JoinedWords:
    """Records of the base's rows and, behind them, of the live ones.

    Attributes:
        base: records of the base.
        num_base: how many.
        live: [m, width] uint64 records of live rows, in the order they were first seen.
        index: [live rows] int64 place in ``live`` of each.
    """

    base: Words
    num_base: int
    live: NDArray[np.uint64]
    index: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The records of those rows: [n, width] uint64, in memory of its own."""
        is_live = rows >= self.num_base
        if not is_live.any():
            return self.base.take(rows)
        words = np.empty((len(rows), self.live.shape[1]), np.uint64)
        words[~is_live] = self.base.take(rows[~is_live])
        words[is_live] = self.live[self.index[rows[is_live] - self.num_base]]
        return words


class _Block:
    """Encoded live rows of one table, in the order they were first seen."""

    def __init__(self, base: TableFeatures) -> None:
        self._base = base
        self._width = base.record.itemsize // 8
        self._words = Growing(np.uint64, self._width)
        self._place = Growing(np.int64)  # by arrival; -1 when it is not encoded
        self._time_us = Growing(np.int64)  # by arrival: the row time it was encoded with

    def extended(self, view: LiveSnapshot) -> TableFeatures:
        table = view.tables[self._base.spec.table]
        arrivals = table.arrival
        more = int(arrivals.max()) + 1 - len(self._place) if len(arrivals) else 0
        if more > 0:
            self._place.extend(-1, more)
            self._time_us.extend(0, more)
        place, time_us = self._place.values, self._time_us.values
        fresh = np.flatnonzero((place[arrivals] < 0) | (time_us[arrivals] != table.live_time_us))
        if len(fresh):
            place[arrivals[fresh]] = len(self._words) + np.arange(len(fresh))
            time_us[arrivals[fresh]] = table.live_time_us[fresh]
            self._words.extend(self._encoded(view, table, fresh))
        words = JoinedWords(self._base.words, table.num_base, self._words.values, place[arrivals])
        return TableFeatures(self._base.spec, self._base.storage, words)

    def _encoded(self, view: LiveSnapshot, table: LiveTable, fresh: NDArray[np.int64]) -> NDArray[np.uint64]:
        """[n, width] uint64 records of some of the live rows."""
        spec = self._base.spec
        # Arrow counts the rows of a table by its columns.
        rows = view.columns(table.name, spec.columns, fresh) if spec.columns else pa.table({"_row": fresh})
        times = None if table.time_us is None else table.live_time_us[fresh]
        records = encode_rows(rows, spec, times, self._base.storage)
        return records.view(np.uint64).reshape(len(fresh), self._width)
