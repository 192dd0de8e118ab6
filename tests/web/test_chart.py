"""Charts draw what was measured, where it was measured."""

from __future__ import annotations

import math
import re

import numpy as np

from kincast.web.chart import Mark, calibration, calibration_bins, curve, distribution, strips

MARKS = [
    Mark("ours", "model", 0.8, 0.78, 0.82),
    Mark("theirs", "baseline", 0.7, 0.68, 0.72),
    Mark("paper", "quoted", 0.75, 0.75, 0.75),
]


def _share(drawing: str) -> float:
    return float(re.findall(r'cx="([\d.]+)%"', drawing)[0])


def test_better_values_stand_further_right_on_one_scale() -> None:
    drawn, axis = strips(MARKS)
    ours, theirs, paper = (_share(strip.drawing) for strip in drawn)
    assert theirs < paper < ours
    assert math.isclose((ours - paper) / (paper - theirs), 1.0, rel_tol=1e-3)
    assert "0.80" in axis


def test_only_intervals_get_whiskers() -> None:
    drawn, _ = strips(MARKS)
    assert ["whisker" in strip.drawing for strip in drawn] == [True, True, False]


def test_a_chart_says_its_numbers_to_those_who_cannot_see_it() -> None:
    drawn, _ = strips(MARKS)
    assert 'aria-label="ours: 0.8000, from 0.7800 to 0.8200"' in drawn[0].drawing


def test_what_was_not_measured_has_no_dot() -> None:
    drawn, _ = strips([Mark("none", "baseline", math.nan, math.nan, math.nan)])
    assert "circle" not in drawn[0].drawing
    assert "not measured" in drawn[0].drawing


def test_the_best_epoch_is_marked() -> None:
    drawing = curve([0.7, 0.8, math.nan, 0.75], 2, "AUROC")
    dots = re.findall(r'class="dot (\w+)"', drawing)
    assert dots == ["small", "model", "small"]


def test_a_single_epoch_can_be_drawn() -> None:
    assert "circle" in curve([0.7], 1, "AUROC")


def test_bins_of_a_calibrated_model_hold_the_diagonal() -> None:
    random = np.random.default_rng(1)
    scores = random.random(4000)
    target = (random.random(4000) < scores).astype(np.float64)
    bins = calibration_bins(target, scores)
    assert len(bins) == 10
    assert sum(b.count for b in bins) == 4000
    inside = sum(b.low <= b.score <= b.high for b in bins)
    assert inside >= 8


def test_bins_of_a_boastful_model_miss_it() -> None:
    random = np.random.default_rng(1)
    scores = random.random(4000)
    target = (random.random(4000) < 0.5 * scores).astype(np.float64)
    assert not any(b.low <= b.score <= b.high for b in calibration_bins(target, scores)[3:])


def test_few_rows_make_few_bins() -> None:
    assert len(calibration_bins(np.ones(30), np.full(30, 0.9))) == 1


def test_every_bin_is_drawn_with_its_interval() -> None:
    random = np.random.default_rng(1)
    scores = random.random(400)
    drawing = calibration(calibration_bins((scores > 0.5).astype(np.float64), scores))
    assert drawing.count("<circle") == drawing.count("whisker") == 10


def test_both_classes_have_bars_even_when_one_is_empty() -> None:
    drawing = distribution(np.ones(50), np.linspace(0, 1, 50))
    assert drawing.count('class="bar up"') == drawing.count('class="bar down"') == 25
