"""Attend: attention of one row over each of contiguous segments of rows, differentiable, on any device.

The softmax of a segment is held as (largest logit, normaliser, weighted sum), which is mergeable, as ``reduce`` asks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kincast.compile import compiled


def segment_attention(queries: Tensor, keys: Tensor, values: Tensor, offsets: Tensor, num_heads: int) -> Tensor:
    """Each segment's values, weighted by the softmax of how well their keys fit the segment's query; 0 for none.

    Args:
        queries: [num_segments, width] float32; each head has ``width / num_heads`` columns side by side.
        keys, values: [num_rows, width] float32.
        offsets: [num_segments + 1] int64 ascending; segment i is rows ``offsets[i]`` to ``offsets[i + 1]``.
        num_heads: divides the width.

    Returns:
        [num_segments, width].
    """
    if queries.device.type == "cpu":
        result: Tensor = _SegmentAttention.apply(queries, keys, values, offsets, num_heads)  # type: ignore[no-untyped-call]
        return result
    return segment_attention_reference(queries, keys, values, offsets, num_heads)


def segment_attention_reference(
    queries: Tensor, keys: Tensor, values: Tensor, offsets: Tensor, num_heads: int
) -> Tensor:
    """The same in torch operations only, for devices without our kernels; the tests hold both against each other."""
    num_segments, width = queries.shape
    segment = torch.repeat_interleave(torch.arange(num_segments, device=keys.device), offsets.diff())
    split = (-1, num_heads, width // num_heads)
    logits = (queries.view(split)[segment] * keys.view(split)).sum(2) / math.sqrt(width // num_heads)  # [rows, heads]
    index = segment.unsqueeze(1).expand(-1, num_heads)
    zeros = logits.new_zeros(num_segments, num_heads)
    largest = zeros.scatter_reduce(0, index, logits.detach(), "amax", include_self=False)
    weights = (logits - largest[segment]).exp()
    weights = weights / zeros.scatter_add(0, index, weights)[segment]
    weighted = (weights.unsqueeze(2) * values.view(split)).flatten(1)
    return queries.new_zeros(num_segments, width).index_add(0, segment, weighted)


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, offsets: Tensor, num_heads: int) -> Tensor:
        queries, keys, values = (tensor.contiguous() for tensor in (queries, keys, values))
        found = torch.zeros_like(queries)
        weights = keys.new_empty(keys.shape[0], num_heads)
        arrays = (tensor.detach().numpy() for tensor in (queries, keys, values, offsets, weights, found))
        _forward(*arrays)
        ctx.save_for_backward(queries, keys, values, offsets, weights)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        queries, keys, values, offsets, weights = ctx.saved_tensors
        of_queries, of_keys, of_values = torch.zeros_like(queries), torch.empty_like(keys), torch.empty_like(values)
        given = tuple(tensor.detach().numpy() for tensor in (queries, keys, values, offsets, weights))
        _backward(given, *(part.numpy() for part in (gradients[0].contiguous(), of_queries, of_keys, of_values)))
        return of_queries, of_keys, of_values, None, None


@compiled
def _forward(queries, keys, values, offsets, weights, found):  # type: ignore[no-untyped-def]
    num_heads = weights.shape[1]
    size = queries.shape[1] // num_heads
    scale = np.float32(1.0 / math.sqrt(size))
    for segment in range(queries.shape[0]):
        start, stop = offsets[segment], offsets[segment + 1]
        for head in range(num_heads if start < stop else 0):
            first = head * size
            largest = np.float32(-np.inf)
            for row in range(start, stop):
                logit = np.float32(0.0)
                for column in range(first, first + size):
                    logit += queries[segment, column] * keys[row, column]
                logit *= scale
                weights[row, head] = logit
                largest = max(largest, logit)
            normaliser = np.float32(0.0)
            for row in range(start, stop):
                weight = np.exp(weights[row, head] - largest)
                weights[row, head] = weight
                normaliser += weight
            for row in range(start, stop):
                weight = weights[row, head] / normaliser
                weights[row, head] = weight
                for column in range(first, first + size):
                    found[segment, column] += weight * values[row, column]


@compiled
def _backward(given, of_found, of_queries, of_keys, of_values):  # type: ignore[no-untyped-def]
    queries, keys, values, offsets, weights = given
    num_heads = weights.shape[1]
    size = queries.shape[1] // num_heads
    scale = np.float32(1.0 / math.sqrt(size))
    for segment in range(queries.shape[0]):
        start, stop = offsets[segment], offsets[segment + 1]
        slopes = np.empty(stop - start, np.float32)  # of the loss along each weight
        for head in range(num_heads if start < stop else 0):
            first = head * size
            mean = np.float32(0.0)
            for row in range(start, stop):
                weight, slope = weights[row, head], np.float32(0.0)
                for column in range(first, first + size):
                    of_values[row, column] = weight * of_found[segment, column]
                    slope += of_found[segment, column] * values[row, column]
                slopes[row - start] = slope
                mean += weight * slope
            for row in range(start, stop):
                of_logit = weights[row, head] * (slopes[row - start] - mean) * scale
                for column in range(first, first + size):
                    of_queries[segment, column] += of_logit * keys[row, column]
                    of_keys[row, column] = of_logit * queries[segment, column]
