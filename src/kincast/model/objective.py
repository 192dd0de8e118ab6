"""Objective: per task kind, the number of outputs, the loss, and outputs to scores."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
LONG_TAIL = 2.0  # skewness from which a target is learnt on a logarithmic scale


@dataclass(frozen=True, slots=True)
class Objective:
    """What is learnt, with everything fitted on training labels; plain JSON.

    Attributes:
        kind: of the task.
        num_outputs: of the network's head.
        class_weights: per class; empty for none.
        transform: of a regression target: ``none`` or ``log`` (``sign(x) log(1 + |x|)``).
        center, scale: of the transformed target.
        unit: mean distance of the training targets from their median; the loss is counted in it.
        low, high: range of the training targets; predictions stay inside.
    """

    kind: TaskKind
    num_outputs: int
    class_weights: tuple[float, ...] = ()
    transform: str = "none"
    center: float = 0.0
    scale: float = 1.0
    unit: float = 1.0
    low: float = 0.0
    high: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return asdict(self) | {"kind": self.kind.value}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Objective:
        """Inverse of ``as_dict``."""
        return Objective(
            **{**values, "kind": TaskKind(values["kind"]), "class_weights": tuple(values["class_weights"])}
        )

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            outputs: [n, num_outputs] float32.
            target: [n] float64 class codes or values.
        """
        if self.kind is TaskKind.REGRESSION:
            # In the target's own unit, since that is what the error is measured in.
            return functional.l1_loss(self._values(outputs[:, 0]), target.float()) / self.unit
        weights = torch.tensor(self.class_weights) if self.class_weights else None
        if self.kind is TaskKind.BINARY:
            weight = None if weights is None else weights[target.long()]
            return functional.binary_cross_entropy_with_logits(outputs[:, 0], target.float(), weight)
        return functional.cross_entropy(outputs, target.long(), weights)

    def scores(self, outputs: Tensor) -> Floats:
        """Outputs to probabilities of the positive class [n], of all classes [n, classes], or values [n]."""
        outputs = outputs.detach().double().cpu()
        if self.kind is TaskKind.BINARY:
            return torch.sigmoid(outputs[:, 0]).numpy()
        if self.kind is TaskKind.MULTICLASS:
            return torch.softmax(outputs, dim=1).numpy()
        values: Floats = np.clip(self._values(outputs[:, 0]).numpy(), self.low, self.high)
        return values

    def _values(self, outputs: Tensor) -> Tensor:
        values = outputs * self.scale + self.center
        if self.transform == "log":
            largest = math.log1p(max(abs(self.low), abs(self.high)))
            values = values.sign() * values.abs().clamp(max=largest).expm1()
        return values


def fit_objective(kind: TaskKind, target: Floats, num_classes: int, *, class_weights: bool = False) -> Objective:
    """The objective of a task, fitted on its training labels.

    Args:
        kind: of the task.
        target: [n] training labels.
        num_classes: of classification; 0 for regression.
        class_weights: weight classes by inverse frequency, mean 1 over the rows.
    """
    if kind is TaskKind.REGRESSION:
        spread = target.std()
        skewness = float(np.mean(((target - target.mean()) / spread) ** 3)) if spread > 0 else 0.0
        transform = "log" if abs(skewness) > LONG_TAIL else "none"
        seen = np.sign(target) * np.log1p(np.abs(target)) if transform == "log" else target
        scale = float(seen.std()) or 1.0
        return Objective(
            kind,
            num_outputs=1,
            transform=transform,
            center=float(seen.mean()),
            scale=scale,
            unit=float(np.abs(target - np.median(target)).mean()) or 1.0,
            low=float(target.min()),
            high=float(target.max()),
        )
    weights: tuple[float, ...] = ()
    if class_weights:
        counts = np.bincount(target.astype(np.int64), minlength=num_classes)
        weights = tuple(float(w) for w in len(target) / (np.count_nonzero(counts) * np.maximum(counts, 1)))
    return Objective(kind, 1 if kind is TaskKind.BINARY else num_classes, weights)
