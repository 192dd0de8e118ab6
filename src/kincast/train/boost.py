"""Boost: LightGBM on automatic aggregates and label history, the baseline to beat."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.aggregate import Aggregates
from kincast.train.history import History

Floats = NDArray[np.float64]
MAX_ROUNDS = 500
MAX_TRAIN_ROWS = 200_000

_OBJECTIVES: dict[TaskKind, dict[str, Any]] = {
    TaskKind.BINARY: {"objective": "binary", "metric": "auc"},
    # Without a penalty the leaves of rare classes take huge steps, and the baseline ends worse than the majority.
    TaskKind.MULTICLASS: {"objective": "multiclass", "metric": "multi_logloss", "lambda_l2": 1.0},
    TaskKind.REGRESSION: {"objective": "regression_l1", "metric": "l1"},
}


def boosted_scores(labels: Labels, aggregates: Aggregates, history: History, *, seed: int) -> Floats:
    """Train on the training split, stop early on the validation split, score every label.

    Args:
        labels: of all splits.
        aggregates: their features, row for row.
        history: past labels known to each, row for row.
        seed: of LightGBM's draws and of the training sample.

    Returns:
        probabilities of the positive class [n], of all classes [n, classes], or values [n].
    """
    inputs = np.column_stack([aggregates.values, history.last, history.mean, history.count, history.class_counts])
    settings = dict(_OBJECTIVES[labels.kind])
    if labels.kind is TaskKind.MULTICLASS:
        settings["num_class"] = len(labels.classes)
    return _boosted(inputs, labels.target, labels.split, aggregates.categorical, settings, seed)


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
    inputs = np.column_stack([aggregates.values, more])
    scores = np.empty(target.shape)
    for column in range(target.shape[1]):
        known = np.where(np.isnan(target[:, column]), -1, split)
        own = target[known == 0, column]
        if len(np.unique(own)) < 2 or not (known == 1).any():
            scores[:, column] = own.mean() if len(own) else 0.0
            continue
        settings = _OBJECTIVES[kind]
        scores[:, column] = _boosted(inputs, target[:, column], known, aggregates.categorical, settings, seed)
    return scores


def _boosted(
    inputs: Floats,
    target: Floats,
    split: NDArray[np.int8],
    categorical: Sequence[int],
    objective: Mapping[str, Any],
    seed: int,
) -> Floats:
    train = np.flatnonzero(split == 0)
    if len(train) > MAX_TRAIN_ROWS:
        train = np.sort(np.random.default_rng(seed).choice(train, MAX_TRAIN_ROWS, replace=False))
    validation = np.flatnonzero(split == 1)
    settings = {
        **objective,
        "learning_rate": 0.05,
        "num_leaves": 31,
        "min_data_in_leaf": max(1, min(20, len(train) // 50)),
        "feature_fraction": 0.8,
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
        stop = lightgbm.early_stopping(50, verbose=False)
        booster = lightgbm.train(settings, data, MAX_ROUNDS, valid_sets=[held], callbacks=[stop])
        return np.asarray(booster.predict(inputs, num_iteration=booster.best_iteration), dtype=np.float64)
