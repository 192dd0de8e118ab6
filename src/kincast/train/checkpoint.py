"""Checkpoint: everything needed to go on after a kill, in one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from kincast.atomic import replace_bytes

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of a run.

    Attributes:
        tensors: weights, best weights and optimiser moments by prefixed name.
        state: where the run stands, as plain JSON values.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint; a kill at any moment leaves the old one or the new one.

    Raises:
        StorageError: the disk refused.
    """
    data = safetensors.torch.save(checkpoint.tensors, {"state": json.dumps(checkpoint.state)})
    replace_bytes(folder / CHECKPOINT_FILE, data)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The folder's checkpoint; None when there is none or it cannot be read, so that the run starts afresh."""
    path = folder / CHECKPOINT_FILE
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Checkpoint(tensors, json.loads(file.metadata()["state"]))
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError):
        return None


def remove_checkpoint(folder: Path) -> None:
    """Forget the folder's checkpoint."""
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def optimizer_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step of every weight as ``optimizer/<weight>/<name>``."""
    return {
        f"optimizer/{name}/{key}": torch.as_tensor(value).clone()
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(network: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` took."""
    parameters = dict(network.named_parameters())
    for place, tensor in tensors.items():
        if place.startswith("optimizer/"):
            _, name, key = place.split("/")
            optimizer.state[parameters[name]][key] = tensor
