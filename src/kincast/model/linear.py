"""Linear: a linear model of the places that numbers take among those of the training rows.

Places leave nothing of outliers, tails and units. Where there are few labels such a model is often as good as trees,
and it errs elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from kincast.compile import compiled
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear:
    """A trained linear model.

    Attributes:
        kind: of the task.
        knots: [columns, knots] numbers of equal distance in rank, ascending; NaN for a column that says nothing.
        weights: [columns + 1, outputs]; the last row is added to each output.
        center: of the values of a regression.
        scale: of the values of a regression.
    """

    kind: TaskKind
    knots: Floats
    weights: Floats
    center: float = 0.0
    scale: float = 1.0

    def score(self, values: NDArray[np.float32]) -> Floats:
        """Scores of rows [n, columns]: probabilities of the positive class [n] or of all classes, or values [n]."""
        outputs = places(values, self.knots).astype(np.float64) @ self.weights[:-1] + self.weights[-1]
        if self.kind is TaskKind.MULTICLASS:
            return np.asarray(softmax(outputs, axis=1))
        if self.kind is TaskKind.BINARY:
            return np.asarray(expit(outputs[:, 0]))
        return np.asarray(outputs[:, 0] * self.scale + self.center)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        knots = [[None if np.isnan(knot) else knot for knot in column] for column in self.knots.tolist()]
        return {"knots": knots, "weights": self.weights.tolist(), "center": self.center, "scale": self.scale}

    @staticmethod
    def from_dict(kind: TaskKind, values: Mapping[str, Any]) -> Linear:
        """Inverse of ``as_dict``."""
        knots, weights = (np.array(values[name], np.float64) for name in ("knots", "weights"))
        return Linear(kind, knots, weights, values["center"], values["scale"])


def places(values: NDArray[np.float32], knots: Floats) -> NDArray[np.float32]:
    """The place of each number among the knots of its column.

    Args:
        values: [n, columns].
        knots: [columns, knots], ascending.

    Returns:
        float32 [n, columns] from -0.5 to 0.5; 0 for NaN, and the middle of the places of knots that are equal.
    """
    found = np.zeros(values.shape, np.float32)
    _place(np.ascontiguousarray(values), np.ascontiguousarray(knots), found)
    return found


@compiled
def _place(values, knots, found):  # type: ignore[no-untyped-def]
    last = knots.shape[1] - 1
    for column in range(knots.shape[0]):
        own = knots[column]
        if np.isnan(own[0]):
            continue
        for row in range(len(values)):
            value = np.float64(values[row, column])
            if np.isnan(value):
                continue
            first = np.searchsorted(own, value)  # of the knots not below it
            if first > last:
                found[row, column] = 0.5
            elif own[first] == value:
                after = np.searchsorted(own, value, side="right")
                found[row, column] = (first + after - 1) / (2.0 * last) - 0.5
            elif first == 0:
                found[row, column] = -0.5
            else:
                share = (value - own[first - 1]) / (own[first] - own[first - 1])
                found[row, column] = (first - 1 + share) / last - 0.5
