"""The three rel-f1 tasks in both regimes, several seeds: our test metrics beside LightGBM's and the published ones.

python benchmarks/f1/run.py [--tasks dnf-frozen,top3-frozen] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from kincast.card import read_card
from kincast.graph.build import build_snapshot
from kincast.project import Project, TaskSettings, read_project
from kincast.query.task import TaskKind
from kincast.registry.version import VersionInfo
from kincast.source.open import open_source
from kincast.train.metric import main_metric
from kincast.train.run import train_task

HERE = Path(__file__).parent


def main() -> None:
    """Train every task with every seed and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="", help="comma-separated; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    project = read_project(HERE)
    source = open_source(project.source, HERE)
    snapshot = build_snapshot(source, read_card(project.card_path), project.snapshots)
    for name in arguments.tasks.split(",") if arguments.tasks else project.tasks:
        infos = []
        started = time.process_time()
        for seed in range(arguments.seeds):
            seeded = with_seed(project, name, seed)
            infos.append(train_task(seeded, name, snapshot=snapshot).info)
        print_task(name, infos, (time.process_time() - started) / arguments.seeds, project.tasks[name])


def with_seed(project: Project, name: str, seed: int) -> Project:
    """The project with another seed for one task."""
    task = project.tasks[name]
    train = task.train.model_copy(update={"seed": seed})
    return project.model_copy(update={"tasks": {name: task.model_copy(update={"train": train})}})


def print_task(name: str, infos: list[VersionInfo], cpu_s: float, task: TaskSettings) -> None:
    """One Markdown table: ours and the measured baselines with their spread over seeds, then the quoted figures."""
    metric = main_metric(TaskKind(infos[0].kind))
    print(f"\n### {name}: {metric} on the test period\n")
    print(f"{len(infos)} seeds, {cpu_s:.0f} CPU-s each, baselines included.\n")
    print(f"| method | {metric} | |\n|---|---|---|")
    for split in ("test", "validation"):
        print(
            f"| Kincast{', validation period' if split != 'test' else ''} "
            f"| {spread([info.metrics[split][metric].value for info in infos])} | measured |"
        )
    for baseline in infos[0].baselines:
        print(
            f"| {baseline} | {spread([info.baselines[baseline]['test'][metric].value for info in infos])} | measured |"
        )
    for source, figures in task.published.items():
        print(f"| {source} | {figures.get(metric, '')} | quoted |", flush=True)


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


if __name__ == "__main__":
    main()
