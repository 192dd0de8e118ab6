"""Encode: the columns of a row to one vector: numbers, categories, and its age at the seed's instant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kincast.feature.spec import TableSpec
from kincast.model.inputs import TableInputs

# Days over which a fact may fade: an hour to five years.
_FADE_DAYS = (1 / 24, 0.25, 1.0, 3.0, 7.0, 30.0, 90.0, 365.25, 1826.25)
AGE_WIDTH = len(_FADE_DAYS) + 3


def age_features(ages: Tensor) -> Tensor:
    """Ages in days [n, k] to [n, k * AGE_WIDTH]: exp(-|age| / scale) per scale, log age, its sign, missing."""
    missing = torch.isnan(ages)
    known = torch.where(missing, 0.0, ages)
    scales = torch.tensor(_FADE_DAYS, device=ages.device)
    faded = torch.exp(-known.abs().unsqueeze(-1) / scales)  # [n, k, scales]
    rest = torch.stack([torch.log1p(known.abs()) / 4.0, (known < 0).float(), missing.float()], dim=-1)
    present = (~missing).float().unsqueeze(-1)
    return torch.cat([faded * present, rest], dim=-1).flatten(1)


class TableEncoder(nn.Module):
    """Rows of one table to vectors [n, channels].

    Args:
        spec: the table's inputs.
        channels: width of the result.
        dropout: share of the numbers dropped while training.
    """

    def __init__(self, spec: TableSpec, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        ages = (1 + len(spec.instants)) * AGE_WIDTH
        self.dense = nn.Linear(spec.numeric_width + ages, channels)
        sizes = [part.num_codes for part in spec.categorical]
        starts = torch.tensor([sum(sizes[:i]) for i in range(len(sizes))], dtype=torch.int64)
        self.register_buffer("starts", starts, persistent=False)
        self.categories = nn.Embedding(sum(sizes), channels) if sizes else None
        if self.categories is not None:
            nn.init.normal_(self.categories.weight, std=0.3)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: TableInputs) -> Tensor:
        """Vectors [n, channels]."""
        hidden: Tensor = self.dense(torch.cat([self.dropout(inputs.numeric), age_features(inputs.ages)], dim=1))
        if self.categories is not None:
            starts = self.get_buffer("starts")
            hidden = hidden + nn.functional.embedding_bag(inputs.codes + starts, self.categories.weight, mode="sum")
        vectors: Tensor = torch.relu(self.norm(hidden))
        return vectors
