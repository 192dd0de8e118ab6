"""Key: find rows by the user's own keys, given in any spelling of the key's type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.clock import parse_instant, to_us
from kincast.errors import DataError, ProjectError

# Python refuses to read thousands of digits as a number; no key has more than a hundred.
_WHOLE = re.compile(r"\s*[+-]?\d{1,100}\s*")


class KeyIndex:
    """Key → row of one table, in memory.

    A single whole-number key is looked up by bisection in a sorted array, every other key in a dictionary.

    Args:
        table: name, for messages.
        columns: the key columns in row order, one or more.
    """

    def __init__(self, table: str, columns: pa.Table) -> None:
        self._table = table
        self._names = tuple(columns.column_names)
        self._readers = [_reader(column.type) for column in columns.columns]
        canonical = [_canonical(column) for column in columns.columns]
        self._sorted: NDArray[np.int64] | None = None
        self._order: NDArray[np.int64] | None = None
        self._rows: dict[Any, int] = {}
        if len(canonical) == 1 and isinstance(canonical[0], np.ndarray):
            self._order = np.argsort(canonical[0], kind="stable")
            self._sorted = canonical[0][self._order]
        elif len(canonical) == 1:
            self._rows = _first_rows(canonical[0])
        else:
            lists = [column.tolist() if isinstance(column, np.ndarray) else column for column in canonical]
            self._rows = _first_rows(zip(*lists, strict=True))

    def rows_of(self, keys: Sequence[Any]) -> NDArray[np.int64]:
        """[n] int64 row of each key; -1 where no row has it.

        Raises:
            DataError: a composite key has the wrong number of parts.
        """
        if self._sorted is not None and self._order is not None:
            return self._bisect(keys, self._sorted, self._order)
        if len(self._readers) == 1:
            found = [self._rows.get(key, -1) for key in self._readers[0](keys)]
        else:
            parts = zip(*(self._split(key) for key in keys), strict=True) if len(keys) else ()
            read = [reader(list(part)) for reader, part in zip(self._readers, parts, strict=False)]
            found = [self._rows.get(key, -1) for key in zip(*read, strict=True)]
        return np.array(found, np.int64)

    def _bisect(self, keys: Sequence[Any], ascending: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
        if isinstance(keys, np.ndarray) and keys.dtype.kind == "i" and self._readers[0] is _whole_numbers:
            wanted, known = keys.astype(np.int64), np.ones(len(keys), bool)
        else:
            read = self._readers[0](keys)
            known = np.array([key is not None and -(2**63) <= key < 2**63 for key in read], bool)
            wanted = np.array([key if ok else 0 for key, ok in zip(read, known, strict=True)], np.int64)
        if not len(ascending):
            return np.full(len(wanted), -1, np.int64)
        place = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
        return np.where(known & (ascending[place] == wanted), order[place], -1)

    def _split(self, key: Any) -> Sequence[Any]:
        if isinstance(key, dict) and set(key) == set(self._names):
            return [key[name] for name in self._names]
        if not isinstance(key, (tuple, list)) or len(key) != len(self._names):
            names = ", ".join(self._names)
            raise DataError(f"{key!r} is not a key of table {self._table}", hint=f"give tuples of ({names})")
        return key


def _first_rows(keys: Iterable[Any]) -> dict[Any, int]:
    """The first row of each key; there are several where rows are versions of what the key names."""
    found: dict[Any, int] = {}
    for row, key in enumerate(keys):
        found.setdefault(key, row)
    return found


def _canonical(column: pa.ChunkedArray) -> NDArray[np.int64] | list[Any]:
    """Values as the readers below give them: an int64 array for whole numbers and instants, else a list of text."""
    kind = column.type
    if _is_whole(kind):
        return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return np.asarray(column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(), np.int64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return list(column.to_pylist())
    return _as_text(column)


def _reader(kind: pa.DataType) -> Callable[[Sequence[Any]], list[Any]]:
    if _is_whole(kind):
        return _whole_numbers
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _instants
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _texts
    return lambda keys: _as_text(_typed(keys, kind))


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind)) and kind != pa.uint64()


def _whole_numbers(keys: Sequence[Any]) -> list[int | None]:
    return [_whole_number(key) for key in keys]


def _whole_number(key: Any) -> int | None:
    if isinstance(key, str):
        return int(key) if _WHOLE.fullmatch(key) else None
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return int(key)
    if isinstance(key, (float, np.floating)) and float(key).is_integer():
        return int(key)
    return None


def _instants(keys: Sequence[Any]) -> list[int | None]:
    return [_instant(key) for key in keys]


def _instant(key: Any) -> int | None:
    if isinstance(key, np.datetime64):
        return None if np.isnat(key) else int(key.astype("datetime64[us]").astype(np.int64))
    if isinstance(key, datetime):
        return to_us(key)
    try:
        return parse_instant(key.isoformat() if isinstance(key, date) else str(key))
    except ProjectError:
        return None


def _texts(keys: Sequence[Any]) -> list[str | None]:
    return [None if key is None else str(key) for key in keys]


def _typed(keys: Sequence[Any], kind: pa.DataType) -> pa.ChunkedArray:
    """Keys as a column of the key's type; null where one cannot be read as it."""
    texts = pa.table({"key": pa.array(_texts(keys), pa.string())})
    with duckdb.connect() as connection:
        connection.register("kinds", pa.table({"key": pa.array([], kind)}))
        stored = connection.sql("SELECT key FROM kinds").types[0]
        connection.register("texts", texts)
        return connection.sql(f"SELECT TRY_CAST(key AS {stored}) AS key FROM texts").to_arrow_table().column(0)


def _as_text(column: pa.ChunkedArray) -> list[Any]:
    """One text per value, the same for equal values of the type."""
    with duckdb.connect() as connection:
        connection.register("keys", pa.table({"key": column}))
        text = connection.sql("SELECT CAST(key AS VARCHAR) AS key FROM keys").to_arrow_table().column(0)
    return list(pc.cast(text, pa.string()).to_pylist())
