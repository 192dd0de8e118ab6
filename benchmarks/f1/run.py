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
    """Our metric and the measured baselines' with spread over seeds, then the quoted ones."""
    metric = main_metric(TaskKind(infos[0].kind))
    print(f"\n{name}: test {metric}, {len(infos)} seeds, {cpu_s:.0f} CPU-s each with baselines")
    for split in ("validation", "test"):
        values = np.array([info.metrics[split][metric].value for info in infos])
        print(f"  {'Kincast graph network, ' + split:55} {values.mean():.3f} ± {values.std():.3f}")
    for baseline in infos[0].baselines:
        values = np.array([info.baselines[baseline]["test"][metric].value for info in infos])
        print(f"  {baseline:55} {values.mean():.3f} ± {values.std():.3f}")
    for source, figures in task.published.items():
        print(f"  {source + ' (quoted)':55} {figures.get(metric, '')}")


if __name__ == "__main__":
    main()
