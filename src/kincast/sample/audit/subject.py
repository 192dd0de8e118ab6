"""Subject: what an audit looks at: tables as they stand, labels, and what a loader drew for its seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.errors import DataError

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]
UNKNOWN_US = np.iinfo(np.int64).min
"""The instant of a row that has none."""

_EPOCH_UNITS = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))  # below: seconds, milliseconds, microseconds


@dataclass(frozen=True)
class Facts:
    """One table as it stands.

    Attributes:
        name: of the table.
        num_rows: how many.
        names: of its columns.
        read: column name → its values, in the stored order.
        key: columns of its key; empty without.
        links: foreign key column → table it points to.
        time: column with the instant of each row; None for a timeless table.
        end_time: column with the instant from which a row no longer exists.
        arrival: column with the instant at which the row reached the database.
        inputs: columns a model reads; None for all but keys, foreign keys, time and end.
        time_us: [num_rows] int64 instants, where they are not what ``time`` holds, such as those through a link.
        forward: foreign key column → [num_rows] row it points to, -1 for none, where that is known already.
    """

    name: str
    num_rows: int
    names: tuple[str, ...]
    read: Callable[[str], pa.ChunkedArray]
    key: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    time: str | None = None
    end_time: str | None = None
    arrival: str | None = None
    inputs: tuple[str, ...] | None = None
    time_us: Int64s | None = None
    forward: Mapping[str, Int64s] = field(default_factory=dict)

    @staticmethod
    def of(name: str, rows: pa.Table, **about: object) -> Facts:
        """The facts of an Arrow table; ``about`` are the attributes from ``key`` on."""
        return Facts(name, rows.num_rows, tuple(rows.column_names), rows.column, **about)  # type: ignore[arg-type]

    @cached_property
    def born(self) -> Int64s | None:
        """[num_rows] int64 instant of each row, ``UNKNOWN_US`` where it has none; None for a timeless table."""
        if self.time_us is not None:
            return self.time_us
        return None if self.time is None else instants(self.read(self.time))

    @cached_property
    def ended(self) -> Int64s | None:
        """[num_rows] int64 instant from which each row is gone, ``UNKNOWN_US`` where never; None without."""
        return None if self.end_time is None else instants(self.read(self.end_time))

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that a model reads."""
        if self.inputs is not None:
            return self.inputs
        own = {*self.key, *self.links, self.time, self.end_time, self.arrival}
        return tuple(name for name in self.names if name not in own)


@dataclass(frozen=True)
class Outcomes:
    """Labels: who had which outcome as of when.

    Attributes:
        entity: table of the rows.
        rows: [n] int64 positions in it.
        as_of_us: [n] int64 instant of each.
        target: [n] float64; 0 and 1 where there are two classes.
        split: [n] int8, 0 train, 1 validation, 2 test.
        window_us: the target looks at (as_of + start, as_of + window]; None where it is not known.
        start_us: where the window starts.
        visible_us: [n] int64 facts later are not seen; ``as_of_us`` when None.
        by_chance: the user asked for a split that does not follow time.
        frozen: the target is a column and not what happens later.
    """

    entity: str
    rows: Int64s
    as_of_us: Int64s
    target: Floats
    split: NDArray[np.int8]
    window_us: int | None = None
    start_us: int = 0
    visible_us: Int64s | None = None
    by_chance: bool = False
    frozen: bool = False

    @property
    def binary(self) -> bool:
        """True when there are two outcomes."""
        return len(np.unique(self.target)) == 2


