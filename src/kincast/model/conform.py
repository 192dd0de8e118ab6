"""Conform: intervals and sets that hold the truth as often as asked, from what went wrong on rows held out.

Split conformal prediction (Vovk et al. 2005; Lei et al. 2018, "Distribution-free predictive inference for regression"):
the promise holds where the rows that are predicted are exchangeable with those held out. Later rows are not quite,
which is why what was reached on the test period stands in the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
MAX_KEPT = 2_000
"""Residuals kept of each step; of more, as many that stand for equal shares of them."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How uncertain a model itself says each value is: distances to either side, above 0, [n] or [n, steps]."""

    below: Floats
    above: Floats

    def take(self, chosen: NDArray[Any]) -> Spread:
        """That of some rows."""
        return Spread(self.below[chosen], self.above[chosen])


@dataclass(frozen=True, slots=True)
class Conformal:
    """What intervals or sets of one target are made with; plain JSON.

    Attributes:
        kind: of the target.
        residuals: ascending. Of values: truth minus prediction, in units of the model's own spread where it says one,
            for each step; of classes: 1 minus the probability of the true class.
        log: residuals are those of logarithms, ``sign(x) log(1 + |x|)``.
        floor: no interval reaches below it; None without.
    """

    kind: TaskKind
    residuals: tuple[tuple[float, ...], ...]
    log: bool = False
    floor: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        residuals = [list(step) for step in self.residuals]
        return {"kind": self.kind.value, "residuals": residuals, "log": self.log, "floor": self.floor}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Conformal:
        """Inverse of ``as_dict``."""
        residuals = tuple(tuple(step) for step in values["residuals"])
        return Conformal(TaskKind(values["kind"]), residuals, values["log"], values["floor"])


def fit_intervals(
    kind: TaskKind, target: Floats, values: Floats, spread: Spread | None, *, log: bool, floor: float | None
) -> Conformal:
    """What intervals are made with, from rows held out.

    Args:
        kind: of the target.
        target: [n] or [n, steps], NaN where a step has none.
        values: predicted.
        spread: the model's own; None where it says none.
        log: judge residuals on the logarithmic scale, on which a long tail is learnt.
        floor: what no value can be less than; None without.
    """
    residuals = _on_scale(target, log) - _on_scale(values, log)
    if spread is not None:
        residuals = residuals / np.where(residuals < 0, spread.below, spread.above)
    columns = residuals.reshape(len(residuals), -1).T
    return Conformal(kind, tuple(_kept(column[~np.isnan(column)]) for column in columns), log, floor)


def fit_sets(target: Floats, probabilities: Floats) -> Conformal:
    """What sets of classes are made with: codes [n] and probabilities [n, classes] of rows held out."""
    missed = 1 - probabilities[np.arange(len(target)), target.astype(np.int64)]
    return Conformal(TaskKind.MULTICLASS, (_kept(missed),))


def intervals(conformal: Conformal, values: Floats, spread: Spread | None, coverage: float) -> tuple[Floats, Floats]:
    """Lower and upper ends, of the shape of the values; as many misses below as above.

    Args:
        conformal: fitted.
        values: [n] or [n, steps].
        spread: the model's own; None where it says none.
        coverage: share of intervals that are to hold the truth, such as 0.9.

    Returns:
        ends; infinite where too few rows were held out to promise as much.
    """
    missed = (1 - coverage) / 2
    high = np.array([_order(step, 1 - missed) for step in conformal.residuals])
    low = np.array([-_order(tuple(-x for x in reversed(step)), 1 - missed) for step in conformal.residuals])
    return _end(conformal, values, spread, low), _end(conformal, values, spread, high)


def sets(conformal: Conformal, probabilities: Floats, coverage: float) -> NDArray[np.bool_]:
    """[n, classes] classes that are not to be ruled out, the likeliest always among them.

    The least ambiguous sets (Sadinle et al. 2019): all classes at least as probable as a threshold.
    """
    inside = 1 - probabilities <= _order(conformal.residuals[0], coverage)
    inside[np.arange(len(inside)), probabilities.argmax(axis=1) if len(inside) else []] = True
    return np.asarray(inside)


def _end(conformal: Conformal, values: Floats, spread: Spread | None, residual: Floats) -> Floats:
    """Where residuals [steps] lie, in the target's unit."""
    residual = np.broadcast_to(residual, values.shape)
    if spread is not None:
        residual = residual * np.where(residual < 0, spread.below, spread.above)
    ends = _off_scale(_on_scale(values, conformal.log) + residual, conformal.log)
    return ends if conformal.floor is None else np.maximum(ends, conformal.floor)


def _order(ascending: tuple[float, ...], share: float) -> float:
    """The value that a new one stays up to with this probability: the ``ceil((n + 1) share)``-th."""
    place = int(np.ceil((len(ascending) + 1) * share - 1e-9))
    return ascending[place - 1] if place <= len(ascending) else np.inf


def _kept(numbers: Floats) -> tuple[float, ...]:
    numbers = np.sort(numbers)
    if len(numbers) > MAX_KEPT:
        # As many lie below the k-th kept as k / (MAX_KEPT + 1) of all: promises move by less than 1 / MAX_KEPT.
        place = np.ceil(np.arange(1, MAX_KEPT + 1) / (MAX_KEPT + 1) * (len(numbers) + 1)).astype(np.int64)
        numbers = numbers[np.minimum(place, len(numbers)) - 1]
    return tuple(float(number) for number in numbers)


def _on_scale(values: Floats, log: bool) -> Floats:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values))) if log else values


def _off_scale(values: Floats, log: bool) -> Floats:
    return np.asarray(np.sign(values) * np.expm1(np.abs(values))) if log else np.asarray(values)
