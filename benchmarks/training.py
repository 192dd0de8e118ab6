"""Training: seeds per second end to end, how long the trainer waits for batches, and query to first model.

Users ← events → items as benchmarks/snapshot.py makes them: 200 K users, 20 K items, 4 M events. The task is whether a
user has no event in the next 30 days; fanout [16, 8], 64 channels, steps of 512 seeds. A step is everything: sampling,
gathering, forward, backward, clipping, optimiser. Query to first model is a fresh process that has the snapshot and the
machine code of the loops, but neither labels nor encoded features: imports, labels, features, one epoch, the validation
metric. Its epoch is shorter than that of the speed; both metrics are printed, to show that it is a model nevertheless.
Baselines and the comparison with them come after it and are not timed.

    python benchmarks/training.py
    python benchmarks/training.py --steps 100 --repeat 3
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # imports are part of what is timed

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

QUERY = "PREDICT COUNT(events.*, 0, 30, days) = 0 FOR EACH users.user_id"
SPLIT = {"validation_windows": 1, "test_windows": 1}
BATCH = 512
QUOTED = {"kumo-engine 1.0.0, two idle cores": "9.0 K seeds/s; about 35 s from query to first model"}


def first_model(folder: Path, steps: int) -> dict[str, Any]:
    """Train one epoch from the query, in a process of its own; seconds of each part and seeds per second."""
    from kincast.graph.open import open_snapshot
    from kincast.model.threads import limit_threads
    from kincast.project import Project, TaskSettings
    from kincast.train.prepare import examples, prepare, training_examples
    from kincast.train.run import new_trainer

    imported = time.perf_counter()
    limit_threads()
    train = {"max_epochs": 1, "max_steps_per_epoch": steps, "batch_size": BATCH}
    plan = {"query": QUERY, "split": SPLIT, "train": train, "model": {"channels": 64, "fanout": [16, 8]}}
    task = TaskSettings.model_validate(plan)
    project = Project(folder=folder, source=str(folder / "data"), tasks={"idle": task})
    snapshot = open_snapshot(project.snapshots)
    prepared = prepare(project, "idle", snapshot)
    trainer = new_trainer(snapshot, prepared, task, folder / "run")
    known, used = time.perf_counter(), time.process_time()
    spent = [0.0, 0.0]

    def progress(step: str, done: int, total: int | None) -> None:
        spent[:] = time.perf_counter() - known, time.process_time() - used

    fit = trainer.run(training_examples(prepared, task), examples(prepared.labels.of(1)), progress=progress)
    ended = time.perf_counter()
    (epoch,) = fit.epochs
    return {
        "imports_s": imported - BEGAN,
        "labels_and_features_s": known - imported,
        "epoch_s": spent[0],
        "epoch_cpu_s": spent[1],
        "validation_s": ended - known - spent[0],
        "first_model_s": ended - BEGAN,
        "first_model_cpu_s": time.process_time(),
        "seeds_per_s": steps * BATCH / spent[0],
        "seeds_per_cpu_s": steps * BATCH / spent[1],
        "idle": epoch["idle"],
        trainer.metric: epoch[trainer.metric],
    }


def main() -> None:
    """Make the data and the snapshot, then train in fresh processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--steps", type=int, default=400, help="of the epoch whose speed is measured")
    parser.add_argument("--first-steps", type=int, default=150, help="of the epoch that gives the first model")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; made anew and removed")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(first_model(options.child, options.steps)))
        return

    from snapshot import make_data, make_schema

    from kincast.graph.build import build_snapshot
    from kincast.source.open import open_source

    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make_data(folder / "data", options.events, "none")
        build_snapshot(open_source(str(folder / "data")), make_schema(), folder / ".kincast" / "snapshots")
        for number in range(options.repeat + 1):  # the first one compiles what is not compiled yet
            for steps in (options.steps, options.first_steps):
                command = [sys.executable, __file__, "--child", str(folder), "--steps", str(steps)]
                shutil.rmtree(folder / ".kincast" / "features", ignore_errors=True)
                shutil.rmtree(folder / ".kincast" / "runs", ignore_errors=True)
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found = {key: round(value, 4) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}
                load = [round(value, 1) for value in os.getloadavg()]
                run = {"run": number or "first, not counted", "steps": steps}
                print(json.dumps({**run, **found, "load": load}), flush=True)
    for what, figure in QUOTED.items():
        print(f"quoted, measured on another day: {what}: {figure}")


if __name__ == "__main__":
    main()
