"""Joint: several targets of one query: one network, a head and a loss for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kincast.model.conform import Spread
from kincast.model.objective import Objective
from kincast.query.encode import Lists
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class JointObjective:
    """The objectives of several targets. Each loss is about 1 for a model that knows nothing, so they are added.

    Attributes:
        parts: one for each target.
        scales: what each loss is divided by: that of the best constant on the training labels.
    """

    parts: tuple[Objective, ...]
    scales: tuple[float, ...]

    @property
    def kind(self) -> TaskKind:
        """The kind of the first target, as of the whole task."""
        return self.parts[0].kind

    @property
    def widths(self) -> tuple[int, ...]:
        """Outputs of each head."""
        return tuple(part.num_outputs for part in self.parts)

    @property
    def num_outputs(self) -> int:
        """Outputs of all heads."""
        return sum(self.widths)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {"parts": [part.as_dict() for part in self.parts], "scales": list(self.scales)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> JointObjective:
        """Inverse of ``as_dict``."""
        return JointObjective(tuple(Objective.from_dict(part) for part in values["parts"]), tuple(values["scales"]))

    def tensor(self, target: Floats | Lists) -> Tensor:
        """Targets as ``loss`` takes them."""
        return torch.from_numpy(target.as_matrix() if isinstance(target, Lists) else target)

    def loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum of the losses, each of the rows that have its target, in its scale.

        Args:
            outputs: [n, num_outputs].
            target: [n, parts] float64, NaN where a target has no value.
            weight: [n], or None.
        """
        total = outputs.new_zeros(())
        places = zip(self.parts, self.scales, torch.split(outputs, list(self.widths), 1), target.unbind(1), strict=True)
        for part, scale, own, wanted in places:
            known = ~torch.isnan(wanted)
            if known.any():
                total = total + part.loss(own[known], wanted[known], None if weight is None else weight[known]) / scale
        return total

    def scores(self, outputs: Tensor) -> tuple[Floats, ...]:
        """The scores of each target."""
        split = torch.split(outputs, list(self.widths), 1)
        return tuple(part.scores(own) for part, own in zip(self.parts, split, strict=True))

    def spread(self, outputs: Tensor) -> tuple[Spread | None, ...]:
        """How uncertain each target's values are said to be."""
        split = torch.split(outputs, list(self.widths), 1)
        return tuple(part.spread(own) for part, own in zip(self.parts, split, strict=True))


def read_objective(values: dict[str, Any]) -> Objective | JointObjective:
    """The objective that a version holds."""
    return JointObjective.from_dict(values) if "parts" in values else Objective.from_dict(values)


def constant_loss(kind: TaskKind, target: Floats) -> float:
    """Loss of the best constant on training targets [n]: the entropy of classes; 1 for values, in their unit."""
    if kind is TaskKind.REGRESSION:
        return 1.0
    shares = np.bincount(target.astype(np.int64)) / max(len(target), 1)
    shares = shares[shares > 0]
    return max(float(-(shares * np.log(shares)).sum()), 1e-3)
