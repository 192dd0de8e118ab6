"""Fused: what a layer does to every row between two dense products, in one pass over the rows forward and one backward.

On a processor the passes decide, not the arithmetic. Off it, and wherever values are traced, torch operations stand in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kincast.compile import compiled, compiled_with_sums


def norm_relu(rows: Tensor, norm: nn.LayerNorm) -> Tensor:
    """``relu(norm(rows))`` of rows [n, channels]."""
    if rows.device.type != "cpu":
        return torch.relu(norm(rows))
    result: Tensor = _NormRelu.apply(rows, norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    return result


def add_relu_norm(rows: Tensor, update: Tensor, norm: nn.LayerNorm) -> Tensor:
    """``norm(rows + relu(update))`` of rows and update [n, channels]."""
    if rows.device.type == "cpu":
        result: Tensor = _AddReluNorm.apply(rows, update, norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    else:
        result = norm(rows + torch.relu(update))
    return result


def spread(vectors: Tensor, index: Tensor) -> Tensor:
    """Row ``index[i]`` of vectors [m, channels] for each i of [n], zeros where it is -1; [n, channels]."""
    if vectors.device.type != "cpu":
        found = vectors[index.clamp(min=0)] if len(vectors) else vectors.new_zeros(len(index), vectors.shape[1])
        return found * (index >= 0).unsqueeze(1)
    result: Tensor = _Spread.apply(vectors, index)  # type: ignore[no-untyped-call]
    return result


def add_rows(sums: Tensor, codes: Tensor, starts: Tensor, table: Tensor) -> Tensor:
    """``sums[i] + sum over k of table[starts[k] + codes[i, k]]``; the sums given are written over.

    Args:
        sums: [n, channels].
        codes: [n, columns] int32.
        starts: [columns] int64 where each column's rows begin.
        table: [rows, channels].
    """
    if sums.device.type != "cpu":
        return sums + nn.functional.embedding_bag(codes + starts, table, mode="sum")
    result: Tensor = _AddRows.apply(sums, codes, starts, table)  # type: ignore[no-untyped-call]
    return result


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        rows = rows.contiguous()
        normal, out = torch.empty_like(rows), torch.empty_like(rows)
        inverse = rows.new_empty(len(rows))
        arrays = (rows, weight, bias, normal, inverse, out)
        _norm_relu(*(array.detach().numpy() for array in arrays), np.float32(eps))
        ctx.save_for_backward(normal, inverse, out, weight)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        normal, inverse, out, weight = ctx.saved_tensors
        of_rows, of_affine = torch.empty_like(normal), weight.new_zeros(2, len(weight))
        arrays = (gradients[0].contiguous(), out, normal, inverse, weight, of_rows, of_affine)
        _norm_relu_backward(*(array.detach().numpy() for array in arrays))
        return of_rows, of_affine[0], of_affine[1], None


class _AddReluNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        rows, update = rows.contiguous(), update.contiguous()
        normal, out = torch.empty_like(rows), torch.empty_like(rows)
        inverse = rows.new_empty(len(rows))
        arrays = (rows, update, weight, bias, normal, inverse, out)
        _add_relu_norm(*(array.detach().numpy() for array in arrays), np.float32(eps))
        ctx.save_for_backward(normal, inverse, update, weight)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        normal, inverse, update, weight = ctx.saved_tensors
        of_rows, of_update = torch.empty_like(normal), torch.empty_like(normal)
        of_affine = weight.new_zeros(2, len(weight))
        given = (array.detach().numpy() for array in (gradients[0].contiguous(), update, normal, inverse, weight))
        _add_relu_norm_backward(*given, (of_rows.numpy(), of_update.numpy(), of_affine.numpy()))
        return of_rows, of_update, of_affine[0], of_affine[1], None


class _AddRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, codes: Tensor, starts: Tensor, table: Tensor) -> Tensor:
        _add_rows(sums.detach().numpy(), codes.numpy(), starts.numpy(), table.detach().numpy())
        ctx.mark_dirty(sums)
        ctx.save_for_backward(codes, starts)
        ctx.num_rows = len(table)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, Tensor]:
        codes, starts = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_table = gradient.new_zeros(ctx.num_rows, gradient.shape[1])
        _add_rows_backward(gradient.numpy(), codes.numpy(), starts.numpy(), of_table.numpy())
        return gradient, None, None, of_table


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, index: Tensor) -> Tensor:
        vectors = vectors.contiguous()
        out = vectors.new_empty(len(index), vectors.shape[1])
        _spread(vectors.detach().numpy(), index.numpy(), out.numpy())
        ctx.save_for_backward(index)
        ctx.num_rows = len(vectors)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_vectors = gradient.new_zeros(ctx.num_rows, gradient.shape[1])
        _spread_backward(gradient.numpy(), index.numpy(), of_vectors.numpy())
        return of_vectors, None


# Each kernel is one loop nest: the compiler makes vectors of it, and not of calls from row to row.
_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled_with_sums
def _norm_relu(rows, weight, bias, normal, inverse, out, eps):  # type: ignore[no-untyped-def]
    width = np.float32(rows.shape[1])
    for i in range(rows.shape[0]):
        total, squares = _ZERO, _ZERO
        for k in range(rows.shape[1]):
            total += rows[i, k]
        mean = total / width
        for k in range(rows.shape[1]):
            away = rows[i, k] - mean
            squares += away * away
        scale = _ONE / np.sqrt(squares / width + eps)
        inverse[i] = scale
        for k in range(rows.shape[1]):
            value = (rows[i, k] - mean) * scale
            normal[i, k] = value
            out[i, k] = max(value * weight[k] + bias[k], _ZERO)


@compiled_with_sums
def _norm_relu_backward(gradient, out, normal, inverse, weight, of_rows, of_affine):  # type: ignore[no-untyped-def]
    width = np.float32(out.shape[1])
    for i in range(out.shape[0]):
        total, along = _ZERO, _ZERO
        for k in range(out.shape[1]):
            given = gradient[i, k] if out[i, k] > _ZERO else _ZERO
            of_affine[0, k] += given * normal[i, k]
            of_affine[1, k] += given
            scaled = given * weight[k]
            of_rows[i, k] = scaled
            total += scaled
            along += scaled * normal[i, k]
        mean, slope = total / width, along / width
        for k in range(out.shape[1]):
            of_rows[i, k] = inverse[i] * (of_rows[i, k] - mean - normal[i, k] * slope)


@compiled_with_sums
def _add_relu_norm(rows, update, weight, bias, normal, inverse, out, eps):  # type: ignore[no-untyped-def]
    width = np.float32(rows.shape[1])
    for i in range(rows.shape[0]):
        total, squares = _ZERO, _ZERO
        for k in range(rows.shape[1]):
            added = rows[i, k] + max(update[i, k], _ZERO)
            out[i, k] = added
            total += added
        mean = total / width
        for k in range(rows.shape[1]):
            away = out[i, k] - mean
            squares += away * away
        scale = _ONE / np.sqrt(squares / width + eps)
        inverse[i] = scale
        for k in range(rows.shape[1]):
            value = (out[i, k] - mean) * scale
            normal[i, k] = value
            out[i, k] = value * weight[k] + bias[k]


@compiled_with_sums
def _add_relu_norm_backward(gradient, update, normal, inverse, weight, outs):  # type: ignore[no-untyped-def]
    of_rows, of_update, of_affine = outs
    width = np.float32(update.shape[1])
    for i in range(update.shape[0]):
        total, along = _ZERO, _ZERO
        for k in range(update.shape[1]):
            of_affine[0, k] += gradient[i, k] * normal[i, k]
            of_affine[1, k] += gradient[i, k]
            scaled = gradient[i, k] * weight[k]
            of_rows[i, k] = scaled
            total += scaled
            along += scaled * normal[i, k]
        mean, slope = total / width, along / width
        for k in range(update.shape[1]):
            value = inverse[i] * (of_rows[i, k] - mean - normal[i, k] * slope)
            of_rows[i, k] = value
            of_update[i, k] = value if update[i, k] > _ZERO else _ZERO


@compiled
def _spread(vectors, index, out):  # type: ignore[no-untyped-def]
    for i in range(index.shape[0]):
        source = index[i]
        for column in range(out.shape[1]):
            out[i, column] = vectors[source, column] if source >= 0 else np.float32(0)


@compiled
def _spread_backward(gradient, index, of_vectors):  # type: ignore[no-untyped-def]
    for i in range(index.shape[0]):
        target = index[i]
        if target >= 0:
            for column in range(gradient.shape[1]):
                of_vectors[target, column] += gradient[i, column]


@compiled
def _add_rows(sums, codes, starts, table):  # type: ignore[no-untyped-def]
    for i in range(codes.shape[0]):
        for place in range(codes.shape[1]):
            row = starts[place] + codes[i, place]
            for k in range(sums.shape[1]):
                sums[i, k] += table[row, k]


@compiled
def _add_rows_backward(gradient, codes, starts, of_table):  # type: ignore[no-untyped-def]
    for i in range(codes.shape[0]):
        for place in range(codes.shape[1]):
            row = starts[place] + codes[i, place]
            for k in range(gradient.shape[1]):
                of_table[row, k] += gradient[i, k]


@compiled
def join_ages(numbers, ages, scales, out):  # type: ignore[no-untyped-def]
    """Write numbers and what ages become, side by side.

    Args:
        numbers: [n, width] float32.
        ages: [n, k] float32 days; NaN where there is none.
        scales: [m] float32 days.
        out: [n, width + k * (m + 3)] float32, written: of each age exp(-|age| / scale) for every scale, a quarter of
            log(1 + |age|), whether it is negative, and whether it is missing.
    """
    width, num = numbers.shape[1], scales.shape[0]
    for i in range(numbers.shape[0]):
        for k in range(width):
            out[i, k] = numbers[i, k]
        place = width
        for k in range(ages.shape[1]):
            age = ages[i, k]
            away = abs(age)
            if np.isnan(age):
                for step in range(num + 2):
                    out[i, place + step] = _ZERO
                out[i, place + num + 2] = _ONE
            else:
                for step in range(num):
                    out[i, place + step] = np.exp(-away / scales[step])
                out[i, place + num] = np.log1p(away) * np.float32(0.25)
                out[i, place + num + 1] = _ONE if age < _ZERO else _ZERO
                out[i, place + num + 2] = _ZERO
            place += num + 3
