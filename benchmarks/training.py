"""Training: seeds per second end to end, how long the trainer waits for batches, and query to first model.

Users ← events → items as benchmarks/snapshot.py makes them: 200 K users, 20 K items, 4 M events. The task is whether a
user has no event in the next 30 days; fanout [16, 8], 64 channels, steps of 512 seeds. A step is everything: sampling,
gathering, forward, backward, optimiser. Query to first model is a fresh process that has the snapshot: imports, labels,
encoding of the features, one epoch, the validation metric; baselines and the comparison with them come after it.

    python benchmarks/training.py
    python benchmarks/training.py --profile          # where the time of the trainer's thread goes
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()
QUERY = "PREDICT COUNT(events.*, 0, 30, days) = 0 FOR EACH users.user_id"
SPLIT = {"validation_start": "2024-10-01", "test_start": "2024-11-15", "num_windows": 4}
QUOTED = {
    "kumo-engine 1.0.0, same workload, two idle cores, another day": "9.0 K seeds/s; 35 s from query to first model"
}


def make_project(folder: Path, steps: int, threads: int | None) -> Any:
    """The project over the data of that folder."""
    from kincast.project import Project, TaskSettings

    train = {"max_epochs": 1, "max_steps_per_epoch": steps, "batch_size": 512, "num_threads": threads}
    model = {"channels": 64, "fanout": [16, 8]}
    task = TaskSettings.model_validate({"query": QUERY, "split": SPLIT, "train": train, "model": model})
    return Project(folder=folder, source=str(folder / "data"), tasks={"idle": task})
