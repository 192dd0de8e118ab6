"""Boost: train LightGBM on aggregates: the baseline to beat, and a part of a blend."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from kincast.model.aggregate import Aggregates
from kincast.model.boost import Trees
from kincast.query.labels import Labels
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
MAX_ROUNDS = 1000
PATIENCE = 60  # rounds without a better validation metric
MAX_TRAIN_ROWS = 200_000
FEW_ROWS, SOME_ROWS = 20_000, 100_000  # of training, up to which trees have 7 and 15 leaves; else 31
QUICK_ROUNDS = 100
_QUICK = {"learning_rate": 0.05, "feature_fraction": 0.2, "max_bin": 63}

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
    settings = _settings_of(labels.kind, len(labels.classes))
    texts = [_boosted(*data, settings | {"extra_trees": extra}, seed) for extra in (False, True)]
    return Trees(labels.kind, tuple(texts))


def refit_trees(trees: Trees, labels: Labels, aggregates: Aggregates, chosen: NDArray[np.bool_], *, seed: int) -> Trees:
    """The same trees trained on other labels, with as many more rounds as there are more rows.

    Args:
        trees: that early stopping left.
        labels: of all splits.
        aggregates: their features, row for row.
        chosen: [n] which labels they learn from.
        seed: of LightGBM's draws and of the training sample.
    """
    more = chosen.sum() / max((labels.split == 0).sum(), 1)
    data = (aggregates.values, labels.target, np.where(chosen, 0, 2).astype(np.int8), aggregates.categorical)
    settings = _settings_of(labels.kind, len(labels.classes))
    texts = []
    for extra, rounds in zip((False, True), trees.rounds, strict=True):
        texts.append(_boosted(*data, settings | {"extra_trees": extra}, seed, max(1, round(rounds * more))))
    return Trees(labels.kind, tuple(texts))


def quick_trees(kind: TaskKind, num_classes: int, target: Floats, aggregates: Aggregates, *, seed: int) -> Trees:
    """Train on all rows for a set number of rounds, so that none is held out: for answers within seconds.

    Args:
        kind: binary, multiclass or regression.
        num_classes: of a multiclass target.
        target: [n] class codes or values.
        aggregates: features, row for row.
        seed: of LightGBM's draws.
    """
    settings = _usual_settings(len(target), seed) | _settings_of(kind, num_classes) | _QUICK
    data = lightgbm.Dataset(aggregates.values, target, categorical_feature=list(aggregates.categorical))
    models = [lightgbm.train(settings | {"extra_trees": extra}, data, QUICK_ROUNDS) for extra in (False, True)]
    return Trees(kind, tuple(str(model.model_to_string()) for model in models))


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


def _settings_of(kind: TaskKind, num_classes: int) -> dict[str, Any]:
    settings = dict(_OBJECTIVES[kind])
    if kind is TaskKind.MULTICLASS:
        settings["num_class"] = num_classes
    return settings


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
    settings = _usual_settings(len(train), seed) | dict(objective)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = lightgbm.Dataset(inputs[train], target[train], categorical_feature=list(categorical))
        if rounds is not None:
            return str(lightgbm.train(settings, data, rounds).model_to_string())
        held = lightgbm.Dataset(inputs[validation], target[validation], reference=data)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        booster = lightgbm.train(settings, data, MAX_ROUNDS, valid_sets=[held], callbacks=[stop])
        return str(booster.model_to_string(num_iteration=booster.best_iteration))


def _usual_settings(num_rows: int, seed: int) -> dict[str, Any]:
    """LightGBM's settings for so many training rows."""
    return {
        "learning_rate": 0.03,
        "num_leaves": 7 if num_rows <= FEW_ROWS else 15 if num_rows <= SOME_ROWS else 31,
        "min_data_in_leaf": max(1, min(30, num_rows // 50)),
        "lambda_l2": 5.0,  # without a penalty the leaves of rare classes take huge steps
        "feature_fraction": 0.4,
        "bagging_fraction": 0.8 if num_rows > 1 else 1.0,  # of one row it would take none
        "bagging_freq": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1 if num_rows <= SOME_ROWS else 2,  # more wait for each other longer than they work
        "verbosity": -1,
    }
