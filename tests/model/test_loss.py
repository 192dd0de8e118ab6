"""Losses equal their definitions, written out row by row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, log_softmax, softmax
from torch import Tensor

from kincast.model import loss

RANDOM = np.random.default_rng(0)
LOGITS, HIT = RANDOM.normal(0, 2, 20), (RANDOM.random(20) < 0.4).astype(float)
MANY, CODES = RANDOM.normal(0, 2, (20, 4)), RANDOM.integers(0, 4, 20)
VALUES, TARGET = RANDOM.normal(3, 5, 20), np.round(RANDOM.gamma(2, 3, 20))
SPREAD = RANDOM.gamma(2, 1, 20) + 0.1


def _tensors(*arrays: Any) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.asarray(array)) for array in arrays)


def test_binary_losses() -> None:
    p = np.where(HIT == 1, expit(LOGITS), 1 - expit(LOGITS))
    np.testing.assert_allclose(loss.binary_cross_entropy(*_tensors(LOGITS, HIT)), -np.log(p))
    weight = np.where(HIT == 1, 0.25, 0.75)
    np.testing.assert_allclose(loss.focal(*_tensors(LOGITS, HIT)), -weight * (1 - p) ** 2 * np.log(p), rtol=1e-6)


def test_class_losses() -> None:
    rows = np.arange(20)
    np.testing.assert_allclose(
        loss.cross_entropy(*_tensors(MANY, CODES)), -log_softmax(MANY, axis=1)[rows, CODES], rtol=1e-6
    )
    shares = RANDOM.dirichlet(np.ones(4), 20)
    expected = -(shares * log_softmax(MANY, axis=1)).sum(axis=1)
    np.testing.assert_allclose(loss.cross_entropy(*_tensors(MANY, shares)), expected)
    p = softmax(MANY, axis=1)
    slow = [-sum(abs(i - y) ** 1.5 * math.log(1 - row[i]) for i in range(4)) for row, y in zip(p, CODES, strict=True)]
    np.testing.assert_allclose(loss.ordinal_log(*_tensors(MANY, CODES)), slow, rtol=1e-6)


def test_errors_of_values() -> None:
    error = np.abs(VALUES - TARGET)
    pair = _tensors(VALUES, TARGET)
    np.testing.assert_allclose(loss.mae(*pair), error)
    np.testing.assert_allclose(loss.mse(*pair), error**2)
    np.testing.assert_allclose(loss.huber(*pair), np.where(error < 1, error**2 / 2, error - 0.5))
    np.testing.assert_allclose(loss.wape(*pair).sum(), error.sum() / TARGET.mean())


def test_likelihoods_are_those_of_scipy() -> None:
    mean = np.abs(VALUES) + 0.5
    found = loss.normal(*_tensors(VALUES, SPREAD, TARGET))
    np.testing.assert_allclose(found, -stats.norm.logpdf(TARGET, VALUES, SPREAD))
    found = loss.log_normal(*_tensors(VALUES / 5, SPREAD, TARGET))
    expected = -stats.lognorm.logpdf(1 + TARGET, SPREAD, scale=np.exp(VALUES / 5))
    np.testing.assert_allclose(found, expected)
    found = loss.negative_binomial(*_tensors(mean, SPREAD, TARGET))
    np.testing.assert_allclose(found, -stats.nbinom.logpmf(TARGET, SPREAD, SPREAD / (SPREAD + mean)), rtol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_quantile_is_where_its_loss_is_least(share: float) -> None:
    sample = torch.arange(101, dtype=torch.float64)
    totals = [float(loss.quantile(torch.full_like(sample, value), sample, share).sum()) for value in range(101)]
    assert np.argmin(totals) == 100 * share
    both = loss.multi_quantile(torch.stack([sample - 1, sample + 2], dim=1), sample, (share, 0.5))
    np.testing.assert_allclose(both, (share + 2 * 0.5) / 2)


def test_pairs_of_items() -> None:
    scores = RANDOM.normal(0, 1, (6, 9))
    positive, negative = RANDOM.random((6, 9)) < 0.3, RANDOM.random((6, 9)) < 0.6
    negative &= ~positive
    listwise = loss.listwise(*_tensors(scores, positive, negative)).numpy()
    binary = loss.pairwise_binary(*_tensors(scores, positive, negative)).numpy()
    any_of = loss.any_positive(*_tensors(scores, positive, negative)).numpy()
    for row in range(6):
        own, others = scores[row, positive[row]], scores[row, negative[row]]
        slow = [-math.log(math.exp(s) / (math.exp(s) + np.exp(others).sum())) for s in own]
        assert listwise[row] == pytest.approx(np.mean(slow) if slow else 0.0)
        share = np.exp(own).sum() / (np.exp(own).sum() + np.exp(others).sum()) if len(own) else 1.0
        assert any_of[row] == pytest.approx(-math.log(share))
        sides = [-np.log(expit(own)), -np.log(expit(-others))]
        assert binary[row] == pytest.approx(sum(side.mean() for side in sides if len(side)) / 2)
