"""Whether reasons are faithful on real data, and what they cost: deletion curves, and time of a processor.

python benchmarks/why.py [--rows 60] [--seeds 3] [--tasks top3-rolling,churn]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kincast.card import read_card
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.predict.deletion import SHARES, Curves, deletion_curves
from kincast.predict.online import Predictor
from kincast.predict.why import explain, reasons
from kincast.project import Project, read_project
from kincast.query.labels import Labels, task_labels
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.train.run import train_task

HERE = Path(__file__).parent
SHOP = HERE.parent / "examples" / "shop"


def main() -> None:
    """Train each task with each seed, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60, help="of the test period")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default="top3-rolling,churn")
    given = parser.parse_args()
    for name, project, snapshot in projects(given.tasks.split(",")):
        print(f"\n### {name}\n", flush=True)
        for seed in range(given.seeds):
            measure(project, name, snapshot, seed, given.rows)


def projects(names: list[str]) -> Iterator[tuple[str, Project, Snapshot]]:
    """The tasks with their snapshots."""
    for folder in (HERE / "f1", SHOP):
        project = read_project(folder)
        for name in [name for name in names if name in project.tasks]:
            with tempfile.TemporaryDirectory() as work:
                source = open_source(str(folder) if folder == SHOP else project.source, folder)
                schema = read_card(project.card_path) if project.card_path.exists() else infer_schema(source).schema
                own = project.model_copy(update={"folder": Path(work)})
                yield name, own, build_snapshot(source, schema, own.snapshots)


def measure(project: Project, name: str, snapshot: Snapshot, seed: int, num_rows: int) -> None:
    """One line of figures for one seed."""
    task = project.tasks[name]
    train = task.train.model_copy(update={"seed": seed})
    seeded = project.model_copy(update={"tasks": {name: task.model_copy(update={"train": train})}})
    version = train_task(seeded, name, snapshot=snapshot)
    predictor = Predictor.load(version, snapshot, project.work / "features")
    with snapshot.open_tables() as tables:
        test: Labels = task_labels(predictor.task, tables, task.split, None).of(2)
    chosen = np.unique(np.linspace(0, len(test) - 1, num_rows).astype(np.int64))
    seeds = predictor.seeds_of(test.rows[chosen], test.as_of_us[chosen])
    loader = predictor.loader_of(seeds)
    scored, _ = loader.score(predictor.network, predictor.objective, seeds)
    asked = predictor.meant_by(scored)
    curves = deletion_curves(predictor.explainer, loader, seeds, asked.aims, seed)
    told, times = [], []  # in time of the processor, which others on the machine do not change much
    for place in range(min(len(seeds), 20)):
        one = np.array([place])
        start = time.process_time()
        told += explain(predictor.explainer, loader, seeds.take(one), asked, 5)
        times.append(1000 * (time.process_time() - start))
    start = time.process_time()
    done = len(list(reasons(predictor.explainer, loader, seeds, asked, 3)))
    speed = done / (time.process_time() - start)
    start = time.process_time()
    loader.score(predictor.network, predictor.objective, seeds)
    plain = len(seeds) / (time.process_time() - start)
    show(seed, curves)
    off = [abs(one.missed) / max(abs(one.score - one.average), 1e-3) for one in told]
    rows = np.array([one.num_rows for one in told])
    print(
        f"  an explanation: median {np.median(times):,.0f} CPU-ms, 9 of 10 under {np.quantile(times, 0.9):,.0f} "
        f"(median {np.median(rows):,.0f} different rows read); amounts miss what they add up to by "
        f"{np.median(off):.1%} in the median"
    )
    print(f"  --why 3: {speed:,.0f} rows a CPU-second; without reasons {plain:,.0f}", flush=True)


def show(seed: int, curves: Curves) -> None:
    """The curves and the areas between them, with 95 % intervals over rows."""
    print(
        f"seed {seed}, {len(curves.scores['random'])} rows, mean score after taking out a share of the linked rows:\n"
    )
    print("| taken out by | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | lead over chance |")
    print("|---" * (len(SHARES) + 2) + "|")
    for order, scores in curves.scores.items():
        lead = curves.lead(order)
        half = 1.96 * lead.std() / max(len(lead), 1) ** 0.5
        cells = " | ".join(f"{value:.3f}" for value in scores.mean(axis=0))
        print(f"| {order} | {cells} | {lead.mean():+.3f} ± {half:.3f} |")
    print()


if __name__ == "__main__":
    main()
