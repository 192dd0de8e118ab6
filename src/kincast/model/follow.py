"""Follow: what a row hears along a foreign key: from one row or none, so that there is nothing to combine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kincast.model.fused import spread
from kincast.model.inputs import EdgeInputs


class KeyMessage(nn.Module):
    """The vector of the row that a foreign key names, through a dense layer; zeros where it names none.

    Args:
        channels: width of the vectors.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, channels, bias=False)

    def forward(self, hidden: Tensor, edge: EdgeInputs) -> Tensor:
        """Messages [num_dst, channels] from local rows ``hidden`` [n, channels] of the table that is named.

        Each row is transformed once, however many name it.
        """
        counts = edge.offsets.diff()
        whole = int(edge.offsets[-1]) == edge.num_dst  # every row names one
        if edge.src is not None and len(hidden) < edge.num_dst:
            sent: Tensor = self.dense(hidden)
            if whole:
                return spread(sent, edge.src)
            index = torch.full((edge.num_dst,), -1, dtype=torch.int64)
            index[counts > 0] = edge.src
            return spread(sent, index)
        sent = self.dense(edge.neighbours(hidden))
        return sent if whole else spread(sent, torch.where(counts > 0, edge.offsets[:-1], -1))
