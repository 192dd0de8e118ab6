"""Training and validation see facts as old as the test period will find them."""

from __future__ import annotations

import numpy as np

from kincast.clock import DAY_US
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.train.freeze import frozen_alike


def labels(freeze_day: int | None) -> Labels:
    days = np.repeat(np.arange(0, 400, 10), 5)
    split = np.where(days < 200, 0, np.where(days < 300, 1, 2)).astype(np.int8)
    freeze = None if freeze_day is None else freeze_day * DAY_US
    target = np.zeros(len(days))
    return Labels("t", TaskKind.BINARY, np.arange(len(days)), days * DAY_US, target, split, freeze_us=freeze)


def test_training_labels_have_facts_of_the_ages_of_the_test_windows() -> None:
    found = frozen_alike(labels(300), seed=3)
    ages = (found.as_of_us - found.visible_us) // DAY_US
    assert set(ages[found.split == 2]) == set(range(0, 100, 10))
    assert set(ages[found.split == 0]) == set(range(0, 100, 10))
    np.testing.assert_array_equal(found.visible_us[found.split == 2], 300 * DAY_US)
    np.testing.assert_array_equal(found.of(0).visible_us, found.visible_us[found.split == 0])
    np.testing.assert_array_equal(frozen_alike(labels(300), seed=3).visible_us, found.visible_us)


def test_the_database_stands_still_from_the_first_validation_label_on() -> None:
    found = frozen_alike(labels(300), seed=3).of(1)
    np.testing.assert_array_equal(found.visible_us, 200 * DAY_US)
    np.testing.assert_array_equal(found.rows, labels(300).of(1).rows)


def test_without_a_freeze_before_the_last_test_window_all_see_all() -> None:
    for day in (None, 390):
        found = frozen_alike(labels(day), seed=0)
        np.testing.assert_array_equal(found.visible_us, found.as_of_us)
