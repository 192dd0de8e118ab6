"""Intervals and sets hold the truth as often as they promise, on rows like those they were fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import binom

from kincast.errors import ProjectError
from kincast.model.certainty import Certainty, checked_coverage
from kincast.model.conform import MAX_KEPT, Conformal, Spread, fit_intervals, fit_sets, intervals, sets
from kincast.model.objective import Objective
from kincast.query.task import TaskKind

Floats = NDArray[np.float64]
REGRESSION = TaskKind.REGRESSION
HELD_OUT, LATER = 1_000, 20_000


def held(low: Floats, target: Floats, high: Floats) -> float:
    return float(((low <= target) & (target <= high)).mean())


def expected(share: float) -> tuple[float, float]:
    """Where the coverage of later rows lies: the beta law of the fitted rows, widened by that of the later ones."""
    spread = np.sqrt(share * (1 - share) * (1 / HELD_OUT + 1 / LATER))
    return share - 4 * spread, share + 4 * spread + 2 / HELD_OUT


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["even", "skewed", "counts", "spread", "lopsided"])
def test_intervals_of_exchangeable_rows_hold_what_they_promise(kind: str, coverage: float) -> None:
    random = np.random.default_rng(3)
    n = HELD_OUT + LATER
    level = random.gamma(2, 3, n)
    target = {
        "even": level + random.normal(size=n),
        "skewed": np.exp(random.normal(size=n)) * level,
        "counts": random.poisson(level).astype(np.float64),
        "spread": level + random.normal(size=n) * level,
        "lopsided": level + np.where(random.random(n) < 0.5, -1, 4) * random.exponential(size=n),
    }[kind]
    spread = {"spread": Spread(level, level), "lopsided": Spread(np.ones(n), np.full(n, 4.0))}.get(kind)
    first, later = slice(None, HELD_OUT), slice(HELD_OUT, None)
    few = None if spread is None else Spread(spread.below[first], spread.above[first])
    rest = None if spread is None else Spread(spread.below[later], spread.above[later])
    fitted = fit_intervals(REGRESSION, target[first], level[first], few, log=kind == "skewed", floor=None)
    low, high = intervals(Conformal.from_dict(fitted.as_dict()), level[later], rest, coverage)
    least, most = expected(coverage)
    reached = held(low, target[later], high)
    assert least < reached
    if kind != "counts":  # ties only make intervals hold more
        assert reached < most
        # As many misses below as above.
        missed = (1 - coverage) / 2
        edge = 4 * np.sqrt(missed / HELD_OUT) + 2 / HELD_OUT
        assert (target[later] < low).mean() == pytest.approx(missed, abs=edge)


def test_few_rows_promise_on_average_as_much() -> None:
    """The finite-sample promise itself: 19 rows held out, 90 %, over many draws."""
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(2_000):
        target = random.exponential(size=20)
        fitted = fit_intervals(REGRESSION, target[:19], np.zeros(19), None, log=False, floor=None)
        low, high = intervals(fitted, np.zeros(1), None, 0.9)
        inside += int(low[0] <= target[19] <= high[0])
    assert inside >= binom.ppf(1e-4, 2_000, 0.9)
    assert inside <= binom.ppf(1 - 1e-4, 2_000, 0.9)


def test_too_few_rows_promise_nothing() -> None:
    fitted = fit_intervals(REGRESSION, np.arange(18.0), np.zeros(18), None, log=False, floor=0.0)
    low, high = intervals(fitted, np.zeros(2), None, 0.9)
    assert low.tolist() == [0.0, 0.0]  # what the floor alone promises
    assert np.isinf(high).all()


def test_each_step_has_intervals_of_its_own() -> None:
    random = np.random.default_rng(1)
    values = np.zeros((400, 3))
    target = random.normal(size=(400, 3)) * np.array([1.0, 10.0, 100.0])
    target[random.random((400, 3)) < 0.2] = np.nan
    fitted = fit_intervals(TaskKind.FORECASTING, target, values, None, log=False, floor=None)
    low, high = intervals(fitted, values[:1], None, 0.9)
    assert (high - low)[0] == pytest.approx([3.3, 33, 330], rel=0.25)


def test_many_rows_are_kept_as_few_with_the_same_intervals() -> None:
    target = np.random.default_rng(2).normal(size=200_000)
    fitted = fit_intervals(REGRESSION, target, np.zeros_like(target), None, log=False, floor=None)
    assert len(fitted.residuals[0]) == MAX_KEPT
    low, high = intervals(fitted, np.zeros(1), None, 0.9)
    assert (low[0], high[0]) == pytest.approx(tuple(np.quantile(target, [0.05, 0.95])), abs=0.01)


@pytest.mark.parametrize("coverage", [0.6, 0.9])
def test_sets_hold_the_true_class_and_are_small_where_it_is_plain(coverage: float) -> None:
    random = np.random.default_rng(5)
    n = HELD_OUT + LATER
    chances = softmax(random.normal(size=(n, 5)) * 2, axis=1)
    target = (random.random((n, 1)) > np.cumsum(chances, axis=1)[:, :-1]).sum(axis=1).astype(np.float64)
    fitted = fit_sets(target[:HELD_OUT], chances[:HELD_OUT])
    inside = sets(Conformal.from_dict(fitted.as_dict()), chances[HELD_OUT:], coverage)
    reached = inside[np.arange(LATER), target[HELD_OUT:].astype(int)].mean()
    least, most = expected(coverage)
    assert least < reached
    if coverage == 0.9:  # at 0.6 the likeliest class is added to sets that would be empty
        assert reached < most
    assert (inside.sum(axis=1) >= 1).all()
    plain = chances[HELD_OUT:].max(axis=1) > 0.95
    assert inside[plain].sum(axis=1).mean() < inside[~plain].sum(axis=1).mean()


def spread_of(loss: str, outputs: list[list[float]], **fitted: Any) -> Spread:
    objective = Objective(REGRESSION, len(outputs[0]), loss_name=loss, low=0.0, high=100.0, **fitted)
    found = objective.spread(torch.tensor(outputs))
    assert found is not None
    return found


def test_losses_of_distributions_say_how_uncertain_they_are() -> None:
    one = float(np.log(np.expm1(1 - 1e-3)))  # softplus of it is 1 less the least deviation
    assert spread_of("normal", [[0.0, one]], scale=3.0).below == pytest.approx([3.0], rel=1e-5)
    assert spread_of("log_normal", [[0.0, one]], scale=2.0, transform="log").above == pytest.approx([2.0], rel=1e-5)
    # Variance of a count: mean + mean^2 / size, with mean 3 and size 1.
    counted = spread_of("negative_binomial", [[float(np.log1p(3)), one]], transform="log")
    assert counted.below == pytest.approx([np.sqrt(12)], rel=1e-5)
    crossed = spread_of("multi_quantile", [[-1.0, 0.0, 5.0], [1.0, 0.0, 3.0]], shares=(0.1, 0.5, 0.9), scale=2.0)
    assert crossed.below == pytest.approx([2.0, 0.02])
    assert crossed.above == pytest.approx([10.0, 6.0])
    assert Objective(REGRESSION, 1).spread(torch.zeros(1, 1)) is None
    tailed = spread_of("mae", [[0.0], [float(np.log1p(20))]], transform="log", unit=5.0)
    assert tailed.above == pytest.approx([5.0, 25.0])


def test_a_share_beyond_what_can_be_promised_is_refused() -> None:
    with pytest.raises(ProjectError, match="between 0 and 1"):
        checked_coverage(1.0)
    assert Certainty().bounds(np.zeros(3), (None,), 0.9) == ()
