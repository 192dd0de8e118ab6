"""Calibrate: probabilities made to mean what they say: a function of scores alone, whatever made them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logit, softmax

from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
CALIBRATED = frozenset({TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.MULTILABEL})
"""Kinds whose scores are probabilities."""
LEAST = 1e-7  # probabilities are at least so far from 0 and 1 when they are judged
_TINY, _ALMOST_ONE = float(np.finfo(np.float64).tiny), 1 - 2.0**-53


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the probabilities of one target are put right; plain JSON.

    ``temperature`` divides logits and adds a bias, which repairs a prior that training had moved (Alexandari et al.
    2020, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label shift adaptation"): of one
    probability it keeps every order. ``isotonic`` is the best rising function (Zadrozny and Elkan 2002), of several
    classes one for each, made to add up to 1 again.

    Attributes:
        kind: of the target.
        method: ``none``, ``temperature`` or ``isotonic``.
        temperatures: one; of labels one each.
        biases: added to the logit; of classes and labels one each.
        knots: of ``isotonic``: ascending scores and what they become, for each class one pair.
    """

    kind: TaskKind
    method: str = "none"
    temperatures: tuple[float, ...] = ()
    biases: tuple[float, ...] = ()
    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return asdict(self) | {"kind": self.kind.value}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Calibration:
        """Inverse of ``as_dict``."""
        knots = tuple((tuple(scores), tuple(shares)) for scores, shares in values["knots"])
        lists = {name: tuple(values[name]) for name in ("temperatures", "biases")}
        return Calibration(TaskKind(values["kind"]), values["method"], **lists, knots=knots)


def calibrate(calibration: Calibration, scores: Floats) -> Floats:
    """Calibrated probabilities.

    Args:
        calibration: of the target, fitted.
        scores: [n] probabilities of the positive class, or [n, classes] of classes or labels.
    """
    if calibration.method == "none":
        return scores
    if calibration.method == "isotonic":
        if scores.ndim == 1:
            return np.asarray(np.interp(scores, *calibration.knots[0]))
        each = [np.interp(scores[:, code], *knots) for code, knots in enumerate(calibration.knots)]
        risen = np.stack(each, axis=1)
        return np.asarray(risen / risen.sum(axis=1, keepdims=True))
    logits = logits_of(calibration.kind, scores) / np.array(calibration.temperatures) + np.array(calibration.biases)
    return np.asarray(softmax(logits, axis=1) if calibration.kind is TaskKind.MULTICLASS else expit(logits))


def logits_of(kind: TaskKind, scores: Floats) -> Floats:
    """What a sigmoid, or of several classes a softmax, makes the probabilities of; finite for 0 and 1 too."""
    if kind is TaskKind.MULTICLASS:
        return np.asarray(log_softmax(np.log(np.maximum(scores, _TINY)), axis=1))
    return np.asarray(logit(np.clip(scores, _TINY, _ALMOST_ONE)))


def log_losses(kind: TaskKind, target: Floats, scores: Floats) -> Floats:
    """[n] surprise at what happened, in nats; of labels the mean over them."""
    if kind is TaskKind.MULTICLASS:
        return np.asarray(-np.log(np.maximum(scores[np.arange(len(target)), target.astype(np.int64)], LEAST)))
    scores = np.clip(scores, LEAST, 1 - LEAST)
    losses = -np.where(target > 0, np.log(scores), np.log1p(-scores))
    return np.asarray(losses if losses.ndim == 1 else losses.mean(axis=1))
