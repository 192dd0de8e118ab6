"""Trials: proposals depend on the past alone, hopeless ones are given up, and the front is what nothing beats."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kincast.train.search.plan import Pruning
from kincast.train.search.propose import STARTUP, num_plans, propose
from kincast.train.search.trial import State, Trial, best_of, front_of, is_hopeless

SPACE = {"rate": (0.003, 0.0001, 0.01, 0.05), "way": ("a", "b"), "width": (64, 128)}


def tried(number: int, places: dict[str, int], metric: float, state: State = "complete", cost: float = 1.0) -> Trial:
    return Trial(number, places, {}, state, metric, 1, (metric,), 32, 1.0, cost)


def play(num: int, seed: int = 0) -> list[Trial]:
    """A search whose metric is best at the rate 0.01 and the way b."""
    trials: list[Trial] = []
    for number in range(1, num + 1):
        places = propose(SPACE, trials, seed, is_error=False)
        quality = -abs(math.log(SPACE["rate"][places["rate"]] / 0.01)) + (places["way"] == 1)
        trials.append(tried(number, places, quality, "pruned" if number == 3 else "complete"))
    return trials


def test_the_first_trial_takes_the_first_values_and_none_is_tried_twice() -> None:
    trials = play(num_plans(SPACE))
    assert set(trials[0].places.values()) == {0}
    assert len({tuple(trial.places.items()) for trial in trials}) == num_plans(SPACE) == 16


def test_proposals_depend_on_the_trials_and_the_seed_alone() -> None:
    trials = play(9)
    read = [Trial.from_dict(trial.as_dict()) for trial in trials]
    assert read == trials
    for num in (1, STARTUP, 9):
        assert propose(SPACE, read[:num], 0, is_error=False) == propose(SPACE, trials[:num], 0, is_error=False)
    assert [trial.places for trial in play(9, seed=1)] != [trial.places for trial in trials]


def test_the_estimators_lean_towards_what_was_good() -> None:
    space = {"rate": tuple(float(rate) for rate in range(40)), "other": tuple(range(40))}
    random = np.random.default_rng(0)
    trials = []
    for number in range(1, 16):
        places = {name: int(random.integers(40)) for name in space}
        trials.append(tried(number, places, -abs(places["rate"] - 30)))
    found = [propose(space, trials, seed, is_error=False)["rate"] for seed in range(20)]
    wrong = [propose(space, trials, seed, is_error=True)["rate"] for seed in range(20)]
    near, far = (statistics.median(abs(rate - 30) for rate in rates) for rates in (found, wrong))
    assert 2 * near < far


@pytest.mark.parametrize(
    ("own", "rule", "hopeless"),
    [
        ([0.5], Pruning(), False),  # too early
        ([0.5, 0.5], Pruning(), True),
        ([0.75, 0.1], Pruning(), False),  # what was once good stays good
        ([0.5, 0.5], Pruning(k=4), False),  # too few to be held against
        ([0.5, 0.5], Pruning(min_delta=0.3), False),
        ([0.5, 0.5], Pruning(patience=2), False),  # only one epoch counts so far
        ([0.5, 0.5, 0.5], Pruning(patience=2), True),
        ([math.nan, math.nan], Pruning(), True),
    ],
)
def test_a_trial_is_given_up_when_it_is_behind_the_median(own: list[float], rule: Pruning, hopeless: bool) -> None:
    others = [(0.6, 0.7), (0.6, 0.65), (0.8,)]  # medians of the best: 0.6, then 0.7
    assert is_hopeless(own, others, rule, is_error=False) is hopeless
    flipped = [[-value for value in values] for values in others]
    assert is_hopeless([-value for value in own], flipped, rule, is_error=True) is hopeless


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12), st.booleans())
def test_the_front_is_what_no_other_beats(points: list[tuple[int, int]], is_error: bool) -> None:
    trials = [tried(i, {}, float(quality), cost=float(cost)) for i, (quality, cost) in enumerate(points)]
    sign = -1 if is_error else 1
    front = {(sign * points[i][0], points[i][1]) for i in front_of(trials, is_error=is_error)}
    everything = {(sign * quality, cost) for quality, cost in points}
    for quality, cost in everything:
        beaten = any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in everything)
        assert ((quality, cost) in front) is not beaten


def test_what_was_given_up_or_failed_never_wins() -> None:
    trials = [tried(1, {}, 0.9, "pruned"), tried(2, {}, 0.7, "stopped"), tried(3, {}, 0.7), Trial(4, {}, {}, "failed")]
    best = best_of(trials, is_error=False)
    assert best is not None
    assert best.number == 2
    assert best_of(trials[3:], is_error=False) is None
    nowhere = Trial(5, {}, {}, "complete", None, 1, (math.nan,))
    assert best_of([*trials, nowhere], is_error=True) == best
    assert best_of([nowhere], is_error=False) == nowhere
