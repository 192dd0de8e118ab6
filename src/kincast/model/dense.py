"""Dense: activations, and the dense layers before and after the messages."""

from __future__ import annotations

from torch import Tensor, nn

from kincast.project import ModelSettings

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
}


class DenseLayer(nn.Module):
    """Rows by themselves: ``norm(h + activation(W h))``.

    Args:
        settings: width, activation and dropout.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.dense = nn.Linear(settings.channels, settings.channels)
        self.activation = ACTIVATIONS[settings.activation]()
        self.dropout = nn.Dropout(settings.dropout)
        self.norm = nn.LayerNorm(settings.channels)

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors [n, channels] of rows [n, channels]."""
        vectors: Tensor = self.norm(rows + self.dropout(self.activation(self.dense(rows))))
        return vectors


def head(settings: ModelSettings, width: int) -> nn.Sequential:
    """``post_layers`` dense layers and one more, from vectors [n, channels] to outputs [n, width]."""
    layers: list[nn.Module] = []
    for _ in range(settings.post_layers):
        layers.append(nn.Linear(settings.channels, settings.channels))
        layers += [ACTIVATIONS[settings.activation](), nn.Dropout(settings.dropout)]
    layers = layers or [nn.Dropout(settings.dropout)]
    return nn.Sequential(*layers, nn.Linear(settings.channels, width))
