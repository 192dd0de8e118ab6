"""Decode: encoded inputs of rows as plain numbers, in the units of their columns, for models that read tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.clock import DAY_US
from kincast.feature.convert import NO_INSTANT
from kincast.feature.spec import FIRST_CODE, MISSING_CODE, Numeric, TableSpec
from kincast.feature.store import TableFeatures
from kincast.model.inputs import as_float32

FREQUENT = 4
"""Categories of a column that get a number of their own: 1 where the row has it."""
MAX_NUMBERS = 12  # of a row that is one of many; more would cost much and say little
MAX_WHOLE = 512  # of a single row

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Numbers of rows.

    Attributes:
        values: float32 [n, columns]; NaN where missing.
        time_us: int64 [n] the rows' own times; None for a timeless table.
    """

    values: Floats
    time_us: NDArray[np.int64] | None


def names_of_many(spec: TableSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is read of rows that are summed up: names of amounts, and of flags that are 0 or 1."""
    amounts = [name for name, _, _ in _amounts(spec)][:MAX_NUMBERS]
    flags = [f"{part.column} is {value}" for part in spec.categorical for value in part.categories[:FREQUENT]]
    return tuple(amounts), tuple(flags[:MAX_NUMBERS])


def decode_many(features: TableFeatures, rows: NDArray[np.int64]) -> Decoded:
    """The amounts and then the flags of rows [n], as ``names_of_many`` names them."""
    spec, found = features.spec, features.gather(rows)
    numbers = as_float32(features, found).numpy()
    amounts = [_decoded(numbers, place, part) for _, place, part in _amounts(spec)][:MAX_NUMBERS]
    flags = [
        found.codes[:, column] == FIRST_CODE + place
        for column, part in enumerate(spec.categorical)
        for place in range(len(part.categories[:FREQUENT]))
    ]
    times = found.instants_us[:, 0] if spec.calendar else None
    return Decoded(_columns([*amounts, *flags[:MAX_NUMBERS]], len(rows)), times)


def names_of_one(spec: TableSpec) -> tuple[tuple[str, ...], int]:
    """What is read of a single row, and how many of these, at the end, are codes of categories."""
    names = [name for name, _, _ in _amounts(spec)]
    names += [f"{name} {place}" for name, width, read in _plain(spec) if read for place in range(width)]
    names = names[:MAX_WHOLE] + [f"{part.column} days ago" for part in spec.instants]
    names += ["age days"] if spec.calendar else []
    return (*names, *(part.column for part in spec.categorical)), len(spec.categorical)


def decode_one(features: TableFeatures, rows: NDArray[np.int64], as_of_us: NDArray[np.int64]) -> Floats:
    """float32 [n, columns] of single rows [n], as ``names_of_one`` names them; instants as days before ``as_of_us``."""
    spec, found = features.spec, features.gather(rows)
    numbers = as_float32(features, found).numpy()
    columns = [_decoded(numbers, place, part) for _, place, part in _amounts(spec)]
    start = sum(part.width for part in spec.numeric)
    for _, width, read in _plain(spec):
        columns += [numbers[:, start + place] for place in range(width)] if read else []
        start += width
    columns = columns[:MAX_WHOLE]
    order = [*range(int(spec.calendar), found.instants_us.shape[1]), *([0] if spec.calendar else [])]
    for column in order:
        instants = found.instants_us[:, column]
        days = (as_of_us - np.where(instants == NO_INSTANT, 0, instants)) / DAY_US
        columns.append(np.where(instants == NO_INSTANT, np.nan, days))
    codes = found.codes.astype(np.float32)
    columns += [np.where(code == MISSING_CODE, np.nan, code) for code in codes.T]
    return _columns(columns, len(rows))


def _amounts(spec: TableSpec) -> Iterator[tuple[str, int, Numeric]]:
    """Numeric columns and figures of sequences: name, first input, and how it was encoded."""
    place = 0
    for part in spec.numeric:
        yield part.column, place, part
        place += part.width
    place += sum(width for _, width, _ in _plain(spec))
    for sequence in spec.sequences:
        for figure in sequence.figures:
            yield f"{sequence.column} {figure.column}", place, figure
            place += figure.width


def _plain(spec: TableSpec) -> list[tuple[str, int, bool]]:
    """Inputs between the numeric columns and the sequences: name, width, and whether they are read, as they are.

    Texts are not: trees would learn names by heart.
    """
    groups = ((spec.items, True), (spec.text, False), (spec.vectors, True))
    return [(part.column, part.width, read) for group, read in groups for part in group]


def _decoded(numbers: Floats, place: int, part: Numeric) -> Floats:
    """The values of a numeric column, as far as its encoding kept them."""
    values = numbers[:, place] * np.float32(part.scale) + np.float32(part.center)
    if part.transform == "log":
        values = np.sign(values) * np.expm1(np.abs(values))
    if part.flag_missing:
        values = np.where(numbers[:, place + 1] > 0, np.float32(np.nan), values)
    return values


def _columns(columns: Sequence[NDArray[Any]], num_rows: int) -> Floats:
    if not columns:
        return np.zeros((num_rows, 0), np.float32)
    return np.stack(columns, axis=1).astype(np.float32)
