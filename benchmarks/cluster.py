"""Cluster: one plan trained by one process and by the workers of a local Ray cluster: metric, weights and seconds.

Users ← events → items as benchmarks/snapshot.py makes them, the task and plan of benchmarks/training.py, cut short. The
weights are compared by their SHA-256. Seconds are those of all epochs, validation included, and of the whole fit, which
on the cluster holds the start of the workers; the start of the cluster itself is told apart. On one machine the workers
share its processors with each other, so this shows what it costs, not what a second machine brings.

    python benchmarks/cluster.py
    python benchmarks/cluster.py --events 400000 --steps 50 --workers 4
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from snapshot import make_data, make_schema
from training import QUERY, SPLIT

from kincast.graph.build import build_snapshot
from kincast.model.threads import limit_threads
from kincast.project import Project, TaskSettings
from kincast.source.open import open_source
from kincast.train.cluster import Cluster
from kincast.train.loop import Fit
from kincast.train.prepare import prepare
from kincast.train.run import fit_network


def main() -> None:
    """Train by one process, then by the workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    limit_threads()
    train = {"max_epochs": options.epochs, "max_steps_per_epoch": options.steps, "num_parts": max(2, options.workers)}
    plan = {"query": QUERY, "split": SPLIT, "train": train, "model": {"channels": 64, "fanout": [16, 8]}}
    task = TaskSettings.model_validate(plan)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder / "data", options.events, "none")
        project = Project(folder=folder, source=str(folder / "data"), tasks={"idle": task})
        snapshot = build_snapshot(open_source(project.source), make_schema(), project.snapshots)
        given = (prepare(project, "idle", snapshot), task, snapshot)
        began = time.perf_counter()
        one = fit_network(*given, folder / "one")
        show("one process", one, time.perf_counter() - began)
        began = time.perf_counter()
        with Cluster("local", options.workers) as cluster:
            print(f"the cluster stood after {time.perf_counter() - began:.1f} s", flush=True)
            began = time.perf_counter()
            many = cluster.fit(*given, folder / "many")
            show(f"{options.workers} workers", many, time.perf_counter() - began)
        print(f"the same weights: {'yes' if digest(one) == digest(many) else 'no'}")


def show(who: str, fit: Fit, seconds: float) -> None:
    """Print what training gave and took."""
    values: dict[str, Any] = dict(fit.epochs[fit.best_epoch - 1])
    of_epochs = sum(epoch["seconds"] for epoch in fit.epochs)
    told = {"by": who, **values, "of all epochs": round(of_epochs, 1), "of the fit": round(seconds, 1)}
    load = [round(value, 1) for value in os.getloadavg()]
    print(json.dumps({**told, "weights": digest(fit)[:16], "load": load}), flush=True)


def digest(fit: Fit) -> str:
    """Of the weights found."""
    return hashlib.sha256(b"".join(fit.weights[name].numpy().tobytes() for name in sorted(fit.weights))).hexdigest()


if __name__ == "__main__":
    main()
