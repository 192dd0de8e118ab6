"""Objective: per task kind, the losses it may have, the width of its head, and outputs to scores."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kincast.errors import DataError, ProjectError
from kincast.model import loss
from kincast.model.conform import Spread
from kincast.project import TrainSettings
from kincast.query.encode import Lists
from kincast.query.labels import Labels
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
LONG_TAIL = 2.0  # skewness from which a target is learnt on a logarithmic scale
OF_VALUES = ("mae", "mse", "huber", "wape", "normal", "negative_binomial", "log_normal", "quantile", "multi_quantile")
LOSSES: dict[TaskKind, tuple[str, ...]] = {
    TaskKind.BINARY: ("binary_cross_entropy", "focal"),
    TaskKind.MULTICLASS: ("cross_entropy", "ordinal_log"),
    TaskKind.REGRESSION: OF_VALUES,
    TaskKind.FORECASTING: OF_VALUES,
    TaskKind.MULTILABEL: ("binary_cross_entropy", "focal"),
    TaskKind.RANKING: ("cross_entropy", "binary_cross_entropy", "focal"),
    TaskKind.KNOWLEDGE: ("cross_entropy",),
    TaskKind.TEMPORAL_LINK: ("cross_entropy", "binary_cross_entropy", "any_cross_entropy"),
    TaskKind.STATIC_LINK: ("cross_entropy", "binary_cross_entropy", "any_cross_entropy"),
}
"""The losses of each kind, the usual one first."""
VALUES = frozenset({TaskKind.REGRESSION, TaskKind.FORECASTING})
LISTS = frozenset({TaskKind.MULTILABEL, TaskKind.RANKING})
LINKS = frozenset({TaskKind.TEMPORAL_LINK, TaskKind.STATIC_LINK, TaskKind.KNOWLEDGE})
_WEIGHTED = (TaskKind.BINARY, TaskKind.MULTICLASS)
_TWO_OUTPUTS = ("normal", "negative_binomial", "log_normal")
_SPREAD = 1e-3  # deviations and sizes are at least this


@dataclass(frozen=True, slots=True)
class Objective:
    """What is learnt, with everything fitted on training labels; plain JSON.

    Attributes:
        kind: of the task.
        num_outputs: of the network's head; of a link task the width of both towers.
        class_weights: per class; empty for none.
        transform: of values: ``none`` or ``log`` (``sign(x) log(1 + |x|)``).
        center, scale: of the transformed target.
        unit: mean distance of the training targets from their median; errors are counted in it.
        low, high: range of the training targets; predictions stay inside.
        loss_name: one of ``LOSSES``; empty means the usual one.
        shares: of ``quantile`` and ``multi_quantile``.
        name: of the target in a query of several.
        classes: names of its classes in a query of several.
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
    loss_name: str = ""
    shares: tuple[float, ...] = ()
    name: str = ""
    classes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return asdict(self) | {"kind": self.kind.value}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Objective:
        """Inverse of ``as_dict``."""
        lists = {name: tuple(values.get(name, ())) for name in ("class_weights", "shares", "classes")}
        return Objective(**{**values, **lists, "kind": TaskKind(values["kind"])})

    def named(self, name: str, classes: tuple[str, ...]) -> Objective:
        """The objective of one of several targets."""
        return replace(self, name=name, classes=classes)

    @property
    def width(self) -> int:
        """Outputs per value."""
        return 2 if self.loss_name in _TWO_OUTPUTS else max(1, len(self.shares))

    @property
    def usual(self) -> float:
        """The value in the middle of the scale of outputs, in the target's unit."""
        return float(self._values(torch.zeros((), dtype=torch.float64)))

    def tensor(self, target: Floats | Lists) -> Tensor:
        """Targets as ``loss`` takes them: lists of class codes become [n, classes] of 0 and 1."""
        if not isinstance(target, Lists):
            return torch.from_numpy(target)
        return torch.from_numpy(many_hot(target, self.num_outputs))

    def loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean loss of a batch.

        Args:
            outputs: [n, num_outputs] float32.
            target: [n] float64 class codes or values; [n, steps], NaN where a step has none; [n, classes] 0 or 1.
            weight: [n] how much each row counts; None where all count alike.
        """
        if self.kind in VALUES:
            return self._value_loss(outputs, target.float(), weight)
        balance = torch.tensor(self.class_weights)[target.long()] if self.class_weights else None
        if self.kind is TaskKind.BINARY:
            if self.loss_name != "focal" and weight is None:
                return functional.binary_cross_entropy_with_logits(outputs[:, 0], target.float(), balance)
            each = self._binary(outputs[:, 0], target.float())
            each = each if balance is None else each * balance
        elif self.kind is TaskKind.MULTICLASS:
            if self.class_weights and weight is None and self.loss_name in ("", "cross_entropy"):
                return functional.cross_entropy(outputs, target.long(), torch.tensor(self.class_weights))
            function = loss.ordinal_log if self.loss_name == "ordinal_log" else loss.cross_entropy
            each = function(outputs, target.long())
            each = each if balance is None else each * balance
        elif self.kind is TaskKind.RANKING and self.loss_name in ("", "cross_entropy"):
            each = loss.cross_entropy(outputs, target.float() / target.sum(dim=1, keepdim=True).clamp(min=1))
        else:
            each = self._binary(outputs, target.float()).mean(dim=1)
        return _mean(each, weight)

    def scores(self, outputs: Tensor) -> Floats:
        """Outputs to scores.

        Returns:
            probabilities of the positive class [n], of all classes [n, classes] (adding up to 1, or each of its own
            for labels), values [n], or the steps of a forecast [n, steps].
        """
        return np.asarray(self.read(outputs.detach().double().cpu()).numpy())

    def read(self, outputs: Tensor) -> Tensor:
        """The same in torch operations, so that gradients pass."""
        if self.kind is TaskKind.BINARY:
            return torch.sigmoid(outputs[:, 0])
        if self.kind is TaskKind.MULTILABEL:
            return torch.sigmoid(outputs)
        if self.kind in (TaskKind.MULTICLASS, TaskKind.RANKING):
            return torch.softmax(outputs, dim=1)
        if self.kind is TaskKind.REGRESSION and self.width == 1:
            return self._values(outputs[:, 0]).clamp(self.low, self.high)
        parts = outputs.reshape(len(outputs), -1, self.width)  # [n, steps, width]
        values = self._values(parts[..., self._middle]).clamp(self.low, self.high)
        return values[:, 0] if self.kind is TaskKind.REGRESSION else values

    @property
    def is_logarithmic(self) -> bool:
        """True where spreads are those of logarithms: of losses that learn them there."""
        return self.transform == "log" and self.loss_name in ("log_normal", "multi_quantile")

    def spread(self, outputs: Tensor) -> Spread | None:
        """How uncertain each value is: as losses of whole distributions and of several quantiles say.

        On the scale that ``is_logarithmic`` names. Of other losses, the value itself and one unit where the target has
        a long tail, since errors grow with it, but not from nothing; None where it has none.
        """
        if self.kind not in VALUES or (self.width == 1 and self.transform == "none"):
            return None
        if self.width == 1:
            size = np.abs(self.scores(outputs)) + self.unit
            return Spread(size, size)
        parts = outputs.detach().double().cpu().reshape(len(outputs), -1, self.width)  # [n, steps, width]
        if self.loss_name == "multi_quantile":
            values, least = parts.numpy() * self.scale, 0.01 * self.scale
            middle = values[..., [self._middle]]
            below = np.maximum(middle - values.min(axis=2, keepdims=True), least)
            above = np.maximum(values.max(axis=2, keepdims=True) - middle, least)
        else:
            deviation = functional.softplus(parts[..., 1:]) + _SPREAD
            if self.loss_name == "negative_binomial":
                mean = self._values(parts[..., :1]).clamp(min=_SPREAD)
                deviation = (mean + mean**2 / deviation).sqrt()
            else:
                deviation = deviation * self.scale
            below = above = deviation.numpy()
        if self.kind is TaskKind.REGRESSION:
            return Spread(below[:, 0, 0], above[:, 0, 0])
        return Spread(below[..., 0], above[..., 0])

    @property
    def _middle(self) -> int:
        """Place of the output that is the predicted value."""
        return int(np.argmin(np.abs(np.array(self.shares) - 0.5))) if self.loss_name == "multi_quantile" else 0

    def _binary(self, logits: Tensor, target: Tensor) -> Tensor:
        return (loss.focal if self.loss_name == "focal" else loss.binary_cross_entropy)(logits, target)

    def _value_loss(self, outputs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """In the target's own unit, since that is what the error is measured in."""
        parts = outputs.reshape(len(outputs), -1, self.width)  # [n, steps, width]
        target = target.reshape(len(target), -1)  # [n, steps]
        known = ~torch.isnan(target)
        if weight is not None:
            weight = weight.unsqueeze(1).expand_as(target)[known]
        unit = {"mse": self.unit**2, "mae": self.unit, "quantile": self.unit, "multi_quantile": self.unit}
        return _mean(self._each_value(parts[known], target[known]), weight) / unit.get(self.loss_name or "mae", 1.0)

    def _each_value(self, parts: Tensor, target: Tensor) -> Tensor:
        """[m] losses of outputs [m, width]."""
        values, name = self._values(parts[:, 0]), self.loss_name
        if name in _TWO_OUTPUTS:
            spread = functional.softplus(parts[:, 1]) + _SPREAD
            if name == "normal":
                return loss.normal(values, spread * self.scale, target)
            if name == "log_normal":
                return loss.log_normal(parts[:, 0] * self.scale + self.center, spread * self.scale, target)
            return loss.negative_binomial(values.clamp(min=_SPREAD), spread, target)
        if name == "quantile":
            return loss.quantile(values, target, self.shares[0])
        if name == "multi_quantile":
            return loss.multi_quantile(self._values(parts), target, self.shares)
        if name == "wape":
            return loss.wape(values, target)
        if name == "mse":
            return loss.mse(values, target)
        if name == "huber":
            return loss.huber(values / self.unit, target / self.unit)
        return loss.mae(values, target)

    def _values(self, outputs: Tensor) -> Tensor:
        values = outputs * self.scale + self.center
        if self.transform == "log":
            largest = math.log1p(max(abs(self.low), abs(self.high)))
            values = values.sign() * values.abs().clamp(max=largest).expm1()
        return values


