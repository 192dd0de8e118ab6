"""Freeze: train and validate for a database that stands still, as the test period will find it.

With ``split.freeze`` no prediction sees a fact after one instant, so those of the last test window are made from facts
that are old by then. A model trained on fresh facts alone has never met that, and a validation period that begins with
the freeze shows one standstill only. So each label of training and validation sees only up to some time before its
instant, drawn from those of the test windows.
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
    lags = np.maximum(labels.as_of_us - labels.freeze_us, 0)
    of_windows, earlier = np.maximum(test - labels.freeze_us, 0), labels.split != 2
    lags[earlier] = np.random.default_rng(seed).choice(of_windows, int(earlier.sum()))
    return replace(labels, lags_us=lags)
