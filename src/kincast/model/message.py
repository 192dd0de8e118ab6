"""Message: what a row hears along one link: from its neighbours, or across a bridge from the rows behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kincast.model.attend import segment_attention
from kincast.model.dense import ACTIVATIONS
from kincast.model.reduce import segment_sum_max
from kincast.model.spread import segment_min_std
from kincast.project import ModelSettings

COUNT_WIDTH = 2  # how many neighbours were read, and how many could be seen


class LinkMessage(nn.Module):
    """Neighbours' vectors combined by sums, means and the like, then a dense layer.

    Args:
        channels: width of the vectors.
        aggregations: of ``sum``, ``mean``, ``max``, ``min``, ``std``.
    """

    def __init__(self, channels: int, aggregations: Sequence[str]) -> None:
        super().__init__()
        self.aggregations = tuple(aggregations)
        self.dense = nn.Linear(channels * len(self.aggregations) + COUNT_WIDTH, channels, bias=False)

    def forward(self, own: Tensor, rows: Tensor, offsets: Tensor, num_visible: Tensor) -> Tensor:
        """Messages [num_dst, channels].

        Args:
            own: [num_dst, channels] the rows that hear; not read here.
            rows: [num_src, channels] their neighbours, grouped by ``offsets``.
            offsets: [num_dst + 1].
            num_visible: [num_dst] how many neighbours could be seen.
        """
        parts: dict[str, Tensor] = {}
        if not {"sum", "mean", "max"}.isdisjoint(self.aggregations):
            parts["sum"], parts["max"] = segment_sum_max(rows, offsets)
            parts["mean"] = parts["sum"] / offsets.diff().unsqueeze(1).clamp(min=1)
        if not {"min", "std"}.isdisjoint(self.aggregations):
            parts["min"], parts["std"] = segment_min_std(rows, offsets)
        combined = [*(parts[name] for name in self.aggregations), _counts(offsets, num_visible)]
        message: Tensor = self.dense(torch.cat(combined, dim=1))
        return message


class AttentionMessage(nn.Module):
    """Neighbours' vectors weighted by how well each suits the row that hears them, by several heads.

    What softmax forgets, how many neighbours there are, is read beside.

    Args:
        channels: width of the vectors.
        num_heads: divides the width.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(channels, channels)
        self.key, self.value = nn.Linear(channels, channels, bias=False), nn.Linear(channels, channels)
        self.dense = nn.Linear(channels + COUNT_WIDTH, channels, bias=False)

    def forward(self, own: Tensor, rows: Tensor, offsets: Tensor, num_visible: Tensor) -> Tensor:
        """Messages [num_dst, channels]; arguments as ``LinkMessage`` takes them."""
        attended = segment_attention(self.query(own), self.key(rows), self.value(rows), offsets, self.num_heads)
        message: Tensor = self.dense(torch.cat([attended, _counts(offsets, num_visible)], dim=1))
        return message


class RouteMessage(nn.Module):
    """Each bridge row fused with the rows on its other sides, then heard as neighbours are.

    A table that refers to two or more tables is a bridge between them. The idea of hearing across it at once is that of
    Chen et al. 2025, "RelGNN: Composite message passing for relational deep learning" (arXiv:2502.06784).

    Args:
        settings: width, activation, and how the fused vectors are combined.
        num_sides: links of the bridge besides the one that leads to it.
    """

    def __init__(self, settings: ModelSettings, num_sides: int) -> None:
        super().__init__()
        channels = settings.channels
        self.bridge = nn.Linear(channels, channels)
        self.sides = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in range(num_sides))
        self.activation = ACTIVATIONS[settings.activation]()
        self.message = message_of(settings)

    def forward(
        self, own: Tensor, rows: Tensor, sides: Sequence[Tensor | None], offsets: Tensor, num_visible: Tensor
    ) -> Tensor:
        """Messages [num_dst, channels].

        Args:
            own: [num_dst, channels] the rows that hear.
            rows: [num_src, channels] bridge rows, grouped by ``offsets``.
            sides: of each other link, the row [num_src, channels] that each bridge row leads to, 0 where it leads
                nowhere; None where none does.
            offsets, num_visible: of the bridge rows.
        """
        fused = self.bridge(rows)
        for dense, side in zip(self.sides, sides, strict=True):
            fused = fused if side is None else fused + dense(side)
        message: Tensor = self.message(own, self.activation(fused), offsets, num_visible)
        return message


def message_of(settings: ModelSettings) -> LinkMessage | AttentionMessage:
    """The message along an edge type where a row may have many neighbours."""
    if settings.messages == "attention":
        return AttentionMessage(settings.channels, settings.heads)
    return LinkMessage(settings.channels, settings.aggregations)


def _counts(offsets: Tensor, num_visible: Tensor) -> Tensor:
    """[num_dst, COUNT_WIDTH] how many neighbours are read and could be seen, as logarithms."""
    return torch.log1p(torch.stack([offsets.diff().float(), num_visible], dim=1))
