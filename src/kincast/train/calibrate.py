"""Calibrate: what a model is wrong by, fitted on the validation period alone.

Which way of calibrating is taken is judged by cross-fitting: the rows of each entity by what was fitted without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

from kincast.errors import ProjectError
from kincast.model.calibrate import CALIBRATED, Calibration, calibrate, log_losses, logits_of
from kincast.model.certainty import Certainty
from kincast.model.conform import Conformal, Spread, fit_intervals, fit_sets
from kincast.model.joint import JointObjective
from kincast.model.objective import VALUES, Objective, many_hot
from kincast.model.ranked import Ranked
from kincast.model.score import Scored, Spreads
from kincast.query.encode import Lists
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
LEAST_ROWS_OF_STEPS = 1_000
"""Fewer are learnt by heart by isotonic regression."""
Method = Literal["auto", "temperature", "isotonic", "none"]
FOLDS = 5
MIN_EACH = 10
"""Rows of a class, or with and without a label, below which nothing is fitted to it."""
MAX_LOG_TEMPERATURE = 3.0
BIAS_SPREAD = 10.0  # of a normal prior on biases, which keeps those of classes that never happened finite


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A certainty, with the scores of the validation rows that were calibrated without them.

    Attributes:
        certainty: what the version keeps.
        scores: of all validation rows.
    """

    certainty: Certainty
    scores: Scored


def check_method(objective: Objective | JointObjective, method: Method) -> None:
    """Refuse a way of calibrating that no target of an objective can have.

    Raises:
        ProjectError: it is not for these kinds.
    """
    parts = objective.parts if isinstance(objective, JointObjective) else (objective,)
    kinds = CALIBRATED - {TaskKind.MULTILABEL} if method == "isotonic" else CALIBRATED
    if method in ("temperature", "isotonic") and not any(part.kind in kinds for part in parts):
        what = f"the calibration {method} is not for {parts[0].kind.words}"
        raise ProjectError(what, where="train.calibration", hint="auto")


def fit_certainty(
    objective: Objective | JointObjective,
    target: Any,
    scores: Scored,
    spreads: Spreads,
    groups: NDArray[Any],
    method: Method,
) -> HeldOut:
    """What validation rows tell of a model's mistakes.

    Args:
        objective: of the model.
        target: of the validation rows, as it is learnt; [n, targets] of several.
        scores: raw ones of the rows; a network's, or any others of the same form.
        spreads: the model's own, of each target.
        groups: [n] whose rows belong together.
        method: how probabilities are calibrated; ``auto`` finds out.

    """
    if isinstance(scores, Ranked):
        return HeldOut(Certainty(), scores)
    if not isinstance(objective, JointObjective):
        assert isinstance(scores, np.ndarray)
        calibration, conformal, held_out = _fit_part(objective, target, scores, spreads[0], groups, method)
        return HeldOut(Certainty((calibration,), (conformal,)), held_out)
    found, columns = [], []
    for place, (part, own, spread) in enumerate(zip(objective.parts, scores, spreads, strict=True)):
        known = ~np.isnan(target[:, place])
        spread = None if spread is None else spread.take(known)
        calibration, conformal, some = _fit_part(part, target[known, place], own[known], spread, groups[known], method)
        column = own.copy()
        column[known] = some
        found.append((calibration, conformal))
        columns.append(column)
    return HeldOut(Certainty(tuple(c for c, _ in found), tuple(c for _, c in found)), tuple(columns))


def _fit_part(
    objective: Objective, target: Any, scores: Floats, spread: Spread | None, groups: NDArray[Any], method: Method
) -> tuple[Calibration, Conformal | None, Floats]:
    kind = objective.kind
    if kind in VALUES:
        floor = 0.0 if objective.low >= 0 else None
        log = objective.is_logarithmic
        return Calibration(kind), fit_intervals(kind, target, scores, spread, log=log, floor=floor), scores
    if kind not in CALIBRATED:
        return Calibration(kind), None, scores
    if isinstance(target, Lists):
        target = many_hot(target, scores.shape[1]).astype(np.float64)
    calibration, held_out = fit_calibration(kind, target, scores, groups, method)
    conformal = fit_sets(target, held_out) if kind is TaskKind.MULTICLASS and len(target) else None
    return calibration, conformal, held_out


def fit_calibration(
    kind: TaskKind, target: Floats, scores: Floats, groups: NDArray[Any], method: Method = "auto"
) -> tuple[Calibration, Floats]:
    """The calibration of one target, and the scores of its rows calibrated without them.

    ``auto`` takes another one than none only where its log-loss on rows it has not seen is better by more than its
    standard error over groups, and isotonic only from 1,000 rows on and where it is so against temperature.

    Args:
        kind: binary, multiclass or multilabel.
        target: [n] 0, 1 or class codes; [n, labels] 0 or 1.
        scores: [n] or [n, classes] raw probabilities.
        groups: [n] whose rows are never fitted and judged apart.
        method: the one to take, or ``auto``.
    """
    chosen, held_out = Calibration(kind), scores
    if method == "none" or not _enough(kind, target):
        return chosen, held_out
    steps = kind is not TaskKind.MULTILABEL and len(target) >= LEAST_ROWS_OF_STEPS
    usual = ["temperature", "isotonic"] if steps else ["temperature"]
    names = usual if method == "auto" else [method]
    folds, group = _folds(groups)
    for name in names:
        fit = _FITS[name]
        without = scores.copy()
        for fold in range(FOLDS):
            inside = folds == fold
            without[inside] = calibrate(fit(kind, target[~inside], scores[~inside]), scores[inside])
        gain = log_losses(kind, target, held_out) - log_losses(kind, target, without)
        if method == name or _is_clear(gain, group):
            chosen, held_out = fit(kind, target, scores), without
    return chosen, held_out


