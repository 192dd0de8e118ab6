"""History: what was already known of past labels at each label's instant: last value, mean, count per entity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.clock import Span, add
from kincast.model.objective import many_hot
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


@dataclass(frozen=True, slots=True)
class ListHistory:
    """Past lists of the same entity, known at each label's instant.

    Attributes:
        last: [n, classes] float32 1 for what the newest known list named.
        counts: [n, classes] float32 how many known lists named each.
        num_known: [n] known lists.
    """

    last: NDArray[np.float32]
    counts: NDArray[np.float32]
    num_known: Int64s


def list_history(task: Task, labels: Labels) -> ListHistory:
    """For every label, the lists of the same entity whose windows had ended by its visible instant.

    Args:
        task: of labels or ranked labels; a static one has no history.
        labels: all labels of all splits, in any order.
    """
    assert labels.lists is not None
    shape = (len(labels), len(labels.classes))
    found = ListHistory(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(len(labels), np.int64))
    if task.window is None:
        return found
    for index, seen in _known(labels, task.window[1]):
        dense = many_hot(labels.lists.take(index), shape[1])
        found.counts[index] = np.concatenate([np.zeros((1, shape[1]), np.float32), np.cumsum(dense, axis=0)])[seen]
        found.last[index[seen > 0]] = dense[seen[seen > 0] - 1]
        found.num_known[index] = seen
    return found


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
    for index, seen in _known(labels, task.window[1]):
        target = labels.target[index]
        total = np.concatenate([[0.0], np.cumsum(target)])
        result.count[index] = seen
        has = seen > 0
        result.last[index[has]] = target[seen[has] - 1]
        result.mean[index[has]] = total[seen[has]] / seen[has]
        for code in range(num_classes):
            result.class_counts[index, code] = np.concatenate([[0.0], np.cumsum(target == code)])[seen]
    return result


def _known(labels: Labels, end: Span) -> Iterator[tuple[Int64s, Int64s]]:
    """Entity by entity: its labels in the order in which they became known, and how many were known to each."""
    known = {as_of: add(as_of, end) for as_of in np.unique(labels.as_of_us).tolist()}
    known_us = np.array([known[as_of] for as_of in labels.as_of_us.tolist()], dtype=np.int64)
    visible_us = labels.visible_us
    order = np.lexsort((known_us, labels.rows))
    bounds = np.flatnonzero(np.diff(labels.rows[order], prepend=-1, append=-1))
    for start, stop in itertools.pairwise(bounds):
        index = order[start:stop]
        yield index, np.searchsorted(known_us[index], visible_us[index], side="right")


def _empty(num_labels: int, num_classes: int) -> History:
    return History(
        last=np.full(num_labels, np.nan),
        mean=np.full(num_labels, np.nan),
        count=np.zeros(num_labels, np.int64),
        class_counts=np.zeros((num_labels, num_classes)),
    )
