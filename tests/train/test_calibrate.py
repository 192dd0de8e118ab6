"""Calibration repairs what is wrong, leaves what is right, keeps the order, and is chosen on rows it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit, softmax
from scipy.stats import rankdata

from kincast.errors import ProjectError
from kincast.model.calibrate import Calibration, calibrate, log_losses
from kincast.model.objective import Objective
from kincast.query.task import TaskKind
from kincast.train.calibrate import check_method, fit_calibration
from kincast.train.metric import auroc
from kincast.train.reliability import bound_metrics, brier, ece, ece_adaptive, log_loss

Floats = NDArray[np.float64]
BINARY, MULTICLASS, LABELS = TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.MULTILABEL
ONES = np.ones


def binary(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Targets and the logits of their true chances."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=n) * 2 - 1
    return (random.random(n) < expit(logits)).astype(np.float64), logits


def test_right_probabilities_are_left_alone() -> None:
    taken = 0
    for seed in range(20):
        target, logits = binary(1_000, seed)
        found, held_out = fit_calibration(BINARY, target, expit(logits), np.arange(1_000))
        taken += found.method != "none"
        assert found.method != "none" or (held_out == expit(logits)).all()
    assert taken <= 4  # one standard error: about one in six by chance, less the cost of fitting


def test_a_moved_prior_and_too_sure_scores_are_repaired_in_order() -> None:
    target, logits = binary(4_000)
    scores = expit(3 * logits + 1.5)
    found, held_out = fit_calibration(BINARY, target, scores, np.arange(4_000))
    assert found.method == "temperature"
    assert found.temperatures[0] == pytest.approx(3, rel=0.1)
    assert found.biases[0] == pytest.approx(-0.5, abs=0.1)
    later, truth = binary(20_000, 1)
    moved = expit(3 * truth + 1.5)
    repaired = calibrate(Calibration.from_dict(found.as_dict()), moved)
    assert auroc(later, repaired)(ONES(20_000)) == auroc(later, moved)(ONES(20_000))
    assert (rankdata(repaired) == rankdata(moved)).all()
    assert np.abs(repaired - expit(truth)).max() < 0.03
    assert log_losses(BINARY, target, held_out).mean() < log_losses(BINARY, target, scores).mean() - 0.1


def test_temperature_is_the_point_of_least_loss() -> None:
    target, logits = binary(500, 7)
    scores = expit(0.4 * logits - 1)
    found, _ = fit_calibration(BINARY, target, scores, np.arange(500), "temperature")

    def loss(point: Any) -> float:
        return float(log_losses(BINARY, target, expit(logit(scores) * point[0] + point[1])).mean())

    best = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    assert loss((1 / found.temperatures[0], found.biases[0])) == pytest.approx(best.fun, abs=1e-5)


def test_a_bent_curve_needs_isotonic() -> None:
    target, logits = binary(8_000)
    bent = expit(np.where(logits > 0, 4 * logits, 0.2 * logits))
    found, _ = fit_calibration(BINARY, target, bent, np.arange(8_000))
    assert found.method == "isotonic"
    later, truth = binary(20_000, 1)
    moved = expit(np.where(truth > 0, 4 * truth, 0.2 * truth))
    repaired = calibrate(Calibration.from_dict(found.as_dict()), moved)
    assert ece(later, repaired)(ONES(20_000)) < 0.3 * ece(later, moved)(ONES(20_000))
    assert (np.diff(repaired[np.argsort(moved)]) >= 0).all()
    assert repaired.min() > 0
    assert repaired.max() < 1


def test_isotonic_is_the_best_rising_function() -> None:
    """Against the definition: the largest of the least means over all spans (Robertson et al. 1988)."""
    random = np.random.default_rng(0)
    scores = random.choice(np.linspace(0.1, 0.9, 12), 60)
    target = (random.random(60) < scores).astype(np.float64)
    found, _ = fit_calibration(BINARY, target, scores, np.arange(60), "isotonic")
    at = np.unique(scores)
    mean = lambda low, high: target[(scores >= low) & (scores <= high)].mean()  # noqa: E731
    best = [max(min(mean(low, high) for high in at[at >= x]) for low in at[at <= x]) for x in at]
    assert calibrate(found, at) == pytest.approx(np.clip(best, 1 / 62, 61 / 62))


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_classes_add_up_and_a_moved_prior_is_repaired(method: Any) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(6_000, 4)) * 1.5
    target = np.array([random.choice(4, p=chance) for chance in softmax(logits, axis=1)]).astype(np.float64)
    scores = softmax(2 * logits + np.array([2.0, 0, 0, -2]), axis=1)
    first = np.arange(6_000) < 3_000
    found, _ = fit_calibration(MULTICLASS, target[first], scores[first], np.arange(3_000), method)
    repaired = calibrate(Calibration.from_dict(found.as_dict()), scores[~first])
    assert repaired.sum(axis=1) == pytest.approx(np.ones(3_000))
    assert ece(target[~first], repaired)(ONES(3_000)) < 0.04 < 0.1 < ece(target[~first], scores[~first])(ONES(3_000))
    share = np.bincount(target[~first].astype(int)) / 3_000
    assert repaired.mean(axis=0) == pytest.approx(share, abs=0.03 if method == "temperature" else 0.05)


def test_each_label_is_calibrated_alone_and_rare_ones_not_at_all() -> None:
    target, logits = binary(2_000)
    other, more = binary(2_000, 5)
    hot = np.stack([target, other, np.arange(2_000) < 3], axis=1).astype(np.float64)
    scores = np.stack([expit(3 * logits), expit(more), np.full(2_000, 0.4)], axis=1)
    found, _ = fit_calibration(LABELS, hot, scores, np.arange(2_000))
    assert found.temperatures == pytest.approx((3, 1, 1), rel=0.15)
    assert calibrate(found, scores)[:, 2] == pytest.approx(scores[:, 2])


def test_rows_of_an_entity_are_held_out_together() -> None:
    """Scores that know the entity's own label are no better calibrated for it: what is fitted must not see it."""
    random = np.random.default_rng(0)
    entity = np.repeat(np.arange(100), 20)
    target = np.repeat((random.random(100) < 0.5).astype(np.float64), 20)
    scores = np.repeat(random.random(100), 20)  # one score an entity, without a meaning
    _, held_out = fit_calibration(BINARY, target, scores, entity, "isotonic")
    assert log_losses(BINARY, target, held_out).mean() > 0.69
    _, leaking = fit_calibration(BINARY, target, scores, np.arange(2_000), "isotonic")
    assert log_losses(BINARY, target, leaking).mean() < log_losses(BINARY, target, held_out).mean()


