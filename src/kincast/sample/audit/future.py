"""Future: the same graph with everything after an instant removed, changed or added, for predictions to ignore."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.clock import DAY_US, format_instant
from kincast.errors import DataError
from kincast.feature.convert import NO_INSTANT
from kincast.feature.store import FeatureStore, HeldWords, TableFeatures
from kincast.graph.csr import reverse_link, row_type
from kincast.graph.snapshot import NEVER_US, Snapshot, SnapshotLink, SnapshotTable
from kincast.report import Check, Verdict
from kincast.sample.batch import Seeds

Predict = Callable[[Snapshot, FeatureStore, Seeds], NDArray[Any]]
"""Scores or embeddings [n, ...] of seeds on a graph."""

SPAN_US = 1_000 * DAY_US


def check_future(
    predict: Predict, snapshot: Snapshot, features: FeatureStore, seeds: Seeds, strict: bool = False
) -> Iterator[Check]:
    """Predictions keep every bit whatever becomes of the rows after their instant. Certain for the seeds looked at.

    Args:
        predict: what is judged.
        snapshot: the rows.
        features: encoded.
        seeds: of one table, at several instants.
        strict: rows at the very instant are the future too.
    """
    versioned = [name for name, table in snapshot.tables.items() if table.versions is not None]
    if versioned:
        raise DataError("the future of versions cannot be made different yet", where=", ".join(versioned))
    worlds = {"removed": removed, "changed": changed, "added": added}
    moved = dict.fromkeys(worlds, 0)
    shown: dict[str, list[str]] = {name: [] for name in worlds}
    for cut_us in np.unique(seeds.visible).tolist():
        part = seeds.take(np.flatnonzero(seeds.visible == cut_us))
        before = predict(snapshot, features, part)
        for name, make in worlds.items():
            after = predict(*make(snapshot, features, cut_us - strict), part)
            differs = (before != after).reshape(len(part), -1).any(axis=1)
            moved[name] += int(differs.sum())
            if differs.any():
                shown[name].append(format_instant(cut_us))
    for name, count in moved.items():
        what = f"{len(seeds):,} predictions keep every bit when later rows are {name}"
        if count:
            what = f"{count:,} of {len(seeds):,} predictions move when rows after their instant are {name}"
        verdict = Verdict.FAIL if count else Verdict.OK
        yield Check(f"future.{name}", seeds.table, verdict, what, count, 0, tuple(shown[name][:3]))


def check_known_later(predict: Predict, snapshot: Snapshot, features: FeatureStore, seeds: Seeds) -> Iterator[Check]:
    """Columns of visible rows that hold instants after the seed's: plans, or times filled in afterwards."""
    for cut_us in np.unique(seeds.visible).tolist()[-1:]:
        part = seeds.take(np.flatnonzero(seeds.visible == cut_us))
        before = predict(snapshot, features, part)
        for spec in features.spec.tables:
            for place, instant in enumerate(spec.instants):
                store = _other_instants(features, spec.table, place, cut_us)
                if store is None:
                    continue
                moved = int((before != predict(snapshot, store, part)).reshape(len(part), -1).any(axis=1).sum())
                what = (
                    f"{moved:,} of {len(part):,} predictions read instants of it that lie after their own; unless they "
                    "are plans made before, set its type to ignored"
                )
                what = what if moved else "no prediction reads an instant of it that lies after its own"
                verdict = Verdict.WARN if moved else Verdict.OK
                yield Check("column.later", f"{spec.table}.{instant.column}", verdict, what, moved, 0)


def removed(snapshot: Snapshot, features: FeatureStore, cut_us: int) -> tuple[Snapshot, FeatureStore]:
    """The graph without rows later than the cut, and with no end after it known."""
    kept = {name: _num_kept(table, cut_us) for name, table in snapshot.tables.items()}
    rows = {name: np.arange(count) for name, count in kept.items()}
    return _graph(snapshot, features, rows, kept, {}, cut_us)


def changed(snapshot: Snapshot, features: FeatureStore, cut_us: int) -> tuple[Snapshot, FeatureStore]:
    """The graph with other values, links and ends in rows later than the cut."""
    random = np.random.default_rng(1)
    kept = {name: _num_kept(table, cut_us) for name, table in snapshot.tables.items()}
    rows = {
        name: np.concatenate([np.arange(kept[name]), random.permutation(np.arange(kept[name], table.num_rows))])
        for name, table in snapshot.tables.items()
    }
    return _graph(snapshot, features, rows, kept, _later_times(snapshot, rows, kept, random, cut_us), cut_us)


