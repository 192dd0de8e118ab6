"""Statistic: what fitting learns of a column, folded from one batch of rows after another in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kincast.feature import convert
from kincast.feature.spec import CLIP, Numeric, Transform

LONG_TAIL = 2.0  # skewness from which a column is read on a logarithmic scale
FLAT = 1e-12  # a standard deviation that says all values are the same

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Moments:
    """Number, mean and sums of the 2nd and 3rd powers of deviations, for each of ``width`` columns; NaN left out.

    Batches are joined as in Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing
    sample variances", and Pébay 2008 for the third power.
    """

    width: int
    count: Floats = field(init=False)
    mean: Floats = field(init=False)
    square: Floats = field(init=False)
    cube: Floats = field(init=False)
    least: Floats = field(init=False)
    greatest: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.count, self.mean, self.square, self.cube = (np.zeros(self.width) for _ in range(4))
        self.least, self.greatest = np.full(self.width, np.inf), np.full(self.width, -np.inf)

    def fold(self, values: Floats) -> None:
        """Add values [n, width]."""
        known = ~np.isnan(values)
        count = known.sum(axis=0).astype(np.float64)
        some = np.maximum(count, 1.0)
        mean = np.where(known, values, 0.0).sum(axis=0) / some
        deviations = np.where(known, values - mean, 0.0)
        squares = deviations * deviations
        square, cube = squares.sum(axis=0), (squares * deviations).sum(axis=0)  # ** takes ten times as long
        total = np.maximum(self.count + count, 1.0)
        step = np.where(count > 0, mean - self.mean, 0.0)
        self.cube += cube + step**3 * self.count * count * (self.count - count) / total**2
        self.cube += 3.0 * step * (self.count * square - count * self.square) / total
        self.square += square + step**2 * self.count * count / total
        self.mean = self.mean + step * count / total
        self.count = self.count + count
        self.least = np.fmin(self.least, np.where(known, values, np.inf).min(axis=0, initial=np.inf))
        self.greatest = np.fmax(self.greatest, np.where(known, values, -np.inf).max(axis=0, initial=-np.inf))

    @property
    def spread(self) -> Floats:
        """[width] standard deviations."""
        return np.sqrt(self.square / np.maximum(self.count, 1.0))

    @property
    def skewness(self) -> Floats:
        """[width]; 0 where all values are the same."""
        spread = self.spread
        cube = self.cube / np.maximum(self.count, 1.0)
        return np.divide(cube, spread**3, out=np.zeros(self.width), where=spread > 0)


class Numbers:
    """Statistics of ``width`` numeric columns, as they are and on a logarithmic scale."""

    def __init__(self, width: int = 1) -> None:
        self.rows = 0
        self.plain, self.log = Moments(width), Moments(width)

    def fold(self, values: Floats) -> None:
        """Add values [n, width]; NaN is missing."""
        self.rows += len(values)
        self.plain.fold(values)
        self.log.fold(convert.transformed(values, "log"))

    def numeric(self, name: str, place: int = 0) -> Numeric | None:
        """The spec of the column at that place; None when it says nothing: all missing, or one value only."""
        known, missing = self.plain.count[place], self.rows - self.plain.count[place]
        same = self.plain.least[place] == self.plain.greatest[place]
        if known == 0 or (same and not missing):
            return None
        transform: Transform = "log" if abs(self.plain.skewness[place]) > LONG_TAIL else "none"
        found = self.log if transform == "log" else self.plain
        center = float(found.mean[place])
        scale = float(found.spread[place])
        scale = scale if scale > FLAT else 1.0
        ends = np.array([found.least[place], found.greatest[place]])
        extent = float(np.abs((ends - center) / scale).max())
        return Numeric(name, transform, center, scale, bool(missing), min(max(extent, FLAT), CLIP))


class Counts:
    """How often each text comes."""

    def __init__(self) -> None:
        self._counted = pa.table({"text": pa.array([], pa.string()), "count": pa.array([], pa.int64())})

    def fold(self, texts: pa.Array) -> None:
        """Add texts; null is none."""
        found = pc.value_counts(texts.drop_null())
        batch = pa.table({"text": found.field("values"), "count": found.field("counts")})
        both = pa.concat_tables([self._counted, batch]).group_by("text").aggregate([("count", "sum")])
        self._counted = pa.table({"text": both["text"], "count": both["count_sum"]})

    def frequent(self, most: int, least: int) -> tuple[tuple[str, ...], int]:
        """The texts found at least that often, by falling count and then by name, at most so many; and of how many."""
        kept = self._counted.filter(
            pc.and_(pc.greater_equal(self._counted["count"], least), pc.not_equal(self._counted["text"], ""))
        )
        ranked = kept.sort_by([("count", "descending"), ("text", "ascending")])
        return tuple(ranked["text"].slice(0, most).to_pylist()), kept.num_rows
