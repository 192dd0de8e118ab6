"""Mode: how long a search may take, and what each mode spends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RunMode(Enum):
    """How long a search may take: each about four times as long as the one before."""

    DEBUG = "debug"
    FAST = "fast"
    NORMAL = "normal"
    BEST = "best"


@dataclass(frozen=True, slots=True)
class Effort:
    """What a run mode spends.

    Attributes:
        trials: halved for classes, of which there are 2 at least.
        fanout: of each of two hops.
        epochs: of a trial at most.
        steps: of an epoch at most.
        inferred: neighbours among the target's own facts follow from their number; else they are twice the fanout.
        refit: learn anew from training and validation labels at the end.
    """

    trials: int
    fanout: int
    epochs: int
    steps: int
    inferred: bool
    refit: bool


EFFORTS = {
    RunMode.DEBUG: Effort(2, 8, 2, 2, inferred=False, refit=False),
    RunMode.FAST: Effort(4, 12, 8, 1_000, inferred=False, refit=False),
    RunMode.NORMAL: Effort(8, 16, 12, 2_000, inferred=True, refit=True),
    RunMode.BEST: Effort(16, 24, 16, 2_000, inferred=True, refit=True),
}
