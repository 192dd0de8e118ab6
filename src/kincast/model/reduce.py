"""Reduce: sums and maxima over contiguous segments of rows, differentiable, on any device.

All are mergeable partial states, so that the same layer runs on sampled batches and on a whole graph in blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kincast.compile import compiled


def segment_sum_max(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and maximum of each segment; 0 for an empty one.

    Args:
        rows: [num_rows, width] float32.
        offsets: [num_segments + 1] int64 ascending; segment i is rows ``offsets[i]`` to ``offsets[i + 1]``.

    Returns:
        sums and maxima, each [num_segments, width].
    """
    if rows.device.type == "cpu":
        result: tuple[Tensor, Tensor] = _SegmentSumMax.apply(rows, offsets)  # type: ignore[no-untyped-call]
        return result
    return segment_sum_max_reference(rows, offsets)


def segment_sum_max_reference(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The same in torch operations only, for devices without our kernels; the tests hold both against each other."""
    num_segments = offsets.numel() - 1
    counts = offsets.diff()
    index = torch.repeat_interleave(torch.arange(num_segments, device=rows.device), counts)
    index = index.unsqueeze(1).expand(-1, rows.shape[1])
    zeros = rows.new_zeros(num_segments, rows.shape[1])
    sums = zeros.scatter_add(0, index, rows)
    maxima = zeros.scatter_reduce(0, index, rows, "amax", include_self=False)
    return sums, maxima


class _SegmentSumMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        rows = rows.contiguous()
        num_segments, width = offsets.numel() - 1, rows.shape[1]
        sums, maxima = rows.new_empty(num_segments, width), rows.new_empty(num_segments, width)
        winners = torch.empty(num_segments, width, dtype=torch.int32)
        _forward(rows.detach().numpy(), offsets.numpy(), sums.numpy(), maxima.numpy(), winners.numpy())
        ctx.save_for_backward(offsets, winners)
        ctx.num_rows = rows.shape[0]
        return sums, maxima

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        offsets, winners = ctx.saved_tensors
        of_sums, of_maxima = (gradient.contiguous() for gradient in gradients)
        of_rows = of_sums.new_empty(ctx.num_rows, of_sums.shape[1])
        _backward(of_sums.numpy(), of_maxima.numpy(), offsets.numpy(), winners.numpy(), of_rows.numpy())
        return of_rows, None


@compiled
def _forward(
    rows: np.ndarray[Any, Any],
    offsets: np.ndarray[Any, Any],
    sums: np.ndarray[Any, Any],
    maxima: np.ndarray[Any, Any],
    winners: np.ndarray[Any, Any],
) -> None:
    width = rows.shape[1]
    for segment in range(offsets.shape[0] - 1):
        start, stop = offsets[segment], offsets[segment + 1]
        if start == stop:
            for column in range(width):
                sums[segment, column] = 0.0
                maxima[segment, column] = 0.0
                winners[segment, column] = -1
            continue
        for column in range(width):
            sums[segment, column] = rows[start, column]
            maxima[segment, column] = rows[start, column]
            winners[segment, column] = start
        for row in range(start + 1, stop):
            for column in range(width):
                value = rows[row, column]
                sums[segment, column] += value
                if value > maxima[segment, column]:
                    maxima[segment, column] = value
                    winners[segment, column] = row


@compiled
def _backward(
    of_sums: np.ndarray[Any, Any],
    of_maxima: np.ndarray[Any, Any],
    offsets: np.ndarray[Any, Any],
    winners: np.ndarray[Any, Any],
    of_rows: np.ndarray[Any, Any],
) -> None:
    width = of_sums.shape[1]
    for segment in range(offsets.shape[0] - 1):
        start, stop = offsets[segment], offsets[segment + 1]
        for row in range(start, stop):
            for column in range(width):
                of_rows[row, column] = of_sums[segment, column]
        if start < stop:
            for column in range(width):
                of_rows[winners[segment, column], column] += of_maxima[segment, column]
