"""Train in children that kill themselves at given steps, going on each time; write the steps taken and a hash.

    python -m tests.train.killed FOLDER STEP ...

Each child is forked before anything but imports was done. Every step is checkpointed.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from tests.planted import make_planted

from kincast.train import loop
from kincast.train.loop import Trainer
from kincast.train.prepare import prepare
from kincast.train.run import fit_network


def train(folder: Path, kill_at: int | None) -> None:
    """Go on training; die before step ``kill_at`` of this child."""
    loop.SAVE_EVERY_S = 0.0
    torch.set_num_threads(1)
    steps, step = 0, Trainer._step

    def counted(self: Trainer, *arguments: Any) -> None:
        nonlocal steps
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        step(self, *arguments)

    Trainer._step = counted  # type: ignore[method-assign]
    for path in folder.glob("*.duckdb*"):  # made anew, with the same rows
        path.unlink()
    project, snapshot = make_planted(folder)
    prepared = prepare(project, "buys", snapshot)
    fit = fit_network(prepared, project.tasks["buys"], snapshot, folder / "run", resume=True)
    digest = hashlib.sha256(b"".join(fit.weights[name].numpy().tobytes() for name in sorted(fit.weights)))
    sys.stdout.write(f"{steps} {len(fit.epochs)} {digest.hexdigest()}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the children one after another; the last lives."""
    folder, kills = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    folder.mkdir(exist_ok=True)
    for kill_at in (*kills, None):
        child = os.fork()
        if child == 0:
            train(folder, kill_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != (0 if kill_at is None else -signal.SIGKILL):
            sys.exit(f"the child that was to die before step {kill_at} ended with {code}")


if __name__ == "__main__":
    main()
