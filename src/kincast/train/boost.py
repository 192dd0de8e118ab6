"""Boost: train LightGBM on aggregates: the baseline to beat, and the other half of a blend."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from kincast.model.aggregate import Aggregates
from kincast.model.boost import LEAST, Trees, blended, log_odds
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.judge import Judge
from kincast.train.metric import is_error

Floats = NDArray[np.float64]
MAX_ROUNDS = 1000
PATIENCE = 60  # rounds without a better validation metric
MAX_TRAIN_ROWS = 200_000
MAX_WEIGHED_ROWS = 20_000  # that a blend is fitted to
SHARES = np.linspace(0.0, 1.0, 21)  # of the network in a blend
FEW_ROWS, SOME_ROWS = 20_000, 100_000  # of training, up to which trees have 7 and 15 leaves; else 31

_OBJECTIVES: dict[TaskKind, dict[str, Any]] = {
    TaskKind.BINARY: {"objective": "binary", "metric": "auc"},
    TaskKind.MULTICLASS: {"objective": "multiclass", "metric": "multi_logloss"},
    TaskKind.REGRESSION: {"objective": "regression_l1", "metric": "l1"},
}


def fit_trees(labels: Labels, aggregates: Aggregates, *, seed: int) -> Trees:
    """Train on the training split, and stop early on the validation split.

    Two models are averaged: one that searches for the best place to split at, and one that draws it, which learns
    slower, by heart least of all, and goes wrong less where the test period is unlike the training period.

    Args:
        labels: of all splits.
        aggregates: their features, row for row.
        seed: of LightGBM's draws and of the training sample.
    """
    settings = dict(_OBJECTIVES[labels.kind])
    if labels.kind is TaskKind.MULTICLASS:
        settings["num_class"] = len(labels.classes)
    data = (aggregates.values, labels.target, labels.split, aggregates.categorical)
    texts = [_boosted(*data, settings | {"extra_trees": extra}, seed) for extra in (False, True)]
    return Trees(labels.kind, tuple(texts))


def boosted_columns(
    kind: TaskKind, target: Floats, split: NDArray[np.int8], aggregates: Aggregates, more: Floats, *, seed: int
) -> Floats:
    """A model for each column of a target, such as a step or a label.

    Args:
        kind: of each column: regression or binary.
        target: [n, k]; rows where it is NaN are not learnt from.
        split: [n].
        aggregates: features, row for row.
        more: [n, m] further features, such as the past of the target.
        seed: of LightGBM's draws and of the training sample.

    Returns:
        [n, k]; a column whose training rows are all alike is that value.
    """
    inputs = np.column_stack([aggregates.values, more.astype(np.float32)])
    scores = np.empty(target.shape)
    for column in range(target.shape[1]):
        known = np.where(np.isnan(target[:, column]), -1, split)
        own = target[known == 0, column]
        if len(np.unique(own)) < 2 or not (known == 1).any():
            scores[:, column] = own.mean() if len(own) else 0.0
            continue
        text = _boosted(inputs, target[:, column], known, aggregates.categorical, _OBJECTIVES[kind], seed)
        scores[:, column] = Trees(kind, (text,)).score(inputs)
    return scores


def fit_weights(kind: TaskKind, target: Floats, network: Floats, trees: Floats, judge: Judge) -> Floats:
    """The weights of a network, of trees, and the shift, with which the metric that decides is best.

    Shares of the network from 0 to 1 are tried; of those that are as good, the one of least log loss. For classes a
    share is of log odds, for two classes of equal spread, and the scale and the shift are those of least log loss.

    Args:
        kind: of the task.
        target: [n] of rows that neither was trained on.
        network: scores of the network of those rows.
        trees: scores of the trees.
        judge: of the task.
    """
    if len(target) > MAX_WEIGHED_ROWS:
        chosen = np.random.default_rng(0).choice(len(target), MAX_WEIGHED_ROWS, replace=False)
        target, network, trees = target[chosen], network[chosen], trees[chosen]
    sign = 1.0 if is_error(judge.decides[0]) else -1.0
    if kind is TaskKind.REGRESSION:
        errors = [sign * judge.value(target, share * network + (1 - share) * trees) for share in SHARES]
        best = float(SHARES[int(np.argmin(errors))])
        return np.array([best, 1 - best, 0.0])
    found = []
    for share in SHARES:
        loss, weights = _scaled(kind, target, network, trees, float(share))
        found.append((sign * judge.value(target, blended(kind, weights, network, trees)), loss, weights))
    return min(found, key=lambda one: one[:2])[2]


def _scaled(kind: TaskKind, target: Floats, network: Floats, trees: Floats, share: float) -> tuple[float, Floats]:
    """The log loss of a sum with the scale and shift that suit it, and its weights."""
    mixed, centre = np.array([share, 1 - share]), 0.0
    if kind is TaskKind.BINARY:
        odds = np.stack([log_odds(network), log_odds(trees)])
        mixed = mixed / np.maximum(odds.std(axis=1), LEAST)
        centre = float(mixed @ odds.mean(axis=1))

    def weights(free: Floats) -> Floats:
        return np.array([*(mixed * free[0]), free[1] - centre * free[0]])

    def loss(free: Floats) -> float:
        scores = blended(kind, weights(free), network, trees)
        if kind is TaskKind.BINARY:
            scores = np.where(target > 0, scores, 1 - scores)
        else:
            scores = scores[np.arange(len(target)), target.astype(np.int64)]
        return float(-np.log(np.maximum(scores, LEAST)).mean())

    bounds = [(0.01, 5.0), (-10.0, 10.0) if kind is TaskKind.BINARY else (0.0, 0.0)]
    found = optimize.minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=bounds)
    return float(found.fun), weights(found.x)


def _boosted(
    inputs: NDArray[np.float32],
    target: Floats,
    split: NDArray[np.int8],
    categorical: Sequence[int],
    objective: Mapping[str, Any],
    seed: int,
) -> str:
    """A trained model as text, cut after its best round."""
    train = np.flatnonzero(split == 0)
    if len(train) > MAX_TRAIN_ROWS:
        train = np.sort(np.random.default_rng(seed).choice(train, MAX_TRAIN_ROWS, replace=False))
    validation = np.flatnonzero(split == 1)
    settings = {
        **objective,
        "learning_rate": 0.03,
        "num_leaves": 7 if len(train) <= FEW_ROWS else 15 if len(train) <= SOME_ROWS else 31,
        "min_data_in_leaf": max(1, min(30, len(train) // 50)),
        "lambda_l2": 5.0,  # without a penalty the leaves of rare classes take huge steps
        "feature_fraction": 0.4,
        "bagging_fraction": 0.8 if len(train) > 1 else 1.0,  # of one row it would take none
        "bagging_freq": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 2,
        "verbosity": -1,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = lightgbm.Dataset(inputs[train], target[train], categorical_feature=list(categorical))
        held = lightgbm.Dataset(inputs[validation], target[validation], reference=data)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        booster = lightgbm.train(settings, data, MAX_ROUNDS, valid_sets=[held], callbacks=[stop])
        return str(booster.model_to_string(num_iteration=booster.best_iteration))
