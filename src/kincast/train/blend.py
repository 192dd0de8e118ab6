"""Blend: what stands beside a network is trained, and all are weighed against each other on the validation period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from kincast.model.aggregate import Aggregates, AggregateSpec
from kincast.model.blend import LEAST, Blend, blended, log_odds
from kincast.model.boost import Trees
from kincast.model.linear import Linear
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.boost import fit_trees, refit_trees
from kincast.train.judge import Judge
from kincast.train.linear import fit_linear, refit_linear
from kincast.train.metric import is_error

Floats = NDArray[np.float64]
LIGHTGBM = "LightGBM"
LINEAR = "linear model"
MAX_WEIGHED_ROWS = 10_000
NUM_DRAWS = 50  # of rows, each with weights of its own
MIN_INSTANTS = 10  # from which instants are drawn instead of rows
PARTS = 10  # that weights are shares of


@dataclass(frozen=True, slots=True)
class Beside:
    """The models on aggregates that a network is blended with.

    Attributes:
        trees: as they are served: they have learnt from the validation labels too.
        linear: the same.
        scores: name → scores of all labels: of test rows by those, of others by models of the training labels alone.
        weighed: [n] the validation rows that a blend is weighed on.
        later: scores of those rows, by models that have learnt from all validation labels before them.
    """

    trees: Trees
    linear: Linear
    scores: dict[str, Floats]
    weighed: NDArray[np.bool_]
    later: tuple[Floats, Floats]


def fit_beside(labels: Labels, aggregates: Aggregates, judge: Judge, *, seed: int, ahead: bool = True) -> Beside:
    """Train trees and a linear model, as they are judged, as they are weighed and as they are served.

    Those that are served have learnt from the newest labels, and mostly the network has not. The weights are fitted to
    the same: on the later half of the validation period, with models that know the earlier one. Where all validation
    labels have one instant there is no earlier half.

    Args:
        labels: of all splits.
        aggregates: their features, row for row.
        judge: of the task.
        seed: of draws.
        ahead: the network that is served has not learnt from the validation labels.
    """
    values = aggregates.values
    trees = fit_trees(labels, aggregates, seed=seed)
    linear, penalty = fit_linear(labels, aggregates, judge, seed=seed)
    weighed = _later_half(labels)
    known = (labels.split < 2) & ~weighed
    later = trees, linear
    if not ahead:
        weighed = labels.split == 1
    elif (known & (labels.split == 1)).any():
        later = (
            refit_trees(trees, labels, aggregates, known, seed=seed),
            refit_linear(penalty, labels, aggregates, known, seed=seed),
        )
    final = (
        refit_trees(trees, labels, aggregates, labels.split < 2, seed=seed),
        refit_linear(penalty, labels, aggregates, labels.split < 2, seed=seed),
    )
    test = labels.split == 2
    scores = {LIGHTGBM: trees.score(values), LINEAR: linear.score(values)}
    scores[LIGHTGBM][test], scores[LINEAR][test] = (model.score(values[test]) for model in final)
    return Beside(*final, scores, weighed, (later[0].score(values[weighed]), later[1].score(values[weighed])))


def fit_blend(labels: Labels, network: Floats, beside: Beside, spec: AggregateSpec, judge: Judge) -> Blend:
    """Weigh a network against what stands beside it.

    Args:
        labels: of all splits.
        network: its scores of the validation rows.
        beside: the others.
        spec: of the aggregates that these read.
        judge: of the task.
    """
    chosen = beside.weighed
    own = network[chosen[labels.split == 1]]
    fitted = fit_weights(labels.kind, labels.target[chosen], [own, *beside.later], judge, labels.as_of_us[chosen])
    *weights, shift = fitted.tolist()
    return Blend(beside.trees, beside.linear, tuple(weights), shift, spec)


def fit_weights(
    kind: TaskKind, target: Floats, members: Sequence[Floats], judge: Judge, instants: NDArray[np.int64]
) -> Floats:
    """The weights of models, and the shift, with which the metric that decides is best.

    Shares of all models are tried on many samples of the rows, and the mean of the best ones is taken: where the rows
    cannot tell which is better, all count about alike. Rows of one instant have their luck in common, so instants are
    drawn where there are enough of them. For classes a share is of log odds, for two classes of equal
    spread, and the scale and the shift are those of least log loss.

    Args:
        kind: of the task.
        target: [n] of rows that no model was trained on.
        members: scores of each model of those rows.
        judge: of the task.
        instants: [n] of the rows.

    Returns:
        [models + 1] the shift at the end.
    """
    random = np.random.default_rng(0)
    if len(target) > MAX_WEIGHED_ROWS:
        chosen = random.choice(len(target), MAX_WEIGHED_ROWS, replace=False)
        target, instants, members = target[chosen], instants[chosen], [scores[chosen] for scores in members]
    shares = _shares(len(members))
    metric = judge.metrics[judge.decides[0]]
    measures = [metric(target, blended(kind, _scaled(kind, target, members, share), members)) for share in shares]
    groups = np.unique(instants, return_inverse=True)[1]
    if groups.max(initial=0) + 1 < MIN_INSTANTS:
        groups = np.arange(len(target))
    num = int(groups.max()) + 1
    draws = random.multinomial(num, np.full(num, 1 / num), NUM_DRAWS)[:, groups].astype(np.float64)
    sign = 1.0 if is_error(judge.decides[0]) else -1.0
    values = sign * np.array([[measure(draw) for measure in measures] for draw in draws])  # [draws, shares]
    best = shares[np.argmin(np.where(np.isnan(values), np.inf, values), axis=1)]
    return _scaled(kind, target, members, best.mean(axis=0))


def _later_half(labels: Labels) -> NDArray[np.bool_]:
    """[n] the validation labels from the middle instant on; all of them where there is no later half."""
    held = labels.split == 1
    if not held.any():
        return np.zeros(len(labels), np.bool_)
    if labels.lags_us is not None:  # facts stand still, so labels must too: the later half knows nothing of the earlier
        return np.asarray(held)
    instants = np.unique(labels.as_of_us[held])
    return np.asarray(held & (labels.as_of_us >= instants[len(instants) // 2]))


def _shares(num: int) -> Floats:
    """[ways, num] all ways to give every one of ``num`` models some tenths of 1."""
    tenths = [parts for parts in product(range(PARTS + 1), repeat=num) if sum(parts) == PARTS]
    return np.array(tenths) / PARTS


def _scaled(kind: TaskKind, target: Floats, members: Sequence[Floats], shares: Floats) -> Floats:
    """The weights and the shift of shares, of the scale that suits them."""
    if kind is TaskKind.REGRESSION:
        return np.array([*shares, 0.0])
    from scipy.optimize import minimize  # which takes long to import

    mixed, centre = shares, 0.0
    if kind is TaskKind.BINARY:
        odds = np.stack([log_odds(scores) for scores in members])
        mixed = mixed / np.maximum(odds.std(axis=1), LEAST)
        centre = float(mixed @ odds.mean(axis=1))

    def weights(free: Floats) -> Floats:
        return np.array([*(mixed * free[0]), free[1] - centre * free[0]])

    def loss(free: Floats) -> float:
        scores = blended(kind, weights(free), members)
        if kind is TaskKind.BINARY:
            scores = np.where(target > 0, scores, 1 - scores)
        else:
            scores = scores[np.arange(len(target)), target.astype(np.int64)]
        return float(-np.log(np.maximum(scores, LEAST)).mean())

    bounds = [(0.01, 5.0), (-10.0, 10.0) if kind is TaskKind.BINARY else (0.0, 0.0)]
    return weights(minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=bounds).x)
