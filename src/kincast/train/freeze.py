"""Freeze: train and validate for a database that stands still, as the test period will find it.

With ``split.freeze`` no prediction sees a fact after one instant, so those of the last test window are made from facts
that are old by then. A model trained on fresh facts alone has never met that. So each training label sees only up to
some time before its instant, drawn from those of the test windows, and for the validation period the database stands
still at its beginning, as it does for the test period. Validation labels with facts of drawn ages would praise models
that know their entities by heart, from labels newer than the facts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kincast.query.labels import Labels


def frozen_alike(labels: Labels, seed: int) -> Labels:
    """The labels with what each may see; unchanged without a freeze or without test labels behind it.

    Args:
        labels: of all splits.
        seed: of the draws.
    """
    test = np.unique(labels.as_of_us[labels.split == 2])
    if labels.freeze_us is None or not (test > labels.freeze_us).any():
        return labels
    ages = np.maximum(test - labels.freeze_us, 0)
    train, validation = labels.split == 0, labels.split == 1
    lags = np.maximum(labels.as_of_us - labels.freeze_us, 0)
    lags[train] = np.random.default_rng(seed).choice(ages, int(train.sum()))
    if validation.any():
        first = int(labels.as_of_us[validation].min())
        lags[validation] = np.clip(labels.as_of_us[validation] - first + ages.min(), 0, ages.max())
    return replace(labels, lags_us=lags)
