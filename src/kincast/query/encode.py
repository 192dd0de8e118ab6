"""Encode: what the label statement gives → numbers: class codes, values, lists of codes or rows, forecast steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.errors import DataError
from kincast.query import value as sql
from kincast.query.family import Family, item_family, operand_family
from kincast.query.task import Task, TaskKind
from kincast.query.tree import Aggregate, ColumnRef, Function

MAX_CLASSES = 6_000
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lists:
    """A list for each label, one behind the other.

    Attributes:
        offsets: [n + 1] int64; the items of label i stand from ``offsets[i]`` to ``offsets[i + 1]``.
        items: [m] int64 class codes or rows of the table linked to, ascending and different within a label; or
            float64 steps of a forecast, NaN where a step has no value.
    """

    offsets: Int64s
    items: Int64s | Floats

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64s:
        """[n] int64 number of items of each label."""
        return np.diff(self.offsets)

    def take(self, chosen: NDArray[np.bool_] | Int64s) -> Lists:
        """The lists of some labels, in their order.

        Args:
            chosen: [n] mask, or positions.
        """
        index = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        lengths = self.lengths[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.offsets[index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Lists(offsets, self.items[places])

    def as_matrix(self) -> Floats:
        """[n, k] float64 of lists that are all equally long, such as the steps of a forecast."""
        width = int(self.lengths[0]) if len(self) else 0
        return self.items.reshape(len(self), width).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Targets as numbers.

    Attributes:
        target: [n] float64 class code or value; the length of a list; the mean of a forecast's steps.
        classes: names of the class codes.
        lists: the lists themselves; None for a kind with one value a label.
    """

    target: Floats
    classes: tuple[str, ...] = ()
    lists: Lists | None = None


def encode(task: Task, values: pa.ChunkedArray, steps: pa.ChunkedArray | None = None) -> Encoded:
    """Targets as numbers and the names of the class codes.

    Args:
        task: says what the targets are.
        values: what the statement gave as ``target``.
        steps: what it gave as ``step``, of a forecast.

    Raises:
        DataError: a value is not finite, or there are too many classes.
    """
    if task.kind is TaskKind.FORECASTING:
        return _forecast(task, values, steps)
    if task.kind in (TaskKind.TEMPORAL_LINK, TaskKind.STATIC_LINK):
        return _listed(*_flat(values, pa.int64()))
    if task.kind in (TaskKind.MULTILABEL, TaskKind.RANKING):
        owners, texts, count = _flat(values, pa.string())
        codes, names = _codes(task, texts)
        return _listed(owners, codes, count, names)
    if task.kind is TaskKind.MULTICLASS:
        codes, names = _codes(task, values)
        return Encoded(codes.astype(np.float64), names)
    target = values.cast(pa.float64()).to_numpy().astype(np.float64)
    _refuse_infinite(target)
    return Encoded(target, ("false", "true") if task.kind is TaskKind.BINARY else ())


def _refuse_infinite(values: Floats) -> None:
    if not np.isfinite(values).all():
        what = f"{np.count_nonzero(~np.isfinite(values))} targets are infinite"
        raise DataError(what, hint="look at the aggregated column with 'kincast check'")


def _forecast(task: Task, values: pa.ChunkedArray, steps: pa.ChunkedArray | None) -> Encoded:
    target = task.query.target
    is_zero = isinstance(target, Aggregate) and target.function in sql.COUNTS
    if steps is None:  # a label table of the user's has every step
        owners, items, count = _flat(values, pa.float64(), keep_nulls=True)
        places = np.arange(len(owners)) - np.searchsorted(owners, owners)
        wrong = int(np.count_nonzero(np.bincount(owners, minlength=count) != task.steps))
        if wrong:
            raise DataError(f"{wrong} targets do not have {task.steps} steps", hint="give a list of that many numbers")
    else:
        owners, items, count = _flat(values, pa.float64())
        _, places, _ = _flat(steps, pa.int64())
    dense = np.full((count, task.steps), 0.0 if is_zero else np.nan)
    numbers = _numpy(items).astype(np.float64)
    _refuse_infinite(numbers[~np.isnan(numbers)])
    dense[owners, _numpy(places).astype(np.int64)] = numbers
    known = np.isfinite(dense)
    mean = np.where(known, dense, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    offsets = np.arange(count + 1, dtype=np.int64) * task.steps
    return Encoded(mean, (), Lists(offsets, dense.ravel()))


def _flat(values: pa.ChunkedArray, kind: pa.DataType, keep_nulls: bool = False) -> tuple[Int64s, pa.Array, int]:
    """Lists as (label of each item, items without nulls, number of labels); a null list is an empty one."""
    whole = values.combine_chunks()
    lengths = whole.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    owners = np.repeat(np.arange(len(whole), dtype=np.int64), lengths)
    items = whole.flatten().cast(kind)
    if items.null_count and not keep_nulls:
        present = items.is_valid()
        owners, items = owners[present.to_numpy(zero_copy_only=False)], items.filter(present)
    return owners, items, len(whole)


def _numpy(values: pa.Array | Int64s) -> NDArray[Any]:
    return values if isinstance(values, np.ndarray) else np.asarray(values.to_numpy(zero_copy_only=False))


def _codes(task: Task, values: pa.ChunkedArray | pa.Array) -> tuple[Int64s, tuple[str, ...]]:
    """Class codes of texts and the names of the classes, numbers in the order of numbers."""
    coded = pa.array(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values).dictionary_encode()
    names: list[str] = coded.dictionary.to_pylist()
    if len(names) > MAX_CLASSES:
        what = f"the target has {len(names):,} different values; a class each is too many"
        raise DataError(what, hint=f"at most {MAX_CLASSES:,}; predict a condition instead")
    ranked = _ranked(names, numeric=_is_numeric(task))
    place = np.empty(len(names), dtype=np.int64)
    place[ranked] = np.arange(len(names))
    return place[coded.indices.to_numpy()], tuple(names[i] for i in ranked)


def _is_numeric(task: Task) -> bool:
    target = task.query.target
    if not isinstance(target, ColumnRef | Aggregate):
        return False
    many = operand_family(target) is Family.LIST
    many = many or (isinstance(target, Aggregate) and target.function is Function.LIST_DISTINCT)
    return (item_family(target) if many else operand_family(target)) is Family.NUMBER


def _ranked(names: Sequence[str], numeric: bool) -> list[int]:
    return sorted(range(len(names)), key=lambda i: (float(names[i]) if numeric else 0.0, names[i]))


def _listed(owners: Int64s, items: pa.Array | Int64s, count: int, classes: tuple[str, ...] = ()) -> Encoded:
    """Lists with their items in order and each only once."""
    codes = np.asarray(_numpy(items), dtype=np.int64)
    order = np.lexsort((codes, owners))
    owners, codes = owners[order], codes[order]
    fresh = np.ones(len(owners), dtype=bool)
    fresh[1:] = (owners[1:] != owners[:-1]) | (codes[1:] != codes[:-1])
    owners, codes = owners[fresh], codes[fresh]
    lengths = np.bincount(owners, minlength=count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(lengths.astype(np.float64), classes, Lists(offsets, codes))
