"""One of several processes that train the planted task together, started by ``multiprocessing``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from kincast.graph.open import open_snapshot
from kincast.project import Project
from kincast.train.group import Together
from kincast.train.loop import Fit
from kincast.train.prepare import prepare
from kincast.train.run import fit_network


def digest(fit: Fit) -> str:
    """Of the weights."""
    return hashlib.sha256(b"".join(fit.weights[name].numpy().tobytes() for name in sorted(fit.weights))).hexdigest()


def train(rank: int, size: int, folder: Path, project: Project, said: Any) -> None:
    """Train, and say which weights were found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=size)
    snapshot = open_snapshot(project.snapshots)
    prepared = prepare(project, "buys", snapshot)
    fit = fit_network(prepared, project.tasks["buys"], snapshot, folder / "run", group=Together())
    said.put((rank, digest(fit), len(fit.epochs)))
    dist.destroy_process_group()