def test_nothing_is_fitted_to_next_to_nothing() -> None:
    scores = np.linspace(0.01, 0.3, 500)
    few = (np.arange(500) < 9).astype(np.float64)
    for target in (np.zeros(500), few):
        found, held_out = fit_calibration(BINARY, target, scores, np.arange(500), "temperature")
        assert found.method == "none"
        assert held_out is scores


def test_certain_scores_stay_finite() -> None:
    target, _ = binary(300)
    scores = np.where(np.arange(300) % 3 == 0, target, 0.5)
    for method in ("temperature", "isotonic"):
        found, _ = fit_calibration(BINARY, target, scores, np.arange(300), method)  # type: ignore[arg-type]
        assert np.isfinite(calibrate(found, np.array([0.0, 0.5, 1.0]))).all()


def test_a_method_that_no_target_can_have_is_refused() -> None:
    with pytest.raises(ProjectError, match="isotonic is not for multilabel"):
        check_method(Objective(LABELS, 3), "isotonic")
    with pytest.raises(ProjectError, match="temperature is not for regression"):
        check_method(Objective(TaskKind.REGRESSION, 1), "temperature")
    check_method(Objective(TaskKind.REGRESSION, 1), "auto")


def test_metrics_equal_their_definitions() -> None:
    target, scores = np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.3, 0.31])
    weights = np.array([1.0, 2, 0, 1])
    losses = -np.log([0.9, 0.2, 0.3, 0.69])
    assert log_loss(target, scores)(weights) == pytest.approx((losses * weights).sum() / 4)
    assert brier(target, scores)(weights) == pytest.approx((0.1**2 + 2 * 0.8**2 + 0.31**2) / 4)
    # Bins of a fifteenth: 0.9 in the 14th, 0.8 in the 13th, 0.31 in the 5th; what has no weight does not count.
    assert ece(target, scores)(weights) == pytest.approx((0.1 + 2 * 0.8 + 0.31) / 4)
    one = np.full(30, 0.4)
    half = (np.arange(30) % 2).astype(np.float64)
    assert ece_adaptive(half, one)(ONES(30)) == pytest.approx(0.1)
    chances = np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]])
    assert ece(np.array([0.0, 1]), chances)(ONES(2)) == pytest.approx((0.3 + 0.6) / 2)
    assert brier(np.array([0.0, 1]), chances)(ONES(2)) == pytest.approx((0.14 + 1.04) / 2)
    assert np.isnan(ece(target, scores * 7)(weights))


def test_what_intervals_reach_is_counted() -> None:
    bounds = (np.array([[0.0, 0], [1, 1], [0, 0]]), np.array([[1.0, 1], [2, 3], [1, 9]]))
    target = np.array([[0.5, 2], [1.5, np.nan], [3, 1]])
    found = {name: m(target, bounds)(ONES(3)) for name, m in bound_metrics(TaskKind.FORECASTING, 0.9, 2).items()}
    assert found["coverage at 90 %"] == pytest.approx(3 / 5)
    assert found["coverage at 90 % step 2"] == pytest.approx(1 / 2)
    assert found["interval width at 90 %"] == pytest.approx((1 + 1 + 1 + 1 + 9) / 5)
    chosen = np.array([[True, False], [True, True]])
    sizes = {name: m(np.array([1.0, 1]), chosen)(ONES(2)) for name, m in bound_metrics(MULTICLASS, 0.8).items()}
    assert sizes == {"coverage at 80 %": 0.5, "set size at 80 %": 1.5}
