"""History: what was already known of past labels at each label's instant: last value, mean, count per entity."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.clock import add
from kincast.query.labels import Labels
from kincast.query.task import Task

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class History:
    """Past labels of the same entity, known at each label's instant.

    A label is a fact of its own, known from the end of its window on; never earlier.

    Attributes:
        last: [n] the newest one known; NaN without any.
        mean: [n] mean of all known; NaN without any.
        count: [n] how many are known.
        class_counts: [n, classes] how often each class was seen; [n, 0] for regression.
    """

    last: Floats
    mean: Floats
    count: Int64s
    class_counts: Floats


def label_history(task: Task, labels: Labels) -> History:
    """For every label, the labels of the same entity whose windows had ended by its visible instant.

    Args:
        task: gives the window's end; a static target has no history.
        labels: all labels of all splits, in any order.
    """
    num_classes = len(labels.classes)
    result = _empty(len(labels.rows), num_classes)
    if task.window is None:
        return result
    end = task.window[1]
    known = {as_of: add(as_of, end) for as_of in np.unique(labels.as_of_us).tolist()}
    known_us = np.array([known[as_of] for as_of in labels.as_of_us.tolist()], dtype=np.int64)
    visible_us = labels.visible_us
    order = np.lexsort((known_us, labels.rows))  # entity by entity, by when each label became known
    bounds = np.flatnonzero(np.diff(labels.rows[order], prepend=-1, append=-1))
    for start, stop in itertools.pairwise(bounds):
        index = order[start:stop]
        seen = np.searchsorted(known_us[index], visible_us[index], side="right")  # [m] labels known to each
        target = labels.target[index]
        total = np.concatenate([[0.0], np.cumsum(target)])
        result.count[index] = seen
        has = seen > 0
        result.last[index[has]] = target[seen[has] - 1]
        result.mean[index[has]] = total[seen[has]] / seen[has]
        for code in range(num_classes):
            result.class_counts[index, code] = np.concatenate([[0.0], np.cumsum(target == code)])[seen]
    return result


def _empty(num_labels: int, num_classes: int) -> History:
    return History(
        last=np.full(num_labels, np.nan),
        mean=np.full(num_labels, np.nan),
        count=np.zeros(num_labels, np.int64),
        class_counts=np.zeros((num_labels, num_classes)),
    )
