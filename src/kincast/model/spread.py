"""Spread: minima and standard deviations over contiguous segments of rows, differentiable, on any device.

As in ``reduce``, both are mergeable partial states: a deviation is held as count, mean and sum of squared distances.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kincast.compile import compiled

EPS = np.float32(1e-5)
"""A deviation is ``sqrt(variance + EPS) - sqrt(EPS)``: 0 where all rows are the same, with a gradient there too."""


def segment_min_std(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and standard deviation (of the population) of each segment; 0 for an empty one.

    Args:
        rows: [num_rows, width] float32.
        offsets: [num_segments + 1] int64 ascending; segment i is rows ``offsets[i]`` to ``offsets[i + 1]``.

    Returns:
        minima and deviations, each [num_segments, width].
    """
    if rows.device.type == "cpu":
        result: tuple[Tensor, Tensor] = _SegmentMinStd.apply(rows, offsets)  # type: ignore[no-untyped-call]
        return result
    return segment_min_std_reference(rows, offsets)


def segment_min_std_reference(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The same in torch operations only, for devices without our kernels; the tests hold both against each other."""
    num_segments, counts = offsets.numel() - 1, offsets.diff()
    segment = torch.repeat_interleave(torch.arange(num_segments, device=rows.device), counts)
    index = segment.unsqueeze(1).expand(-1, rows.shape[1])
    zeros = rows.new_zeros(num_segments, rows.shape[1])
    minima = zeros.scatter_reduce(0, index, rows, "amin", include_self=False)
    divisor = counts.clamp(min=1).unsqueeze(1)
    mean = zeros.scatter_add(0, index, rows) / divisor
    variance = zeros.scatter_add(0, index, (rows - mean[segment]) ** 2) / divisor
    return minima, (variance + float(EPS)).sqrt() - float(np.sqrt(EPS))


class _SegmentMinStd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        rows = rows.contiguous()
        num_segments, width = offsets.numel() - 1, rows.shape[1]
        minima, means, roots = (rows.new_empty(num_segments, width) for _ in range(3))
        winners = torch.empty(num_segments, width, dtype=torch.int32)
        arrays = (minima.numpy(), means.numpy(), roots.numpy(), winners.numpy())
        _forward(rows.detach().numpy(), offsets.numpy(), *arrays)
        ctx.save_for_backward(rows, offsets, means, roots, winners)
        return minima, roots - float(np.sqrt(EPS))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        rows, offsets, means, roots, winners = ctx.saved_tensors
        of_minima, of_deviations = (gradient.contiguous() for gradient in gradients)
        of_rows = torch.empty_like(rows)
        arrays = (array.numpy() for array in (means, roots, winners, of_minima, of_deviations, of_rows))
        _backward(rows.detach().numpy(), offsets.numpy(), *arrays)
        return of_rows, None


@compiled
def _forward(rows, offsets, minima, means, roots, winners):  # type: ignore[no-untyped-def]
    width = rows.shape[1]
    for segment in range(offsets.shape[0] - 1):
        start, stop = offsets[segment], offsets[segment + 1]
        if start == stop:
            for column in range(width):
                minima[segment, column] = 0.0
                means[segment, column] = 0.0
                roots[segment, column] = np.sqrt(EPS)
                winners[segment, column] = -1
            continue
        for column in range(width):
            minima[segment, column] = rows[start, column]
            means[segment, column] = rows[start, column]
            roots[segment, column] = 0.0
            winners[segment, column] = start
        for row in range(start + 1, stop):
            for column in range(width):
                value = rows[row, column]
                means[segment, column] += value
                if value < minima[segment, column]:
                    minima[segment, column] = value
                    winners[segment, column] = row
        share = np.float32(1.0 / (stop - start))
        for column in range(width):
            means[segment, column] *= share
        for row in range(start, stop):
            for column in range(width):
                distance = rows[row, column] - means[segment, column]
                roots[segment, column] += distance * distance
        for column in range(width):
            roots[segment, column] = np.sqrt(roots[segment, column] * share + EPS)


@compiled
def _backward(rows, offsets, means, roots, winners, of_minima, of_deviations, of_rows):  # type: ignore[no-untyped-def]
    width = rows.shape[1]
    for segment in range(offsets.shape[0] - 1):
        start, stop = offsets[segment], offsets[segment + 1]
        if start == stop:
            continue
        share = np.float32(1.0 / (stop - start))
        for row in range(start, stop):
            for column in range(width):
                slope = (rows[row, column] - means[segment, column]) * share / roots[segment, column]
                of_rows[row, column] = slope * of_deviations[segment, column]
        for column in range(width):
            of_rows[winners[segment, column], column] += of_minima[segment, column]
