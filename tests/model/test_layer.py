"""Segments are cut to their first rows; ages become bounded features."""

from __future__ import annotations

import torch

from kincast.model.encode import AGE_WIDTH, age_features, with_ages
from kincast.model.layer import first_of_each


def test_first_of_each_keeps_the_front_of_every_segment() -> None:
    index, offsets = first_of_each(torch.tensor([0, 3, 3, 4, 9]), 2)
    assert index.tolist() == [0, 1, 3, 4, 5]
    assert offsets.tolist() == [0, 2, 2, 3, 5]


def test_first_of_each_with_room_changes_nothing() -> None:
    index, offsets = first_of_each(torch.tensor([0, 3, 3, 4]), 10)
    assert index.tolist() == [0, 1, 2, 3]
    assert offsets.tolist() == [0, 3, 3, 4]


def test_missing_ages_are_flagged_and_never_nan() -> None:
    features = age_features(torch.tensor([[0.0, float("nan")], [1e6, -3.0]]))
    assert features.shape == (2, 2 * AGE_WIDTH)
    assert torch.isfinite(features).all()
    missing = features[:, AGE_WIDTH:][0]
    assert missing[-1] == 1.0
    assert missing[:-1].abs().sum() == 0.0
    assert features[1, AGE_WIDTH:][-2] == 1.0  # an instant still to come


def test_ages_join_numbers_as_torch_would_have_them() -> None:
    numbers = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    ages = torch.tensor([[0.0, float("nan")], [1e6, -3.0], [0.5, 40.0]])
    torch.testing.assert_close(with_ages(numbers, ages), torch.cat([numbers, age_features(ages)], dim=1))
    assert with_ages(numbers[:0], ages[:0]).shape == (0, 2 + 2 * AGE_WIDTH)