def _mean(each: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return each.mean() if len(each) else each.sum()
    return (each * weight).sum() / weight.sum().clamp(min=1e-12)


def many_hot(lists: Lists, width: int) -> NDArray[np.float32]:
    """[n, width] 1 where a list holds the code."""
    dense = np.zeros((len(lists), width), np.float32)
    dense[np.repeat(np.arange(len(lists)), lists.lengths), lists.items.astype(np.int64)] = 1
    return dense


def target_of(labels: Labels) -> Floats | Lists:
    """What is learnt of labels: class codes or values [n], steps or several targets [n, k], or lists of codes or rows.

    The targets of a query of several are NaN where one has no value.
    """
    if labels.lists is None:
        return labels.target
    return labels.lists if labels.kind in LISTS | LINKS else labels.lists.as_matrix()


def fit_objective(labels: Labels, settings: TrainSettings, *, output_channels: int = 0) -> Objective:
    """The objective of one target, fitted on its training labels.

    Args:
        labels: of training.
        settings: name the loss.
        output_channels: width of both towers of a link task.

    Raises:
        ProjectError: the settings do not suit the kind.
        DataError: the loss does not suit the targets.
    """
    kind, num_classes = labels.kind, len(labels.classes)
    name = _loss_of(kind, settings)
    if kind in VALUES:
        target = target_of(labels)
        assert not isinstance(target, Lists)
        return _fit_values(kind, target, name, settings.quantiles)
    if settings.class_weights and kind not in _WEIGHTED:
        raise ProjectError(f"class_weights are not for {kind.words}", hint="leave train.class_weights out")
    weights: tuple[float, ...] = ()
    if settings.class_weights:
        counts = np.bincount(labels.target.astype(np.int64), minlength=num_classes)
        weights = tuple(float(w) for w in len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)))
    width = 1 if kind is TaskKind.BINARY else output_channels if kind in LINKS else num_classes
    return Objective(kind, width, weights, loss_name=name)


