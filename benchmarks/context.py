"""Answers without training: the test periods of any projects' tasks, answered in context, beside the simplest rules.

    python benchmarks/context.py                                     Formula 1
    python benchmarks/context.py benchmarks/f1 benchmarks/sets/*     any projects, a table for each
    python benchmarks/context.py benchmarks/f1/kincast.yaml --tasks top3-rolling --seeds 1 --trained

A seed is a draw of the context and of the learner. One context, of labels known before the test period, serves all of a
test period, as one trained model does. With ``--trained`` a model of each task is trained too, with as many seeds, for
the column of what training would have given. Kinds of task that are not answered in context are named and left out.
CPU-seconds are of one seed, the labels of all periods and the judging included.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kincast.context.evaluate import IN_CONTEXT, Judged, evaluate
from kincast.context.infer import RULES
from kincast.context.place import snapshot_of
from kincast.errors import ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.project import PROJECT_FILE, Project, read_project
from kincast.train.run import train_task

F1 = Path(__file__).parent / "f1"
COLUMNS = ("task", "metric", "in context", "held-out estimate", "constant", "entity mean", "labels", "CPU-s")


def main() -> None:
    """Print a table for each project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="*", type=Path, metavar="PROJECT", help="kincast.yaml or its folder; F1")
    parser.add_argument("--tasks", default="", help="comma-separated; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--context", type=int, default=10_000, help="labels to learn from, at most")
    parser.add_argument("--learner", help="package.module:Class in the form of scikit-learn's")
    parser.add_argument("--trained", action="store_true", help="train each task too")
    given = parser.parse_args()
    wanted = set(filter(None, given.tasks.split(",")))
    for path in given.projects or [F1]:
        folder = (path.parent if path.name == PROJECT_FILE else path).resolve()
        project = read_project(folder)
        snapshot = built(project)
        head = (*COLUMNS, "trained") if given.trained else COLUMNS
        print(f"\n### {folder.name}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
        for name in project.tasks:
            if wanted and name not in wanted:
                continue
            try:
                cells = answered(project, name, snapshot, given)
            except ProjectError as error:
                print(f"{name} is left out: {error.what}", file=sys.stderr)
                continue
            if given.trained:
                cells.append(trained(project, name, snapshot, given.seeds))
            print(f"| {' | '.join(cells)} |", flush=True)


def built(project: Project) -> Snapshot:
    """The snapshot of a project; its tables are made first where it says how."""
    tables = project.folder / "tables.py"
    if tables.exists() and not project.snapshots.is_dir():
        runpy.run_path(str(tables), run_name="__main__")
    return snapshot_of(project)


def answered(project: Project, name: str, snapshot: Snapshot, given: argparse.Namespace) -> list[str]:
    """The cells of a task: figures of every seed, mean and standard deviation."""
    found: list[Judged] = []
    start = time.process_time()
    for seed in range(given.seeds):
        options = {"max_rows": given.context, "learner": given.learner, "seed": seed}
        found.append(evaluate(project, name, snapshot, **options))
    seconds = (time.process_time() - start) / given.seeds
    metric = found[0].found.metric
    rules = next(names for names in RULES.values() if set(names) <= set(found[0].metrics))
    ours, *theirs = ([one.metrics[method][metric].value for one in found] for method in (IN_CONTEXT, *rules))
    told = [one.found.held_out.get(one.found.method) for one in found]
    estimates = [np.nan if estimate is None else estimate.value for estimate in told]
    by_rule = sum(one.found.method in rules for one in found)
    said = spread(ours) + (f" (by a rule {by_rule} times)" if by_rule else "")
    labels = f"{found[0].found.num_rows:,}"
    return [name, metric, said, spread(estimates), *map(spread, theirs), labels, f"{seconds:.0f}"]


def trained(project: Project, name: str, snapshot: Snapshot, seeds: int) -> str:
    """The same metric of trained models."""
    values = []
    for seed in range(seeds):
        task = project.tasks[name]
        train = task.train.model_copy(update={"seed": seed})
        seeded = project.model_copy(update={"tasks": {name: task.model_copy(update={"train": train})}})
        info = train_task(seeded, name, snapshot=snapshot).info
        values.append(info.metrics["test"][info.decides[0]].value)
    return spread(values)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    digits = 1 if np.nanmax(np.abs(values)) >= 100 else 3
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


if __name__ == "__main__":
    main()
