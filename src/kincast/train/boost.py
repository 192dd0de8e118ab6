"""Boost: train LightGBM on aggregates: the baseline to beat, and the other half of a blend."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

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
NUM_DRAWS = 50  # of rows, each with a best share
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
    data = (aggregates.values, labels.target, labels.split, aggregates.categorical)
    texts = [_boosted(*data, _settings_of(labels) | {"extra_trees": extra}, seed) for extra in (False, True)]
    return Trees(labels.kind, tuple(texts))


def refit_trees(trees: Trees, labels: Labels, aggregates: Aggregates, *, seed: int) -> Trees:
    """The same trees trained on the training and validation splits, with as many more rounds as there are more rows.

    Args:
        trees: that early stopping left.
        labels: of all splits.
        aggregates: their features, row for row.
        seed: of LightGBM's draws and of the training sample.
    """
    more = (labels.split < 2).sum() / max((labels.split == 0).sum(), 1)
    both = np.where(labels.split == 1, 0, labels.split).astype(np.int8)
    data = (aggregates.values, labels.target, both, aggregates.categorical)
    settings = _settings_of(labels)
    texts = []
    for extra, rounds in zip((False, True), trees.rounds, strict=True):
        texts.append(_boosted(*data, settings | {"extra_trees": extra}, seed, max(1, round(rounds * more))))
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

    Shares of the network from 0 to 1 are tried on many samples of the rows, and the mean of the best ones is taken:
    where the rows cannot tell which is better, both count about alike. For classes a share is of log odds, for two
    classes of equal spread, and the scale and the shift are those of least log loss.

    Args:
        kind: of the task.
        target: [n] of rows that neither was trained on.
        network: scores of the network of those rows.
        trees: scores of the trees.
        judge: of the task.
    """
    random = np.random.default_rng(0)
    if len(target) > MAX_WEIGHED_ROWS:
        chosen = random.choice(len(target), MAX_WEIGHED_ROWS, replace=False)
        target, network, trees = target[chosen], network[chosen], trees[chosen]
    fitted = [_scaled(kind, target, network, trees, float(share)) for share in SHARES]
    metric = judge.metrics[judge.decides[0]]
    measures = [metric(target, blended(kind, weights, network, trees)) for weights in fitted]
    draws = random.multinomial(len(target), np.full(len(target), 1 / len(target)), NUM_DRAWS).astype(np.float64)
    sign = 1.0 if is_error(judge.decides[0]) else -1.0
    values = sign * np.array([[measure(draw) for measure in measures] for draw in draws])  # [draws, shares]
    best = SHARES[np.argmin(np.where(np.isnan(values), np.inf, values), axis=1)]
    return _scaled(kind, target, network, trees, float(best.mean()))


def _settings_of(labels: Labels) -> dict[str, Any]:
    settings = dict(_OBJECTIVES[labels.kind])
    if labels.kind is TaskKind.MULTICLASS:
        settings["num_class"] = len(labels.classes)
    return settings


def _scaled(kind: TaskKind, target: Floats, network: Floats, trees: Floats, share: float) -> Floats:
    """The weights and the shift of a share of the network, of the scale that suits them."""
    from scipy.optimize import minimize  # which takes long to import

    mixed, centre = np.array([share, 1 - share]), 0.0
    if kind is TaskKind.REGRESSION:
        return np.array([*mixed, 0.0])
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
    return weights(minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=bounds).x)


def _boosted(
    inputs: NDArray[np.float32],
    target: Floats,
    split: NDArray[np.int8],
    categorical: Sequence[int],
    objective: Mapping[str, Any],
    seed: int,
    rounds: int | None = None,
) -> str:
    """A trained model as text: of so many rounds, or, when None, cut after the one that is best on validation rows."""
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
        "num_threads": 1 if len(train) <= SOME_ROWS else 2,  # more wait for each other longer than they work
        "verbosity": -1,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = lightgbm.Dataset(inputs[train], target[train], categorical_feature=list(categorical))
        if rounds is not None:
            return str(lightgbm.train(settings, data, rounds).model_to_string())
        held = lightgbm.Dataset(inputs[validation], target[validation], reference=data)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        booster = lightgbm.train(settings, data, MAX_ROUNDS, valid_sets=[held], callbacks=[stop])
        return str(booster.model_to_string(num_iteration=booster.best_iteration))