def _loss_of(kind: TaskKind, settings: TrainSettings) -> str:
    name = settings.loss or LOSSES[kind][0]
    if name not in LOSSES[kind]:
        raise ProjectError(f"the loss {name} is not for {kind.words}", hint=f"train.loss: {', '.join(LOSSES[kind])}")
    return name


def _fit_values(kind: TaskKind, target: Floats, name: str, quantiles: tuple[float, ...]) -> Objective:
    steps = target.shape[1] if target.ndim == 2 else 1
    target = target[~np.isnan(target)]
    if not len(target):
        raise DataError("no step of any training label has a value", hint="choose a longer window")
    if name in ("negative_binomial", "log_normal") and target.min() < 0:
        raise DataError(f"the loss {name} is for targets from 0 on, and the least is {target.min():g}", hint="use mae")
    if name == "quantile" and len(quantiles) != 1:
        raise ProjectError(f"the loss quantile takes one of train.quantiles, not {len(quantiles)}", hint="[0.5]")
    spread = target.std()
    skewness = float(np.mean(((target - target.mean()) / spread) ** 3)) if spread > 0 else 0.0
    transform = "log" if abs(skewness) > LONG_TAIL else "none"
    if name in _TWO_OUTPUTS:
        transform = "none" if name == "normal" else "log"
    seen = np.sign(target) * np.log1p(np.abs(target)) if transform == "log" else target
    shares = quantiles if name in ("quantile", "multi_quantile") else ()
    width = 2 if name in _TWO_OUTPUTS else max(1, len(shares))
    return Objective(
        kind,
        num_outputs=steps * width,
        transform=transform,
        center=float(seen.mean()),
        scale=float(seen.std()) or 1.0,
        unit=float(np.abs(target - np.median(target)).mean()) or 1.0,
        low=float(target.min()),
        high=float(target.max()),
        loss_name=name,
        shares=shares,
    )
