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
    replace_bytes(folder / CHECKPOINT_FILE, packed(checkpoint))


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The folder's checkpoint; None when there is none or it cannot be read, so that the run starts afresh."""
    try:
        return unpacked((folder / CHECKPOINT_FILE).read_bytes())
    except OSError:
        return None


def packed(checkpoint: Checkpoint) -> bytes:
    """What is written of a checkpoint."""
    data: bytes = safetensors.torch.save(checkpoint.tensors, {"state": json.dumps(checkpoint.state)})
    return data


def unpacked(data: bytes) -> Checkpoint | None:
    """The checkpoint that was packed; None where the data are none."""
    try:
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return Checkpoint(safetensors.torch.load(data), json.loads(head["__metadata__"]["state"]))
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError):
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
