"""Several: the labels of a query of several targets side by side, and one target's part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kincast.errors import DataError
from kincast.query.encode import Lists
from kincast.query.labels import Labels


def side_by_side(parts: Sequence[Labels], where: str) -> Labels:
    """One label for each row and instant that has some target; ``lists`` holds all targets, NaN where one has none.

    Args:
        parts: the labels of each target.
        where: the query, for messages.

    Raises:
        DataError: the same row and instant belongs to different splits.
    """
    keys = np.concatenate([np.stack([part.as_of_us, part.rows]) for part in parts], axis=1)
    pairs, place = np.unique(keys, axis=1, return_inverse=True)
    place = place.reshape(-1)
    targets = np.full((pairs.shape[1], len(parts)), np.nan)
    splits = np.full(pairs.shape[1], -1, np.int8)
    start = 0
    for column, part in enumerate(parts):
        own = place[start : start + len(part)]
        start += len(part)
        targets[own, column] = part.target
        if ((splits[own] >= 0) & (splits[own] != part.split)).any():
            raise DataError("the targets have different splits", where=where, hint="split by time")
        splits[own] = part.split
    offsets = np.arange(len(targets) + 1, dtype=np.int64) * len(parts)
    return replace(
        parts[0],
        rows=pairs[1],
        as_of_us=pairs[0],
        target=targets[:, 0],
        split=splits,
        lists=Lists(offsets, targets.ravel()),
        weight=None,
        extra=None,
    )


def one_of(labels: Labels, place: int, part: Labels) -> tuple[Labels, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """The labels of one target in the order of those of all, and [n] which of all have it.

    Args:
        labels: of all targets.
        place: number of the target.
        part: any labels of that target; say its kind and classes.
    """
    assert labels.lists is not None
    target = labels.lists.as_matrix()[:, place]
    known = ~np.isnan(target)
    whole = replace(labels, kind=part.kind, classes=part.classes, target=target, lists=None)
    return whole.where(known), known
