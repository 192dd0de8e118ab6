"""Past: past values of a forecast's target as inputs: their trend goes straight on, the rest through the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kincast.model.dense import ACTIVATIONS
from kincast.model.objective import Objective

NEAREST = 4  # lags whose mean the trend starts as


class PastEncoder(nn.Module):
    """Past values to a vector that is added to the seed's, and to a line through them that is added to the steps.

    The line is the linear forecast of Zeng et al. 2023, "Are transformers effective for time series forecasting?"; it
    starts as the mean of the newest lags, so that training starts from a sensible forecast.

    Args:
        objective: scales the values as it scales the target.
        lags: the newest value first.
        last_year: further values, of the steps a year earlier.
        channels: width of the vector.
        activation: of the hidden layer.
    """

    def __init__(
        self, objective: Objective, lags: int, last_year: int, channels: int, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.objective, self.num_lags = objective, lags
        width = lags + last_year
        self.dense = nn.Sequential(
            nn.Linear(2 * width + 2, channels), ACTIVATIONS[activation](), nn.Linear(channels, channels)
        )
        self.line = nn.Linear(width, objective.num_outputs // objective.width, bias=False)
        with torch.no_grad():
            self.line.weight.zero_()
            self.line.weight[:, : min(NEAREST, lags)] = 1 / max(1, min(NEAREST, lags))

    def forward(self, past: Tensor) -> Tensor:
        """Vectors [n, channels] of past values [n, lags + last_year], NaN where one is not known."""
        values, missing = self._scaled(past)
        share = missing.mean(dim=1, keepdim=True)
        spread = values.std(dim=1, keepdim=True, correction=0)
        vectors: Tensor = self.dense(torch.cat([values, missing, share, spread], dim=1))
        return vectors

    def trend(self, past: Tensor) -> Tensor:
        """[n, num_outputs] what the line adds: to each step's value, not to its spread."""
        values, _ = self._scaled(past)
        steps = self.line(values)  # [n, steps]
        width = self.objective.width
        if self.objective.loss_name == "multi_quantile" or width == 1:
            return torch.repeat_interleave(steps, width, dim=1)
        return torch.stack([steps, torch.zeros_like(steps)], dim=2).flatten(1)

    def _scaled(self, past: Tensor) -> tuple[Tensor, Tensor]:
        """Values on the scale of the outputs, 0 where missing, and 1 where missing."""
        missing = torch.isnan(past)
        values = torch.where(missing, 0.0, past)
        if self.objective.transform == "log":
            values = values.sign() * values.abs().log1p()
        values = (values - self.objective.center) / self.objective.scale
        # A missing value is taken to be the mean of the known ones.
        count = (~missing).sum(dim=1, keepdim=True)
        mean = torch.where(missing, 0.0, values).sum(dim=1, keepdim=True) / count.clamp(min=1)
        return torch.where(missing, mean, values), missing.float()
