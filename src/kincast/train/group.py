"""Group: the processes that train one network together, each with its share of the parts of every batch.

Outputs, gradients and decisions are exchanged so that each process takes the very step that one alone would take:
parts have numbers, gradients are added in their order, and no sum depends on who worked it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

Gradients = tuple[Tensor | None, ...]
"""Of each weight, by one part of a batch; None where the part does not depend on the weight."""


class Group(Protocol):
    """Processes that train together, numbered from 0."""

    rank: int
    size: int

    def gather(self, own: Sequence[Tensor], sizes: Sequence[Sequence[int]], width: int) -> Sequence[Tensor]:
        """The outputs of all parts of a batch.

        Args:
            own: [rows, width] of each part of this process.
            sizes: rows of each part of each process.
            width: of all outputs.
        """

    def add(self, weights: Sequence[Tensor], own: Sequence[Gradients], counts: Sequence[int], loss: float) -> float:
        """Put the sum of all parts' gradients, added in the order of the parts, into the weights' ``grad``.

        Args:
            weights: of the network.
            own: gradients by each part of this process.
            counts: parts of each process.
            loss: of the batch, as this process sees it.

        Returns:
            the loss as the first process sees it.
        """

    def first(self, data: bytes) -> bytes:
        """What the first process gives; what the others give does not count."""


class Alone:
    """The group of one process."""

    rank, size = 0, 1

    def gather(self, own: Sequence[Tensor], sizes: Sequence[Sequence[int]], width: int) -> Sequence[Tensor]:
        """The outputs themselves."""
        return own

    def add(self, weights: Sequence[Tensor], own: Sequence[Gradients], counts: Sequence[int], loss: float) -> float:
        """As ``Group.add``."""
        for weight, gradients in zip(weights, zip(*own, strict=True), strict=True):
            there = [gradient for gradient in gradients if gradient is not None]
            weight.grad = sum(there[1:], start=there[0]) if there else None
        return loss

    def first(self, data: bytes) -> bytes:
        """The data themselves."""
        return data


class Together:
    """The processes of the default process group of ``torch.distributed``, such as gloo's.

    A sum is worked out in slices, one by each process, so that each sends and receives about two gradients in a step
    where there are as many processes as parts.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def gather(self, own: Sequence[Tensor], sizes: Sequence[Sequence[int]], width: int) -> Sequence[Tensor]:
        """As ``Group.gather``."""
        rows = [sum(parts) for parts in sizes]
        padded = torch.zeros(max(rows), width)
        if own:
            padded[: rows[self.rank]] = torch.cat(list(own))
        everything = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(everything, padded)
        found = zip(everything, rows, sizes, strict=True)
        return [part for block, num, parts in found for part in torch.split(block[:num], list(parts))]

    def add(self, weights: Sequence[Tensor], own: Sequence[Gradients], counts: Sequence[int], loss: float) -> float:
        """As ``Group.add``."""
        lengths = [weight.numel() for weight in weights]
        used = sum(lengths) + len(weights) + 1  # beside the gradients: which of them there are, and the loss
        width = -(-used // self.size)
        rows = torch.zeros(len(own), self.size * width)
        for row, gradients in zip(rows, own, strict=True):
            for (start, stop), gradient in zip(_spans(lengths), gradients, strict=True):
                if gradient is not None:
                    row[start:stop] = gradient.reshape(-1)
            row[used - len(weights) - 1 : used - 1] = torch.tensor([gradient is not None for gradient in gradients])
        if self.rank == 0:
            rows[0, used - 1] = loss
        total = self._sum(rows, counts, width)
        there = total[used - len(weights) - 1 : used - 1] > 0
        for weight, (start, stop), is_there in zip(weights, _spans(lengths), there.tolist(), strict=True):
            weight.grad = total[start:stop].view_as(weight) if is_there else None
        return float(total[used - 1])

    def first(self, data: bytes) -> bytes:
        """As ``Group.first``."""
        length = torch.tensor([len(data)])
        dist.broadcast(length, 0)
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8) if self.rank == 0 and data else None
        if content is None:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0)
        return content.numpy().tobytes()

    def _sum(self, rows: Tensor, counts: Sequence[int], width: int) -> Tensor:
        """[size * width] the sum of all processes' rows [own parts, size * width], in the order of the parts."""
        sent = rows.view(len(rows), self.size, width).transpose(0, 1).reshape(-1, width)
        slices = torch.empty(sum(counts), width)
        dist.all_to_all_single(slices, sent, list(counts), [len(rows)] * self.size)
        added = slices[0].clone()
        for part in slices[1:]:
            added += part
        total = torch.empty(self.size * width)
        dist.all_gather_into_tensor(total, added)
        return total


def share_of(num_parts: int, rank: int, size: int) -> slice:
    """Which of the parts of a batch a process has: contiguous, and about as many as each other.

    >>> [share_of(8, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(rank * num_parts // size, (rank + 1) * num_parts // size)


def _spans(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    return pairwise(ends)