def _enough(kind: TaskKind, target: Floats) -> bool:
    """True when there is something to tell probabilities by."""
    if kind is TaskKind.MULTILABEL:
        return bool(_told(target).any())
    counts = np.bincount(target.astype(np.int64), minlength=2)
    return int((counts >= MIN_EACH).sum()) >= 2


def _told(target: Floats) -> NDArray[np.bool_]:
    """[labels] those that some rows have and some have not."""
    positive = target.sum(axis=0)
    return np.asarray(np.minimum(positive, len(target) - positive) >= MIN_EACH)


def _folds(groups: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[n] the fold and the number of the group of each row."""
    _, group = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(0).permutation(int(group.max()) + 1) % FOLDS
    return fold[group], group


def _is_clear(gain: Floats, group: NDArray[np.int64]) -> bool:
    """True when a mean gain is above its standard error over groups."""
    sums = np.bincount(group, gain - gain.mean())
    return bool(gain.mean() > np.sqrt((sums**2).sum()) / len(gain))


def _fit_temperature(kind: TaskKind, target: Floats, scores: Floats) -> Calibration:
    logits = logits_of(kind, scores)
    if kind is not TaskKind.MULTILABEL:
        temperature, biases = _scaled(logits, target)
        return Calibration(kind, "temperature", (temperature,), biases)
    temperatures, shifts = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    for code in np.flatnonzero(_told(target)).tolist():
        temperatures[code], (shifts[code],) = _scaled(logits[:, code], target[:, code])
    return Calibration(kind, "temperature", tuple(temperatures.tolist()), tuple(shifts.tolist()))


def _scaled(logits: Floats, target: Floats) -> tuple[float, tuple[float, ...]]:
    """The temperature and biases of least log-loss, of logits [n] or [n, classes]."""
    classes = logits.shape[1] if logits.ndim == 2 else 1
    hot = target if logits.ndim == 1 else _one_hot(target, classes)

    def loss(point: Floats) -> tuple[float, Floats]:
        scaled = logits * np.exp(-point[0])
        moved = scaled + (point[1:] if logits.ndim == 2 else point[1])
        if logits.ndim == 2:
            mean, error = (
                -(log_softmax(moved, axis=1) * hot).sum() / len(hot),
                (softmax(moved, axis=1) - hot) / len(hot),
            )
        else:
            mean, error = (np.logaddexp(0, moved) - hot * moved).mean(), (expit(moved) - hot) / len(hot)
        gradient = np.concatenate([[-(error * scaled).sum()], np.atleast_1d(error.sum(axis=0))])
        held = point[1:] / BIAS_SPREAD**2 / len(hot)
        gradient[1:] += held
        return float(mean + 0.5 * (held * point[1:]).sum()), gradient

    bounds = [(-MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE), *[(None, None)] * classes]
    from scipy.optimize import minimize  # which takes long to import

    found = minimize(loss, np.zeros(1 + classes), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(found[0])), tuple(float(bias) for bias in found[1:])


def _one_hot(target: Floats, classes: int) -> Floats:
    """[n, classes] 1 at the class of each row."""
    return np.asarray(np.eye(classes)[target.astype(np.int64)])


def _fit_isotonic(kind: TaskKind, target: Floats, scores: Floats) -> Calibration:
    if scores.ndim == 1:
        return Calibration(kind, "isotonic", knots=(_knots(target, scores),))
    hot = _one_hot(target, scores.shape[1])
    knots = tuple(_knots(hot[:, code], scores[:, code]) for code in range(scores.shape[1]))
    return Calibration(kind, "isotonic", knots=knots)


def _knots(target: Floats, scores: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Both ends of every flat piece; never quite 0 or 1, since n rows cannot tell."""
    at, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    from scipy.optimize import isotonic_regression  # which takes long to import

    risen = isotonic_regression(np.bincount(place, target) / count, weights=count)
    shares = np.clip(risen.x, 1 / (len(target) + 2), 1 - 1 / (len(target) + 2))
    ends = np.unique(np.concatenate([risen.blocks[:-1], risen.blocks[1:] - 1]))
    return tuple(at[ends].tolist()), tuple(shares[ends].tolist())


_FITS: dict[str, Callable[[TaskKind, Floats, Floats], Calibration]] = {
    "temperature": _fit_temperature,
    "isotonic": _fit_isotonic,
}
