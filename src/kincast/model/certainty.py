"""Certainty: what a version knows of its own mistakes: calibrated probabilities, intervals and sets of each target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kincast.errors import ProjectError
from kincast.model.calibrate import Calibration, calibrate
from kincast.model.conform import Conformal, intervals, sets
from kincast.model.ranked import Ranked
from kincast.query.task import TaskKind

if TYPE_CHECKING:
    from kincast.model.score import Scored, Spreads

Floats = NDArray[np.float64]
Bounds = tuple[Floats, Floats] | NDArray[np.bool_] | None
"""Lower and upper ends of values, [n] or [n, steps]; classes not ruled out [n, classes]; None for other targets."""


def checked_coverage(coverage: float) -> float:
    """A share that intervals may promise.

    Raises:
        ProjectError: it does not lie between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ProjectError(f"the coverage {coverage:g} does not lie between 0 and 1", hint="0.9")
    return coverage


@dataclass(frozen=True, slots=True)
class Certainty:
    """What was fitted on the validation period, one of each for every target; empty where nothing is known.

    Attributes:
        calibrations: of probabilities.
        conformals: of values and classes; None for other targets.
    """

    calibrations: tuple[Calibration, ...] = ()
    conformals: tuple[Conformal | None, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {
            "calibrations": [found.as_dict() for found in self.calibrations],
            "conformals": [None if found is None else found.as_dict() for found in self.conformals],
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Certainty:
        """Inverse of ``as_dict``."""
        conformals = tuple(None if found is None else Conformal.from_dict(found) for found in values["conformals"])
        return Certainty(tuple(map(Calibration.from_dict, values["calibrations"])), conformals)

    def calibrated(self, scores: Scored) -> Scored:
        """Scores that mean what they say, of raw ones; values and ranked items as they are."""
        if isinstance(scores, Ranked) or not self.calibrations:
            return scores
        if isinstance(scores, tuple):
            return tuple(calibrate(found, part) for found, part in zip(self.calibrations, scores, strict=True))
        return calibrate(self.calibrations[0], scores)

    def bounds(self, scores: Scored, spreads: Spreads, coverage: float) -> tuple[Bounds, ...]:
        """Intervals and sets of calibrated scores, one for each target.

        Args:
            scores: as ``calibrated`` gives them.
            spreads: the model's own, of each target.
            coverage: share of them that are to hold the truth.
        """
        if isinstance(scores, Ranked) or not self.conformals:
            return ()
        parts = scores if isinstance(scores, tuple) else (scores,)
        found: list[Bounds] = []
        for conformal, part, spread in zip(self.conformals, parts, spreads, strict=True):
            if conformal is None:
                found.append(None)
            elif conformal.kind is TaskKind.MULTICLASS:
                found.append(sets(conformal, part, coverage))
            else:
                found.append(intervals(conformal, part, spread, coverage))
        return tuple(found)
