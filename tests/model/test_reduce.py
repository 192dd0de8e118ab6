"""Segments are reduced and attended to alike by the compiled kernels and by torch operations, gradients included."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kincast.model.attend import segment_attention, segment_attention_reference
from kincast.model.reduce import segment_sum_max, segment_sum_max_reference
from kincast.model.spread import segment_min_std, segment_min_std_reference

Reduce = Callable[..., Sequence[Tensor]]
PAIRS: dict[str, tuple[Reduce, Reduce]] = {
    "sum and max": (segment_sum_max, segment_sum_max_reference),
    "min and std": (segment_min_std, segment_min_std_reference),
}
COUNTS = st.lists(st.integers(0, 7), min_size=1, max_size=20)


def starts(counts: list[int]) -> Tensor:
    return torch.tensor(np.concatenate([[0], np.cumsum(counts)]))


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, width=st.integers(1, 9), seed=st.integers(0, 999))
def test_kernel_equals_reference_with_gradients(
    pair: tuple[Reduce, Reduce], counts: list[int], width: int, seed: int
) -> None:
    random, offsets = torch.Generator().manual_seed(seed), starts(counts)
    rows = torch.randn(int(offsets[-1]), width, generator=random)
    weights = torch.randn(2, len(counts), width, generator=random)
    found, gradients = [], []
    for reduce in pair:
        leaf = rows.clone().requires_grad_()
        parts = reduce(leaf, offsets)
        sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True)).backward()  # type: ignore[union-attr]
        found.append([part.detach() for part in parts])
        gradients.append(leaf.grad)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, heads=st.integers(1, 4), size=st.integers(1, 5), seed=st.integers(0, 999))
def test_attention_equals_reference_with_gradients(counts: list[int], heads: int, size: int, seed: int) -> None:
    random, offsets = torch.Generator().manual_seed(seed), starts(counts)
    num, width = int(offsets[-1]), heads * size
    given_ = [torch.randn(n, width, generator=random) for n in (len(counts), num, num)]
    weight = torch.randn(len(counts), width, generator=random)
    found, gradients = [], []
    for attend in (segment_attention, segment_attention_reference):
        leaves = [tensor.clone().requires_grad_() for tensor in given_]
        attended = attend(*leaves, offsets, heads)
        (attended * weight).sum().backward()  # type: ignore[no-untyped-call]
        found.append(attended.detach())
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_attention_with_one_head_is_that_of_torch() -> None:
    queries, rows = torch.randn(1, 8), torch.randn(5, 8)
    whole = torch.nn.functional.scaled_dot_product_attention(queries[None], rows[None], rows[None])[0]
    torch.testing.assert_close(segment_attention(queries, rows, rows, torch.tensor([0, 5]), 1), whole)


def test_huge_logits_stay_numbers() -> None:
    rows = torch.tensor([[1e18], [2e18]])
    assert segment_attention(rows[:1], rows, rows, torch.tensor([0, 2]), 1).tolist() == rows[1:].tolist()


def test_empty_segments_are_zero() -> None:
    rows, offsets = torch.full((2, 3), -1.0), torch.tensor([0, 0, 2, 2])
    sums, maxima = segment_sum_max(rows, offsets)
    assert sums.tolist() == [[0.0] * 3, [-2.0] * 3, [0.0] * 3]
    assert maxima.tolist() == [[0.0] * 3, [-1.0] * 3, [0.0] * 3]
    minima, deviations = segment_min_std(rows, offsets)
    assert minima.tolist() == maxima.tolist()
    assert deviations.tolist() == [[0.0] * 3] * 3
    assert segment_attention(torch.ones(3, 3), rows, rows, offsets, 3).tolist() == maxima.tolist()


def test_std_is_that_of_the_population() -> None:
    rows = torch.randn(6, 4) * 3
    deviations = segment_min_std(rows, torch.tensor([0, 6]))[1]
    torch.testing.assert_close(deviations[0], rows.std(dim=0, correction=0), atol=4e-3, rtol=0)
