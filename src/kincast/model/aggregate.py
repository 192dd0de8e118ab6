"""Aggregate: the neighbourhood of each seed as one row of numbers, for models that read tables.

What a data scientist would write by hand in SQL: counts, means, sums and last values of linked rows over several
windows. They come from the same sampler and the same encoded features as the inputs of a network, so they obey the same
rule of time, and a model on them is trained, predicts in batch and answers online, over live rows too, from one code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.ahead import in_order
from kincast.clock import DAY_US
from kincast.feature.live import LiveFeatures
from kincast.feature.store import FeatureStore
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.decode import decode_many, decode_one, names_of_many, names_of_one
from kincast.model.history import LabelHistory, graph_with
from kincast.model.summary import AMOUNT_NAMES, FAR_PLACES, FLAG_NAMES, FLAG_PLACES, ROW_NAMES, summarise
from kincast.model.way import Way, ways_of
from kincast.progress import Progress, silent
from kincast.sample.batch import Seeds
from kincast.sample.edge import EdgeType, edge_types
from kincast.sample.live import LiveSampler
from kincast.sample.sampler import Sampler
from kincast.sample.strategy import LinkSampling

MOST_ROWS = 128
"""Rows that are summed up at most, the newest."""
FANNED_ROWS = (32, 8)  # of a way through several rows
CHUNK = 2048  # seeds at a time
TOP_PARENTS = 4
"""Rows that a foreign key names most often, each with a number of its own: 1 where it is named."""
LEAST_SHARE = 0.02  # of the rows that name it
MAX_FLAGGED = 3  # foreign keys of a table with such numbers

Floats = NDArray[np.float32]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Aggregates:
    """One row of numbers per seed.

    Attributes:
        names: of the columns, such as ``orders by customer_id: amount mean 90 days``.
        values: float32 [num_seeds, columns]; NaN where there is nothing.
        categorical: positions of columns that are codes, not amounts.
    """

    names: tuple[str, ...]
    values: Floats
    categorical: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Top:
    """The rows that a foreign key names most often.

    Attributes:
        edge: along the foreign key.
        keys: of those rows, [k][key columns].
    """

    edge: str
    keys: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """Which numbers: ``tops`` were found in the training period; the rest follows from schema and features."""

    entity: str
    tops: tuple[Top, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> AggregateSpec:
        """Inverse of ``as_dict``."""
        tops = (Top(top["edge"], tuple(tuple(key) for key in top["keys"])) for top in values["tops"])
        return AggregateSpec(values["entity"], tuple(tops))


def fit_aggregates(snapshot: Snapshot, entity: str, until_us: int, hidden: frozenset[tuple[str, str]]) -> AggregateSpec:
    """Find the rows that foreign keys name most often in the training period.

    Args:
        snapshot: the rows.
        entity: table of the seeds.
        until_us: later rows are not looked at.
        hidden: (table, column) pairs that must not be used.
    """
    tops: list[Top] = []
    for edge in edge_types(snapshot.schema):
        link = snapshot.links[edge.link]
        if edge.reverse or {(edge.table, column) for column in link.link.columns} & hidden:
            continue
        if sum(top.edge.split(".")[0] == edge.table for top in tops) == MAX_FLAGGED:
            continue
        times = snapshot.tables[edge.table].time_us
        rows = link.forward if times is None else link.forward[: np.searchsorted(times, until_us, side="right")]
        named = np.bincount(rows[rows >= 0], minlength=1)
        found = np.argsort(-named, kind="stable")[:TOP_PARENTS]
        found = found[named[found] >= max(LEAST_SHARE * len(rows), 1)]
        if len(found):
            keys = snapshot.keys_of(edge.other, found).to_pydict().values()
            tops.append(Top(edge.name, tuple(zip(*(map(_plain, column) for column in keys), strict=True))))
    return AggregateSpec(entity, tuple(tops))


class Aggregator:
    """Makes aggregates of seeds, over a snapshot or a live view.

    Args:
        snapshot: the rows.
        features: their encoded features.
        spec: which aggregates.
        history: past labels, summed up like rows of any other table; None without.
        strict: hide facts at the very instant of a seed.

    Attributes:
        names: of the columns.
        categorical: positions of codes.
    """

    def __init__(
        self,
        snapshot: Snapshot | LiveSnapshot,
        features: FeatureStore | LiveFeatures,
        spec: AggregateSpec,
        history: LabelHistory | None = None,
        *,
        strict: bool = False,
    ) -> None:
        base = snapshot.base if isinstance(snapshot, LiveSnapshot) else snapshot
        self._graph, self._view, self._tables = graph_with(snapshot, features.tables, history)
        self._strict = strict
        self._edges = {edge.name: edge for edge in edge_types(self._graph.schema)}
        self._samplers: dict[tuple[str, int], Sampler] = {}
        self._ways = ways_of(self._graph.schema, spec.entity)
        self._tops: dict[str, list[tuple[Top, Int64s]]] = {}
        for top in spec.tops:
            keys = [key[0] if len(key) == 1 else key for key in top.keys]
            rows = base.rows_of(self._edges[top.edge].other, keys)
            self._tops.setdefault(self._edges[top.edge].table, []).append((top, rows))
        names: list[str] = []
        codes: list[int] = []
        for way in self._ways:
            own, num_codes = self._names(way)
            codes += range(len(names) + len(own) - num_codes, len(names) + len(own))
            names += own
        self.names, self.categorical = tuple(names), tuple(codes)

    def of(self, seeds: Seeds, num_threads: int = 1, progress: Progress = silent) -> Aggregates:
        """The aggregates of seeds of the entity table, row for row.

        Args:
            seeds: rows with their instants.
            num_threads: that work beside each other.
            progress: told after each part.
        """
        values, done = np.empty((len(seeds), len(self.names)), np.float32), 0
        for part in self.parts(seeds, num_threads, progress):
            values[done : done + len(part)] = part
            done += len(part)
        return Aggregates(self.names, values, self.categorical)

    def parts(self, seeds: Seeds, num_threads: int = 1, progress: Progress = silent) -> Iterator[Floats]:
        """Their values, some rows at a time: those of all rows of a large table would not fit into memory."""
        starts = range(0, len(seeds), CHUNK)
        threads = num_threads if len(starts) > 1 else 0
        parts = in_order(starts, lambda start: self._part(seeds.take(slice(start, start + CHUNK))), threads, threads)
        for start, part in zip(starts, parts, strict=True):
            yield part
            progress("aggregate linked rows", min(start + CHUNK, len(seeds)), len(seeds))

    def _part(self, seeds: Seeds) -> Floats:
        found = [part for way in self._ways for part in self._of_way(way, seeds)]
        return np.concatenate([part.reshape(len(seeds), -1) for part in found], axis=1)

    def _names(self, way: Way) -> tuple[list[str], int]:
        """Names of the columns of a way, and how many at the end are codes."""
        spec = self._tables[way.table].spec
        prefix = f"{way.name}: " if way.name else ""
        if not way.many:
            names, num_codes = names_of_one(spec)
            return [prefix + name for name in names], num_codes
        amounts, flags = names_of_many(spec)
        flags += tuple(name for top, _ in self._flagged(way) for name in _top_names(top))
        of_amounts = [f"{name} {AMOUNT_NAMES[place]}" for name in amounts for place in _places(way)]
        of_flags = [f"{name} {what}" for name in flags for what in FLAG_NAMES]
        return [prefix + name for name in (*ROW_NAMES, *of_amounts, *of_flags)], 0

    def _flagged(self, way: Way) -> Sequence[tuple[Top, Int64s]]:
        """Foreign keys of the rows of a way whose frequent values are told apart: all but the one that led there."""
        came = self._edges[way.edges[-1]].link
        return [(top, rows) for top, rows in self._tops.get(way.table, []) if self._edges[top.edge].link != came]

    def _of_way(self, way: Way, seeds: Seeds) -> Iterator[NDArray[Any]]:
        rows, owners, num_visible = self._reached(way, seeds)
        at = Seeds(way.table, rows, seeds.as_of_us[owners], seeds.visible[owners])
        features = self._tables[way.table]
        if not way.many:
            single = decode_one(features, rows, at.as_of_us)
            values = np.full((len(seeds), single.shape[1]), np.nan, np.float32)
            values[owners] = single
            yield values
            return
        found = decode_many(features, rows)
        flags = [self._flags(top, named, at) for top, named in self._flagged(way)]
        values = np.concatenate([found.values, *flags], axis=1)
        ages = np.full(len(rows), np.nan, np.float32)
        if found.time_us is not None:
            ages[:] = (at.visible - found.time_us) / DAY_US
        offsets = np.searchsorted(owners, np.arange(len(seeds) + 1))
        behind = ((seeds.as_of_us - seeds.visible) / DAY_US).astype(np.float32)
        of_rows = np.empty((len(seeds), len(ROW_NAMES) - 1), np.float32)
        statistics = np.empty((len(seeds), values.shape[1], len(AMOUNT_NAMES)), np.float32)
        summarise(offsets, ages, behind, values, of_rows, statistics)
        num_amounts = len(names_of_many(features.spec)[0])
        yield num_visible.astype(np.float32)
        yield of_rows
        yield statistics[:, :num_amounts, _places(way)]
        yield statistics[:, num_amounts:, FLAG_PLACES]

    def _reached(self, way: Way, seeds: Seeds) -> tuple[Int64s, Int64s, Int64s]:
        """Rows at the end of a way, the seed that each belongs to, ascending, and [n] how many each seed could see."""
        rows, owners = seeds.rows, np.arange(len(seeds))
        num_visible = np.ones(len(seeds), np.int64)
        for step, name in enumerate(way.edges):
            most = 1
            if way.fanned:
                most = FANNED_ROWS[step]
            elif way.many and step == len(way.edges) - 1:
                most = MOST_ROWS
            at = Seeds(self._edges[name].table, rows, seeds.as_of_us[owners], seeds.visible[owners])
            rows, counts, visible = self._follow(name, most, at)
            num_visible = np.bincount(owners, weights=visible, minlength=len(seeds)).astype(np.int64)
            owners = np.repeat(owners, counts)
        return rows, owners, num_visible

    def _follow(self, name: str, most: int, seeds: Seeds) -> tuple[Int64s, Int64s, Int64s]:
        """The newest rows along one edge: rows, [n] how many of each seed, and [n] how many it could see."""
        edge, none = self._edges[name], np.zeros(len(seeds), np.int64)
        if not len(seeds):
            return none, none, none
        batch = self._sampler(edge, most).sample(seeds)
        if not batch.blocks:
            return np.zeros(0, np.int64), none, none
        block = batch.blocks[0]
        rows = batch.rows[edge.other][block.src_start : block.src_start + block.num_src]
        return rows, np.diff(block.offsets), block.num_visible

    def _sampler(self, edge: EdgeType, most: int) -> Sampler:
        found = self._samplers.get((edge.name, most))
        if found is None:
            overrides = {edge.name: LinkSampling("last", (most,))}
            found = Sampler(self._graph, (0,), overrides, strict=self._strict)
            found = found if self._view is None else LiveSampler(self._view, found)
            self._samplers[edge.name, most] = found
        return found

    def _flags(self, top: Top, named: Int64s, seeds: Seeds) -> Floats:
        """float32 [n, k]: 1 where a row names one of the rows that are named most."""
        parents = np.full(len(seeds), -1, np.int64)
        rows, counts, _ = self._follow(top.edge, 1, seeds)
        parents[counts > 0] = rows
        return np.asarray((parents[:, None] == named[None, :]) & (named >= 0), np.float32)


def _places(way: Way) -> tuple[int, ...]:
    """Which statistics of amounts are kept."""
    return FAR_PLACES if way.far else tuple(range(len(AMOUNT_NAMES)))


def _top_names(top: Top) -> list[str]:
    column = top.edge.split("->")[0].split(".", 1)[1]
    return [f"{column} is {' '.join(map(str, key))}" for key in top.keys]


def _plain(value: Any) -> Any:
    """A key as JSON keeps it."""
    return value if type(value) is int else str(value)
