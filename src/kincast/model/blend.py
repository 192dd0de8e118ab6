"""Blend: a network, trees and a linear model on aggregates as one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.model.aggregate import AggregateSpec
from kincast.model.boost import Trees
from kincast.model.linear import Linear
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
BLENDED = (TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION)
"""Kinds of task whose network is blended; of the others, models on aggregates are baselines only."""
LEAST = 1e-6  # of a probability whose logarithm is taken


@dataclass(frozen=True, slots=True)
class Blend:
    """What stands beside a network, and how all become one: a weighted sum, of log odds for classes.

    Attributes:
        trees: on aggregates.
        linear: on aggregates.
        weights: of the network, the trees and the linear model.
        shift: added to the log odds of a binary target.
        aggregates: what trees and linear model read.
    """

    trees: Trees
    linear: Linear
    weights: tuple[float, ...]
    shift: float
    aggregates: AggregateSpec

    def scores(self, network: Floats, values: NDArray[np.float32]) -> Floats:
        """The scores of all as one, of the shape of the network's.

        Args:
            network: its scores of n rows.
            values: [n, columns] aggregates of the rows.
        """
        return self.of_members([network, self.trees.score(values), self.linear.score(values)])

    def of_members(self, scores: Sequence[Floats]) -> Floats:
        """The same of scores that are known."""
        return blended(self.trees.kind, np.array([*self.weights, self.shift]), scores)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {
            "trees": list(self.trees.texts),
            "linear": self.linear.as_dict(),
            "weights": list(self.weights),
            "shift": self.shift,
            "aggregates": self.aggregates.as_dict(),
        }

    @staticmethod
    def from_dict(kind: TaskKind, values: Mapping[str, Any]) -> Blend:
        """Inverse of ``as_dict``; raises VersionError when the trees cannot be read."""
        spec, linear = AggregateSpec.from_dict(values["aggregates"]), Linear.from_dict(kind, values["linear"])
        return Blend(Trees(kind, tuple(values["trees"])), linear, tuple(values["weights"]), values["shift"], spec)


def blended(kind: TaskKind, weights: Floats, members: Sequence[Floats]) -> Floats:
    """Scores of several models as one; ``weights`` has one for each, and at the end the shift."""
    pairs = list(zip(weights[:-1], members, strict=True))
    if kind is TaskKind.REGRESSION:
        return np.asarray(sum(weight * scores for weight, scores in pairs))
    if kind is TaskKind.BINARY:
        odds = sum(weight * log_odds(scores) for weight, scores in pairs) + weights[-1]
        return np.asarray(1 / (1 + np.exp(-odds)))
    mixed = sum(weight * np.log(np.maximum(scores, LEAST)) for weight, scores in pairs)
    assert isinstance(mixed, np.ndarray)
    shares = np.exp(mixed - mixed.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)


def log_odds(share: Floats) -> Floats:
    """The logarithm of the odds of probabilities, which are kept away from 0 and 1."""
    kept = np.clip(share, LEAST, 1 - LEAST)
    return np.asarray(np.log(kept / (1 - kept)))