@dataclass(frozen=True, slots=True)
class Nodes:
    """Rows of one table in a batch.

    Attributes:
        rows: [n] int64 positions in the table.
        seed: [n] index of the seed that each belongs to; None where the loader does not say.
        hop: [n] links away from the seed; None where the loader does not say.
    """

    rows: Int64s
    seed: Int64s | None = None
    hop: Int64s | None = None


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges of a batch by local numbers: ``src [e]`` among the nodes of one table send to ``dst [e]`` of another."""

    src_table: str
    src: Int64s
    dst_table: str
    dst: Int64s


@dataclass(frozen=True)
class Draw:
    """What a loader drew for one batch of seeds.

    Attributes:
        table: of the seeds.
        rows: [n] int64 rows of the seeds.
        as_of_us: [n] int64 instants of the seeds, in the unit of the tables' times.
        nodes: table → rows drawn, the seeds among them or not.
        edges: between them; empty where the loader does not say.
        negatives: table → rows drawn as negatives.
    """

    table: str
    rows: Int64s
    as_of_us: Int64s
    nodes: Mapping[str, Nodes]
    edges: tuple[Edges, ...] = ()
    negatives: Mapping[str, Nodes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """A compressed neighbour list that a sampler trusts to be in time order.

    Attributes:
        name: of the edge type.
        offsets: [num_dst + 1] into ``time_us``.
        time_us: [edges] instant of each neighbour, as the list has them.
    """

    name: str
    offsets: Int64s
    time_us: Int64s


def instants(column: pa.ChunkedArray | pa.Array) -> Int64s:
    """Times of any usual kind as int64 microseconds UTC: dates, timestamps, ISO text, epochs told by their size.

    Raises:
        DataError: the column is no time.
    """
    try:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = _read_text(column)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
            return _from_epoch(values)
        known = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
        filled = pc.fill_null(known, int(UNKNOWN_US))
        return np.asarray(filled.to_numpy(zero_copy_only=False), np.int64)
    except pa.ArrowException as error:
        raise DataError(f"the times cannot be read: {str(error).splitlines()[0]}") from None


def _read_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    aware = pc.match_substring_regex(column, r"(Z|[+-]\d\d:?\d\d)$")
    if not pc.any(aware).as_py():
        return pc.cast(column, pa.timestamp("us"))
    whole = pc.if_else(aware, column, pc.binary_join_element_wise(column, "Z", ""))
    return pc.cast(pc.cast(whole, pa.timestamp("us", "UTC")), pa.timestamp("us"))


def _from_epoch(values: Floats) -> Int64s:
    """One unit for the whole column, that of its median: mixed units stay visible as nonsense."""
    known = np.isfinite(values)
    middle = float(np.median(np.abs(values[known]))) if known.any() else 0.0
    factor = next((factor for limit, factor in _EPOCH_UNITS if middle < limit), 0.001)
    scaled = np.where(known, values, 0.0) * factor
    return np.where(known, np.clip(scaled, -9e18, 9e18), UNKNOWN_US).astype(np.int64)


def parents(tables: Mapping[str, Facts], table: str, column: str) -> Int64s:
    """[num_rows] int64 row that each foreign key points to; -1 for none. A key there twice gives its first row."""
    child, target = tables[table], tables[tables[table].links[column]]
    if column in child.forward:
        return np.asarray(child.forward[column], np.int64)
    if len(target.key) != 1:
        raise DataError("without a key of one column it cannot be followed", where=f"{table}.{column}")
    keys, values = target.read(target.key[0]), child.read(column)
    keys = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    found = pc.fill_null(pc.index_in(pc.cast(values, keys.type), value_set=keys), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def can_follow(tables: Mapping[str, Facts], table: str, column: str) -> bool:
    """True where ``parents`` can say which row a foreign key points to."""
    target = tables[table].links[column]
    return target in tables and (column in tables[table].forward or len(tables[target].key) == 1)


def numbers(column: pa.ChunkedArray | pa.Array) -> Floats | None:
    """Numbers or booleans as float64 with NaN for missing; None for anything else."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(values, np.float64)


def codes(column: pa.ChunkedArray | pa.Array) -> Int64s | None:
    """Categories as codes, 0 for missing; None for lists and other things without equality."""
    if pa.types.is_nested(column.type):
        return None
    encoded = pc.dictionary_encode(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    index = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.asarray(index, np.int64) + 1
