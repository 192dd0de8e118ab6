"""Encode: the columns of a row to one vector: numbers, categories, and its age at the seed's instant."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from kincast.feature.spec import TableSpec
from kincast.model.column import ColumnInputs
from kincast.model.dense import ACTIVATIONS
from kincast.model.fused import add_rows, join_ages, norm_relu
from kincast.model.inputs import TableInputs

# Days over which a fact may fade: an hour to five years.
_FADE_DAYS = (1 / 24, 0.25, 1.0, 3.0, 7.0, 30.0, 90.0, 365.25, 1826.25)
_SCALES = np.array(_FADE_DAYS, np.float32)
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


def with_ages(numeric: Tensor, ages: Tensor) -> Tensor:
    """Numbers [n, width] and, beside them, the features of ages [n, k]."""
    if numeric.device.type != "cpu" or numeric.requires_grad or ages.requires_grad:
        return torch.cat([numeric, age_features(ages)], dim=1)
    joined = numeric.new_empty(len(ages), numeric.shape[1] + ages.shape[1] * AGE_WIDTH)
    join_ages(numeric.numpy(), ages.numpy(), _SCALES, joined.numpy())
    return joined


class TableEncoder(nn.Module):
    """Rows of one table to vectors [n, channels].

    Args:
        spec: the table's inputs.
        channels: width of the result.
        activation: of the vectors.
        dropout: share of the numbers dropped while training.
    """

    def __init__(self, spec: TableSpec, channels: int, activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        self.channels, self.timed = channels, spec.calendar
        self.num_ages = 1 + len(spec.instants)
        self.dense = nn.Linear(spec.numeric_width + self.num_ages * AGE_WIDTH, channels)
        sizes = [part.num_codes for part in spec.categorical]
        starts = torch.tensor([sum(sizes[:i]) for i in range(len(sizes))], dtype=torch.int64)
        self.register_buffer("starts", starts, persistent=False)
        self.categories = nn.Embedding(sum(sizes), channels) if sizes else None
        if self.categories is not None:
            nn.init.normal_(self.categories.weight, std=0.3)
        self.norm = nn.LayerNorm(channels)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: TableInputs) -> Tensor:
        """Vectors [n, channels]."""
        hidden = self.mix(inputs) if inputs.mixed is None else inputs.mixed
        if isinstance(self.activation, nn.ReLU):
            return norm_relu(hidden, self.norm)
        vectors: Tensor = self.activation(self.norm(hidden))
        return vectors

    def mix(self, inputs: TableInputs) -> Tensor:
        """The sum [n, channels] of what each column adds, and of a constant."""
        hidden: Tensor = self.dense(with_ages(self.dropout(inputs.numeric), inputs.ages))
        if self.categories is not None:
            hidden = add_rows(hidden, inputs.codes, self.get_buffer("starts"), self.categories.weight)
        return hidden

    def constant(self) -> Tensor:
        """[channels] of the sum that no column adds: of a timeless table that its rows have no age, too."""
        if self.timed:
            return self.dense.bias
        unknown = age_features(torch.full((1, 1), torch.nan))[0]
        start = self.dense.in_features - self.num_ages * AGE_WIDTH
        return self.dense.bias + self.dense.weight[:, start : start + AGE_WIDTH] @ unknown

    def part(self, inputs: TableInputs, column: ColumnInputs) -> Tensor:
        """What one column adds to the sum: [n, channels]."""
        weight = self.dense.weight
        total = weight.new_zeros(len(inputs.ages), weight.shape[0])
        for place in column.numbers:
            total = total + inputs.numeric[:, place] @ weight[:, place].T
        for age in column.ages:
            start = inputs.numeric.shape[1] + age * AGE_WIDTH
            total = total + age_features(inputs.ages[:, age : age + 1]) @ weight[:, start : start + AGE_WIDTH].T
        if self.categories is not None:
            for code in column.codes:
                total = total + self.categories.weight[inputs.codes[:, code] + self.get_buffer("starts")[code]]
        return total
