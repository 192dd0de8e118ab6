"""Gradient: a batch in parts, each through the network in a thread of its own, with the loss taken over all of it.

The parts, and the order in which their gradients are added, are the same on every machine and for any number of
threads, and so are the weights. Two halves keep two processors busy: matrices of one batch are too small to be shared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from kincast.model.inputs import Inputs
from kincast.model.network import Network

NUM_PARTS = 2


class PartRunner:
    """Runs the parts of batches, at once where that changes nothing.

    A network that drops values out draws them from one generator, in the order of its calls, so its parts take turns.

    Args:
        network: whose weights are trained.
        num_parts: of each batch.
    """

    def __init__(self, network: nn.Module, num_parts: int) -> None:
        self.network = network
        self.parameters = [weight for weight in network.parameters() if weight.requires_grad]
        drops = any(isinstance(part, nn.Dropout) and part.p > 0 for part in network.modules())
        at_once = num_parts > 1 and not drops and (os.cpu_count() or 1) > 1
        self._threads, self._num_parts = torch.get_num_threads(), num_parts
        self._pool = ThreadPoolExecutor(num_parts, thread_name_prefix="kincast-part") if at_once else None

    def __enter__(self) -> PartRunner:
        if self._pool is not None:  # OpenMP's threads spin while they wait, and there is a team of them for each part
            torch.set_num_threads(max(1, self._threads // self._num_parts))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            torch.set_num_threads(self._threads)

    def backward(self, parts: Sequence[Inputs], loss_of: Callable[[Tensor], Tensor]) -> float:
        """Put the gradients of a batch into the weights' ``grad``.

        Args:
            parts: of the batch.
            loss_of: outputs [n, num_outputs] of all seeds of the batch to their mean loss.

        Returns:
            the loss.
        """
        assert isinstance(self.network, Network)
        network = self.network
        outputs: list[Tensor] = list(self._map(lambda inputs: network(inputs).outputs, parts))
        joined = torch.cat([part.detach() for part in outputs]).requires_grad_()
        loss = loss_of(joined)
        (given,) = torch.autograd.grad(loss, joined)
        shares = torch.split(given, [len(part) for part in outputs])
        found = list(self._map(self._gradients, outputs, shares))
        for weight, gradients in zip(self.parameters, zip(*found, strict=True), strict=True):
            there = [gradient for gradient in gradients if gradient is not None]
            weight.grad = sum(there[1:], start=there[0]) if there else None
        return float(loss.detach())

    def _gradients(self, outputs: Tensor, given: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(outputs, self.parameters, given, allow_unused=True)

    def _map(self, function: Callable[..., Any], *columns: Sequence[Any]) -> Any:
        return (map if self._pool is None else self._pool.map)(function, *columns)
