"""Boost: gradient-boosted trees on aggregates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kincast.errors import VersionError
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]


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
