"""Trial: what came of one plan, when one is given up, and which ones nothing beats."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kincast.train.search.plan import Pruning
from kincast.train.search.write import plain

State = Literal["complete", "pruned", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one plan.

    Attributes:
        number: 1-based.
        places: parameter → place of its value in the plan.
        values: parameter → its value.
        state: ``pruned`` was given up, ``stopped`` ran out of time, ``failed`` has no model.
        metric: best value of the validation metric; None without a model.
        best_epoch: 1-based; 0 without a model.
        epochs: validation metric after each epoch.
        batch_size: it was trained with, after halving.
        seconds: it took.
        row_us: predicting one row, in microseconds; None without a model.
        note: why it failed or its batches were halved.
    """

    number: int
    places: Mapping[str, int]
    values: Mapping[str, Any]
    state: State
    metric: float | None = None
    best_epoch: int = 0
    epochs: tuple[float, ...] = ()
    batch_size: int = 0
    seconds: float = 0.0
    row_us: float | None = None
    note: str = field(default="")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        epochs = [value if math.isfinite(value) else None for value in self.epochs]
        found: dict[str, Any] = plain({**asdict(self), "epochs": epochs})
        return found

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Trial:
        """Inverse of ``as_dict``."""
        epochs = tuple(math.nan if value is None else float(value) for value in values["epochs"])
        return Trial(**{**values, "epochs": epochs})


def is_hopeless(own: Sequence[float], others: Sequence[Sequence[float]], rule: Pruning, *, is_error: bool) -> bool:
    """True when a trial is so far behind that it is given up.

    Its best value so far is held against the median of the others' best values by the same epoch.

    Args:
        own: its validation metric after each epoch.
        others: those of the trials that were not given up.
        rule: when.
        is_error: lower values are better.
    """
    first = len(own) - rule.patience + 1
    if len(others) < rule.k or first < rule.min_epochs:
        return False
    sign = -1.0 if is_error else 1.0

    def behind(epoch: int) -> bool:
        median = statistics.median(_best(values[:epoch], sign) for values in others)
        return _best(own[:epoch], sign) < median - rule.min_delta

    return all(behind(epoch) for epoch in range(first, len(own) + 1))


def _best(values: Sequence[float], sign: float) -> float:
    return max((sign * value for value in values if math.isfinite(value)), default=-math.inf)


def best_of(trials: Sequence[Trial], *, is_error: bool) -> Trial | None:
    """The trial with the best validation metric, the first of equals; those given up do not count.

    Where the metric is a number for none, such as AUROC without a positive, the first that has a model.
    """
    found = [trial for trial in trials if trial.best_epoch and trial.state in ("complete", "stopped")]
    sign = -1.0 if is_error else 1.0

    def rank(trial: Trial) -> tuple[float, int]:
        return -math.inf if trial.metric is None else sign * trial.metric, -trial.number

    return max(found, key=rank, default=None)


def front_of(trials: Sequence[Trial], *, is_error: bool) -> list[int]:
    """Numbers of the trials that no other beats in quality without being slower, or in speed without being worse."""
    sign = -1.0 if is_error else 1.0
    points = [(t.number, sign * t.metric, t.row_us) for t in trials if t.metric is not None and t.row_us is not None]
    return [
        number
        for number, quality, cost in points
        if not any(q >= quality and c <= cost and (q > quality or c < cost) for _, q, c in points)
    ]
