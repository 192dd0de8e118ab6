"""Live features: those of rows that came since the snapshot, encoded once each and read with the stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kincast.feature.spec import FeatureSpec, TableSpec
from kincast.feature.store import FeatureStore, TableFeatures, encode_rows
from kincast.graph.live import Joined, LiveSnapshot
from kincast.graph.state import Growing


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
        self._blocks = {spec.table: _Block(spec, store.tables[spec.table]) for spec in store.spec.tables}

    def encode(self, view: LiveSnapshot) -> LiveFeatures:
        """Features of a view; only rows that no view before had are encoded.

        Args:
            view: of the same base.
        """
        tables = {name: block.extended(view) for name, block in self._blocks.items()}
        return LiveFeatures(self.store.spec, tables)


class _Block:
    """Encoded live rows of one table, in the order they were first seen."""

    def __init__(self, spec: TableSpec, base: TableFeatures) -> None:
        self._spec, self._base = spec, base
        self._numeric = Growing(np.float32, base.numeric.shape[1])
        self._codes = Growing(np.int32, base.codes.shape[1])
        self._instants = Growing(np.int64, base.instants_us.shape[1])
        self._place = Growing(np.int64)  # by arrival; -1 when it is not encoded
        self._time_us = Growing(np.int64)  # by arrival: the row time it was encoded with

    def extended(self, view: LiveSnapshot) -> TableFeatures:
        table = view.tables[self._spec.table]
        arrivals = table.arrival
        more = int(arrivals.max()) + 1 - len(self._place) if len(arrivals) else 0
        if more > 0:
            self._place.extend(-1, more)
            self._time_us.extend(0, more)
        place, time_us = self._place.values, self._time_us.values
        fresh = np.flatnonzero((place[arrivals] < 0) | (time_us[arrivals] != table.live_time_us))
        if len(fresh):
            rows = view.columns(table.name, self._spec.columns, fresh)
            times = None if table.time_us is None else table.live_time_us[fresh]
            encoded = encode_rows(rows, len(fresh), times, self._spec)
            place[arrivals[fresh]] = len(self._numeric) + np.arange(len(fresh))
            time_us[arrivals[fresh]] = table.live_time_us[fresh]
            self._numeric.extend(encoded.numeric)
            self._codes.extend(encoded.codes)
            self._instants.extend(encoded.instants_us)
        index = place[arrivals]
        joined = (
            Joined(self._base.numeric, self._numeric.values, index),
            Joined(self._base.codes, self._codes.values, index),
            Joined(self._base.instants_us, self._instants.values, index),
            table.time_us,
        )
        # Whoever gathers rows of features reads these as it reads arrays.
        return TableFeatures(*cast("tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64], None]", joined))
