"""Statistic: distances with lower bounds that hold for any number of rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kincast.monitor.drift import WARN_DISTANCE, WARN_RATIO, WARN_UNSEEN
from kincast.monitor.statistic import (
    category_distance,
    count_categories,
    ks_distance,
    psi,
    rate_ratio,
    share_distance,
    unseen_share,
    wasserstein_in_sd,
)

ALPHA = 0.05


def normal_pairs(repeats: int, rows: int, shift: float, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [(random.standard_normal(rows), random.standard_normal(rows) + shift) for _ in range(repeats)]


def test_few_rows_raise_few_false_alarms_where_psi_raises_many() -> None:
    pairs = normal_pairs(1000, 100, 0.0, seed=1)
    bounds = np.array([ks_distance(old, new, ALPHA).low for old, new in pairs])
    alone = np.array([psi(old, new) for old, new in pairs])
    assert (bounds > WARN_DISTANCE).mean() <= 0.05
    assert 0.01 <= (bounds > 0).mean() <= 0.05  # the bound itself is neither broken nor idle
    assert (alone > 0.1).mean() > 0.7


def test_many_rows_show_a_small_shift_where_psi_does_not() -> None:
    pairs = normal_pairs(20, 50_000, 0.3, seed=2)
    assert all(ks_distance(old, new, ALPHA / 100).low > WARN_DISTANCE for old, new in pairs)
    assert not any(psi(old, new) > 0.1 for old, new in pairs)


def test_many_rows_do_not_alarm_at_what_does_not_matter() -> None:
    pairs = normal_pairs(20, 50_000, 0.05, seed=3)
    found = [ks_distance(old, new, ALPHA) for old, new in pairs]
    assert all(distance.low > 0 for distance in found)
    assert not any(distance.low > WARN_DISTANCE for distance in found)


def test_the_bound_is_below_the_true_distance() -> None:
    true = 2 * stats.norm.cdf(0.25) - 1
    lows = [ks_distance(old, new, ALPHA).low for old, new in normal_pairs(500, 300, 0.5, seed=4)]
    assert (np.array(lows) > true).mean() <= 0.05
    assert np.mean(lows) > 0.05


VALUES = st.lists(st.integers(-5, 5), min_size=1, max_size=40)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_ks_distance_is_the_largest_difference_ties_included(old: list[int], new: list[int]) -> None:
    ours = ks_distance(np.array(old, float), np.array(new, float), ALPHA)
    differences = [
        sum(x <= point for x in old) / len(old) - sum(x <= point for x in new) / len(new) for point in range(-5, 6)
    ]
    assert ours.value == pytest.approx(max(map(abs, differences)))
    assert 0 <= ours.low <= ours.value <= 1


def test_categories_raise_few_false_alarms_and_show_a_real_change() -> None:
    random = np.random.default_rng(5)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    same = [category_distance(*random.multinomial(100, shares, 2), ALPHA).low for _ in range(300)]
    assert 0.01 <= (np.array(same) > 0).mean() <= 0.08
    assert (np.array(same) > WARN_DISTANCE).mean() <= 0.05
    other = np.array([0.3, 0.3, 0.2, 0.2])
    changed = [
        category_distance(random.multinomial(5_000, shares), random.multinomial(5_000, other), ALPHA).low
        for _ in range(20)
    ]
    assert min(changed) > WARN_DISTANCE


def test_many_rare_categories_are_no_drift() -> None:
    random = np.random.default_rng(6)
    found = []
    for _ in range(100):
        old, new = (np.bincount(random.integers(0, 500, 200), minlength=500) for _ in range(2))
        found.append(category_distance(old, new, ALPHA).low)
    assert (np.array(found) > WARN_DISTANCE).mean() <= 0.05


def test_category_distance_ignores_how_the_rows_are_shared_out() -> None:
    even = category_distance(np.array([500, 500]), np.array([600, 400]), ALPHA).value
    uneven = category_distance(np.array([50_000, 50_000]), np.array([600, 400]), ALPHA).value
    assert even == pytest.approx(0.1, abs=0.003)
    assert uneven == pytest.approx(even, abs=0.003)
    assert category_distance(np.array([100_000, 0]), np.array([0, 100_000]), ALPHA).low > 0.9
    assert category_distance(np.array([9]), np.array([7]), ALPHA).value == 0


def test_shares() -> None:
    assert share_distance((0, 100), (3, 100), ALPHA).low == 0
    assert share_distance((0, 100_000), (10_000, 100_000), ALPHA).low == pytest.approx(0.098, abs=0.001)
    one, other = share_distance((10, 1000), (200, 900), ALPHA), share_distance((200, 900), (10, 1000), ALPHA)
    assert one == other
    random = np.random.default_rng(7)
    counts = random.binomial(100, 0.1, (1000, 2))
    alarms = [share_distance((int(a), 100), (int(b), 100), ALPHA).low > 0 for a, b in counts]
    assert 0.01 <= np.mean(alarms) <= 0.06


def test_unseen_categories_are_expected_where_many_are_rare() -> None:
    random = np.random.default_rng(8)
    alarms = []
    for _ in range(200):
        _, old, new = count_categories(random.zipf(1.5, 100).tolist(), random.zipf(1.5, 100).tolist())
        alarms.append(unseen_share(old, new, ALPHA).low > WARN_UNSEEN)
    assert np.mean(alarms) <= 0.05
    assert unseen_share(np.array([500, 500, 0]), np.array([450, 450, 100]), ALPHA).low > WARN_UNSEEN
    assert unseen_share(np.array([500, 500, 0]), np.array([450, 450, 1]), ALPHA).low <= WARN_UNSEEN


def test_rates() -> None:
    random = np.random.default_rng(9)
    counts = random.poisson(20, (1000, 2))
    certain = [rate_ratio(int(a), int(b), ALPHA)[1] for a, b in counts]
    assert 0.01 <= (np.array(certain) != 1).mean() <= 0.06
    assert rate_ratio(1000, 3000, ALPHA)[1] > WARN_RATIO
    assert rate_ratio(1000, 0, ALPHA)[1] < 1 / WARN_RATIO
    assert rate_ratio(0, 0, ALPHA) == (1.0, 1.0)


def test_wasserstein_counts_in_standard_deviations() -> None:
    old = np.random.default_rng(10).standard_normal(10_000) * 7
    assert wasserstein_in_sd(old, old + 7) == pytest.approx(1, abs=0.02)
    assert wasserstein_in_sd(np.ones(3), np.ones(5)) == 0
    assert math.isnan(wasserstein_in_sd(np.ones(3), np.zeros(5)))


def test_psi_of_equal_samples_is_zero_even_when_constant() -> None:
    values = np.random.default_rng(11).standard_normal(1000)
    assert psi(values, values) == 0
    assert psi(np.ones(5), np.ones(9)) == 0
    assert psi(np.ones(5), np.zeros(9)) > 1
