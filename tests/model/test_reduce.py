"""Segments are summed and their maxima found alike by the compiled kernel and by torch operations."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.model.reduce import segment_sum_max, segment_sum_max_reference


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 7), min_size=1, max_size=20), width=st.integers(1, 9), seed=st.integers(0, 999))
def test_kernel_equals_reference_with_gradients(counts: list[int], width: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    offsets = torch.tensor(np.concatenate([[0], np.cumsum(counts)]))
    rows = torch.randn(int(offsets[-1]), width, generator=random)
    weights = torch.randn(2, len(counts), width, generator=random)
    found, gradients = [], []
    for reduce in (segment_sum_max, segment_sum_max_reference):
        leaf = rows.clone().requires_grad_()
        sums, maxima = reduce(leaf, offsets)
        ((sums * weights[0]).sum() + (maxima * weights[1]).sum()).backward()
        found.append((sums.detach(), maxima.detach()))
        gradients.append(leaf.grad)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_empty_segments_are_zero() -> None:
    sums, maxima = segment_sum_max(torch.full((2, 3), -1.0), torch.tensor([0, 0, 2, 2]))
    assert sums.tolist() == [[0.0] * 3, [-2.0] * 3, [0.0] * 3]
    assert maxima.tolist() == [[0.0] * 3, [-1.0] * 3, [0.0] * 3]
