"""Precision: how exactly dense products are worked out while a network learns; weights and predictions stay float32."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kincast.errors import TrainError
from kincast.project import Precision


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Dense products of the whole process in that precision: factors rounded to it, sums and results float32.

    Raises:
        TrainError: this processor would be slower at it.
    """
    if precision == "float32":
        yield
        return
    if not has_bfloat16():
        what = "this processor multiplies no bfloat16: that takes AVX512-BF16, AMX or Arm's bf16"
        raise TrainError(what, where="train.precision", hint="leave train.precision out")
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def has_bfloat16() -> bool:
    """True when the processor multiplies bfloat16 by itself."""
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
