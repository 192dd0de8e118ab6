"""Gradient: a batch in parts, each through the network in a thread of its own, with the loss taken over all of it.

The parts, and the order in which their gradients are added, are the same on every machine and for any number of threads
and processes, and so are the weights. Two halves keep two processors busy: matrices of one batch are too small to be
shared.
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
from kincast.model.score import spans_of
from kincast.train.group import Alone, Gradients, Group, share_of


class PartRunner:
    """Runs the parts of batches, at once where that changes nothing.

    A network that drops values out draws them from the one generator there is, so its parts take turns, each with a
    seed of its own.

    Args:
        network: whose weights are trained.
        num_parts: of each batch.
        group: the processes among which the parts are shared out.

    Attributes:
        own: which of the parts of a batch this process has.
    """

    def __init__(self, network: nn.Module, num_parts: int, group: Group | None = None) -> None:
        self.network, self.num_parts, self.group = network, num_parts, group or Alone()
        self.parameters = [weight for weight in network.parameters() if weight.requires_grad]
        self._shares = [share_of(num_parts, rank, self.group.size) for rank in range(self.group.size)]
        self.own = self._shares[self.group.rank]
        self._drops = any(isinstance(part, nn.Dropout) and part.p > 0 for part in network.modules())
        self._threads = torch.get_num_threads()
        self._at_once = 1 if self._drops else min(self.own.stop - self.own.start, os.cpu_count() or 1)
        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="kincast-part") if self._at_once > 1 else None
        self._pool = pool

    def __enter__(self) -> PartRunner:
        if self._pool is not None:  # OpenMP's threads spin while they wait, and there is a team of them for each part
            torch.set_num_threads(max(1, self._threads // self._at_once))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            torch.set_num_threads(self._threads)

    def backward(
        self, parts: Sequence[Inputs], num_seeds: int, num_outputs: int, loss_of: Callable[[Tensor], Tensor]
    ) -> float:
        """Put the gradients of a batch into the weights' ``grad``.

        Args:
            parts: those of the batch that this process has.
            num_seeds: of the whole batch.
            num_outputs: of the network, for each seed.
            loss_of: outputs [num_seeds, num_outputs] of the whole batch to their mean loss.

        Returns:
            the loss.
        """
        sizes = [span.stop - span.start for span in spans_of(0, num_seeds, self.num_parts)]
        shares = [sizes[share] for share in self._shares]
        keys = [torch.initial_seed() * self.num_parts + number for number in range(len(sizes))[self.own]]
        outputs: list[Tensor] = list(self._map(self._outputs, parts, keys))
        whole = self.group.gather([part.detach() for part in outputs], shares, num_outputs)
        joined = torch.cat(list(whole)).requires_grad_()
        loss = loss_of(joined)
        (given,) = torch.autograd.grad(loss, joined)
        found = list(self._map(self._gradients, outputs, torch.split(given, sizes)[self.own]))
        return self.group.add(self.parameters, found, [len(share) for share in shares], float(loss.detach()))

    def _outputs(self, inputs: Inputs, key: int) -> Tensor:
        assert isinstance(self.network, Network)
        if self._drops:
            torch.manual_seed(key % 2**63)
        outputs: Tensor = self.network(inputs).outputs
        return outputs

    def _gradients(self, outputs: Tensor, given: Tensor) -> Gradients:
        return torch.autograd.grad(outputs, self.parameters, given, allow_unused=True)

    def _map(self, function: Callable[..., Any], *columns: Sequence[Any]) -> Any:
        return (map if self._pool is None else self._pool.map)(function, *columns)
