"""Boost: gradient-boosted trees on aggregates, and how they and a network are blended into one score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.errors import VersionError
from kincast.model.aggregate import AggregateSpec
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
BLENDED = (TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION)
"""Kinds of task that trees take part in; of the others they are a baseline only."""
LEAST = 1e-6  # of a probability whose logarithm is taken


class Trees:
    """Trained trees.

    Args:
        kind: of the task.
        texts: one model each, as LightGBM writes them; their scores are averaged.

    Raises:
        VersionError: a text is no such model.
    """

    def __init__(self, kind: TaskKind, texts: tuple[str, ...]) -> None:
        import lightgbm  # which takes long, and most commands need no trees

        self.kind, self.texts = kind, texts
        try:
            self._boosters = [lightgbm.Booster(model_str=text) for text in texts]
        except lightgbm.basic.LightGBMError as error:
            raise VersionError(f"the trees cannot be read: {error}", hint="train again") from None

    @property
    def rounds(self) -> list[int]:
        """How many rounds each model was trained for."""
        return [int(booster.current_iteration()) for booster in self._boosters]

    def score(self, values: NDArray[np.float32]) -> Floats:
        """Scores of aggregates [n, columns]: probabilities of the positive class [n] or of all classes, or values."""
        found = [np.asarray(booster.predict(values, num_threads=1), np.float64) for booster in self._boosters]
        return np.asarray(np.mean(found, axis=0))


@dataclass(frozen=True, slots=True)
class Blend:
    """How the scores of a network and of trees become one: a weighted sum, of log odds for classes.

    Attributes:
        network: weight of the network.
        trees: weight of the trees.
        shift: added to the log odds of a binary target.
        aggregates: what the trees read.
    """

    network: float
    trees: float
    shift: float
    aggregates: AggregateSpec

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Blend:
        """Inverse of ``as_dict``."""
        return Blend(**{**values, "aggregates": AggregateSpec.from_dict(values["aggregates"])})

    def scores(self, kind: TaskKind, network: Floats, trees: Floats) -> Floats:
        """The scores of both as one, of the same shape as each."""
        weights = np.array([self.network, self.trees, self.shift])
        return blended(kind, weights, network, trees)


def blended(kind: TaskKind, weights: Floats, network: Floats, trees: Floats) -> Floats:
    """Scores of two models as one; ``weights`` are those of the network, of the trees, and the shift."""
    if kind is TaskKind.REGRESSION:
        return np.asarray(weights[0] * network + weights[1] * trees)
    if kind is TaskKind.BINARY:
        odds = weights[0] * log_odds(network) + weights[1] * log_odds(trees) + weights[2]
        return np.asarray(1 / (1 + np.exp(-odds)))
    mixed = weights[0] * np.log(np.maximum(network, LEAST)) + weights[1] * np.log(np.maximum(trees, LEAST))
    shares = np.exp(mixed - mixed.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)


def log_odds(share: Floats) -> Floats:
    """The logarithm of the odds of probabilities, which are kept away from 0 and 1."""
    kept = np.clip(share, LEAST, 1 - LEAST)
    return np.asarray(np.log(kept / (1 - kept)))