def added(snapshot: Snapshot, features: FeatureStore, cut_us: int) -> tuple[Snapshot, FeatureStore]:
    """The graph with twice as many rows, and fifty more, later than the cut, linked by chance."""
    random = np.random.default_rng(2)
    kept = {name: _num_kept(table, cut_us) for name, table in snapshot.tables.items()}
    rows = {}
    for name, table in snapshot.tables.items():
        more = 2 * (table.num_rows - kept[name]) + 50 if table.time_us is not None and table.num_rows else 0
        rows[name] = np.concatenate([np.arange(kept[name]), random.integers(0, max(table.num_rows, 1), more)])
    return _graph(snapshot, features, rows, kept, _later_times(snapshot, rows, kept, random, cut_us), cut_us)


def _num_kept(table: SnapshotTable, cut_us: int) -> int:
    if table.time_us is None:
        return table.num_rows
    return int(np.searchsorted(table.time_us, cut_us, side="right"))


def _later_times(
    snapshot: Snapshot,
    rows: Mapping[str, NDArray[np.int64]],
    kept: Mapping[str, int],
    random: np.random.Generator,
    cut_us: int,
) -> dict[str, NDArray[np.int64]]:
    """Table → instants after the cut, ascending, for its new rows."""
    return {
        name: np.sort(cut_us + 1 + random.integers(0, SPAN_US, len(rows[name]) - kept[name]))
        for name, table in snapshot.tables.items()
        if table.time_us is not None
    }


def _graph(
    snapshot: Snapshot,
    features: FeatureStore,
    rows: Mapping[str, NDArray[np.int64]],
    kept: Mapping[str, int],
    later: Mapping[str, NDArray[np.int64]],
    cut_us: int,
) -> tuple[Snapshot, FeatureStore]:
    """Rows up to the cut as they are, behind them copies of others at later instants with links by chance."""
    random = np.random.default_rng(3)
    tables, links = {}, []
    for name, table in snapshot.tables.items():
        time_us = table.time_us
        if time_us is not None:
            time_us = np.concatenate([time_us[: kept[name]], later.get(name, np.zeros(0, np.int64))])
        end_us = None if table.end_us is None else np.array(table.end_us[rows[name]])
        if end_us is not None:
            unknown = end_us > cut_us
            end_us[unknown] = np.where(random.random(unknown.sum()) < 0.5, NEVER_US, cut_us + SPAN_US)
        tables[name] = SnapshotTable(name, len(rows[name]), time_us, end_us)
    for link in snapshot.links:
        src, dst = link.link.table, link.link.target
        first = np.array(link.forward[: kept[src]], np.int64)
        first[first >= kept[dst]] = -1
        num_rest = len(rows[src]) - kept[src]
        rest = random.integers(0, len(rows[dst]), num_rest) if len(rows[dst]) else np.full(num_rest, -1)
        forward: Any = np.concatenate([first, rest]).astype(row_type(len(rows[dst])))
        links.append(SnapshotLink(link.link, forward, *reverse_link(forward, len(rows[dst]))))
    graph, store = copy.copy(snapshot), copy.copy(features)
    graph.tables, graph.links = MappingProxyType(tables), tuple(links)
    store.tables = {name: _rows_of(table, rows[name], tables[name]) for name, table in features.tables.items()}
    for name, encoded in store.tables.items():
        _scramble(encoded, kept[name], random)
    return graph, store


def _rows_of(table: TableFeatures, rows: NDArray[np.int64], moved: SnapshotTable) -> TableFeatures:
    words = table.words.take(rows)
    if table.spec.calendar and moved.time_us is not None:
        _records(table, words)["instants"][:, 0] = moved.time_us
    return TableFeatures(table.spec, table.storage, HeldWords(words))


def _records(table: TableFeatures, words: NDArray[np.uint64]) -> NDArray[np.void]:
    """[n] the records that words are; written on, the words change."""
    return words.view(table.record).reshape(-1)


def _scramble(table: TableFeatures, kept: int, random: np.random.Generator) -> None:
    """Other numbers in the rows behind the cut."""
    names = table.record.names or ()
    words = table.words.words if isinstance(table.words, HeldWords) else np.empty((0, 0), np.uint64)
    if not names or len(words) <= kept:
        return
    tail = _records(table, words)[kept:]
    if "numbers" in names:
        shape = tail["numbers"].shape
        whole = tail["numbers"].dtype.kind == "i"
        tail["numbers"] = random.integers(-100, 100, shape) if whole else random.normal(0, 3, shape)
    if "codes" in names:
        tail["codes"] = tail["codes"][random.permutation(len(tail))]


def _other_instants(features: FeatureStore, table: str, place: int, cut_us: int) -> FeatureStore | None:
    """The features with other instants where a column holds one after the cut; None where it holds none."""
    found = features.tables[table]
    words = found.words.take(np.arange(features.snapshot.tables[table].num_rows))
    values = _records(found, words)["instants"][:, int(found.spec.calendar) + place]
    late = (values > cut_us) & (values != NO_INSTANT)
    if not late.any():
        return None
    values[late] = cut_us + SPAN_US
    store = copy.copy(features)
    store.tables = {**features.tables, table: TableFeatures(found.spec, found.storage, HeldWords(words))}
    return store
