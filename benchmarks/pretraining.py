"""Pretraining: a network trained from scratch against one pre-trained without labels, on few labels and on all.

Churn and spend in the demo's shop, and two Formula 1 tasks (rolling). For each number of labels the same rows are drawn
for both, by the seed, and both have the same plan, but that the head of what is fine-tuned learns alone for the first
epochs; ``FEW`` and ``FROZEN`` were chosen on churn's validation period. Both stop by the validation period, whole as it
is, and are measured on the test period. The network alone: no trees, no calibration. Pre-training ends where the
validation period begins.

    python benchmarks/pretraining.py
    python benchmarks/pretraining.py --tasks churn --seeds 1
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from benchmarks.quality import HERE, SHOP, opened

from kincast.clock import Span
from kincast.graph.snapshot import Snapshot
from kincast.model.threads import limit_threads
from kincast.project import Project, TaskSettings
from kincast.query.labels import Labels
from kincast.query.task import TaskKind
from kincast.registry.pretrained import Pretrained
from kincast.train.compare import target_of_split
from kincast.train.prepare import Prepared, examples, new_loader, new_network, objective_of, prepare, settled
from kincast.train.pretrain import pretrain_task
from kincast.train.run import fit_network

TASKS = {"churn": SHOP, "spend": SHOP, "dnf-rolling": HERE / "f1", "top3-rolling": HERE / "f1"}
SMALLER: dict[Path, dict[str, dict[str, object]]] = {
    SHOP: {},
    HERE / "f1": {"model": {"fanout": (16, 8)}, "pretrain": {"step": Span(30, "days"), "max_epochs": 4}},
}
"""What is changed in the tasks of a project, for both, so that it takes minutes."""
SIZES = (50, 100, 200, 500, 0)  # labels; 0 for all
FEW = {"batch_size": 32, "max_epochs": 30, "patience": 8}
"""The plan for few labels; all of them have the task's own."""
FROZEN = 3


def few(prepared: Prepared, settings: TaskSettings, number: int, seed: int) -> Prepared:
    """The same with so many training labels, and an objective fitted on them; of classes, there are at least two."""
    labels = prepared.labels
    train = np.flatnonzero(labels.split == 0)
    if not number or number >= len(train):
        return prepared
    random = np.random.default_rng(seed)
    chosen = random.choice(train, number, replace=False)
    while labels.kind is not TaskKind.REGRESSION and np.ptp(labels.target[chosen]) == 0:
        chosen = random.choice(train, number, replace=False)
    kept = labels.split != 0
    kept[chosen] = True
    labels = labels.where(kept)
    return replace(prepared, labels=labels, objective=objective_of(labels.of(0), {}, settings)[0])


def fitted(
    prepared: Prepared, settings: TaskSettings, snapshot: Snapshot, number: int, seed: int, **train: int
) -> float:
    """The metric that decides, on the test period, after one training."""
    plan = settings.train.model_copy(update={"seed": seed, "blend": False, **(FEW if number else {}), **train})
    settings = settings.model_copy(update={"train": plan})
    prepared = few(prepared, settings, number, seed)
    settings = settled(settings, snapshot, prepared)
    with tempfile.TemporaryDirectory() as folder:
        fit = fit_network(prepared, settings, snapshot, Path(folder))
    network = new_network(snapshot, prepared, settings)
    network.load_state_dict(fit.weights)
    loader = new_loader(snapshot, prepared, settings)
    scores, _ = loader.score(network, prepared.objective, examples(prepared.labels.of(2)).seeds)
    return prepared.judge.value(target_of_split(prepared, 2), scores)


def compare(project: Project, name: str, snapshot: Snapshot, options: argparse.Namespace) -> None:
    """Pre-train once, then train both ways with every number of labels and every seed."""
    _, settings = project.task(name)
    began = time.perf_counter()
    found = pretrain_task(project, name, snapshot=snapshot)
    print(f"\n{name}: {told(found)}, {time.perf_counter() - began:.0f} s", flush=True)
    plain = prepare(project, name, snapshot)
    train = settings.train.model_copy(update={"start_from": found.id})
    tasks = {**project.tasks, name: settings.model_copy(update={"train": train})}
    started = prepare(project.model_copy(update={"tasks": tasks}), name, snapshot)
    metric, labels = plain.judge.of_epochs, plain.labels
    print(f"  {sizes(labels)}; {metric} of the test period, mean and deviation of {options.seeds} seeds")
    arms: dict[str, tuple[Prepared, dict[str, int]]] = {
        "from scratch": (plain, {}),
        "fine-tuned": (started, {"freeze_body_epochs": FROZEN}),
    }
    for number in options.sizes:
        values = {
            arm: [fitted(prepared, settings, snapshot, number, seed, **more) for seed in range(options.seeds)]
            for arm, (prepared, more) in arms.items()
        }
        shown = "; ".join(f"{arm} {np.mean(own):.4f} ± {np.std(own):.4f}" for arm, own in values.items())
        gains = np.subtract(values["fine-tuned"], values["from scratch"])
        shown += f"; gain {gains.mean():+.4f} ({', '.join(f'{gain:+.4f}' for gain in gains)})"
        print(f"  {number or 'all':>5} labels: {shown}", flush=True)


def told(found: Pretrained) -> str:
    """What was pre-trained, in words."""
    best = max(found.epochs, key=lambda epoch: epoch["skill"])
    return f"pre-trained on {len(found.targets)} targets, skill {best['skill']:.3f} at the newest instants"


def sizes(labels: Labels) -> str:
    """How many labels each split has."""
    train, validation, test = (len(labels.of(split)) for split in range(3))
    return f"{train:,} training, {validation:,} validation and {test:,} test labels"


def main() -> None:
    """Print both for every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="training labels; 0 for all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    limit_threads()
    print(f"load {np.round(os.getloadavg(), 1).tolist()}, {torch.get_num_threads()} torch threads")
    for name in options.tasks.split(","):
        with opened(TASKS[name], 6) as (project, snapshot):
            task = project.tasks[name]
            changes = {
                block: getattr(task, block).model_copy(update=values) for block, values in SMALLER[TASKS[name]].items()
            }
            project = project.model_copy(update={"tasks": {name: task.model_copy(update=changes)}})
            compare(project, name, snapshot, options)
    print(f"load {np.round(os.getloadavg(), 1).tolist()}")


if __name__ == "__main__":
    main()
