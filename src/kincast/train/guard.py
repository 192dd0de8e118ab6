"""Guard: notices a training that runs away, so that it can go back to good weights with a lower rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

EXPLODED = 20.0
"""A loss so many times that of the first batches has run away; untrained networks are not far from what can be."""
MOST_RESCUES = 3
_MEMORY = 0.9  # share of the running mean that a batch leaves as it was


class RanAwayError(Exception):
    """A step whose loss or gradients are no numbers, or far too large; never leaves the loop."""


@dataclass(slots=True)
class Guard:
    """What is remembered of the losses; plain numbers, so that a checkpoint can hold it.

    Attributes:
        first: size of the loss of the run's first batch, but at least 1; 0 before it.
        mean: running mean of the sizes since the last rescue.
        rescues: how often the rate was halved.
    """

    first: float = 0.0
    mean: float = 0.0
    rescues: int = 0

    def ran_away(self, loss: float, norm: float) -> bool:
        """True when a batch's loss or its gradients' norm is no number, or losses are far above those at the start."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return True
        if self.first == 0.0:
            self.first = max(abs(loss), 1.0)
        self.mean = _MEMORY * (self.mean or self.first) + (1 - _MEMORY) * abs(loss)
        return self.mean > EXPLODED * self.first

    def rescue(self) -> bool:
        """Halve the rate once more; False when that was done often enough."""
        self.mean = 0.0
        self.rescues += 1
        return self.rescues <= MOST_RESCUES

    @property
    def rate(self) -> float:
        """What the learning rate is multiplied with."""
        return float(0.5**self.rescues)

    def as_dict(self) -> dict[str, float]:
        """Plain values; ``Guard(**values)`` reads them back."""
        return asdict(self)
