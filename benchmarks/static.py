"""Static: what the benchmarks of static graphs, graph-level and edge-level tasks share: a project, seeds, a table."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from kincast.card import read_card
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.project import Project, read_project
from kincast.source.open import open_source
from kincast.train.prepare import Prepared, examples, new_loader, new_network, prepare, settled
from kincast.train.run import fit_network, train_task

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Result:
    """What one training of a task gave.

    Attributes:
        validation, test: the metric that decides.
        epoch: the best by validation.
        baselines: name → the metric on the test rows; empty where they were not run.
    """

    validation: float
    test: float
    epoch: int
    baselines: dict[str, float] = field(default_factory=dict)


def make_project(folder: Path, tables: dict[str, pa.Table], card: str, settings: dict[str, Any]) -> Project:
    """Write tables as Parquet, the schema card and ``kincast.yaml`` into a folder, and read the project."""
    (folder / "data").mkdir(parents=True)
    for name, table in tables.items():
        pq.write_table(table, folder / "data" / f"{name}.parquet")
    (folder / "schema.yaml").write_text(card, encoding="utf-8")
    (folder / "kincast.yaml").write_text(yaml.safe_dump({"source": "data", **settings}), encoding="utf-8")
    return read_project(folder)


def snapshot_of(project: Project) -> Snapshot:
    """The snapshot of a project, built."""
    return build_snapshot(open_source(project.source, project.folder), read_card(project.card_path), project.snapshots)


def run_seeds(project: Project, name: str, snapshot: Snapshot, num_seeds: int) -> list[Result]:
    """Train a task with several seeds, the first as ``kincast train`` does it, the others without the baselines."""
    results = []
    for seed in range(num_seeds):
        task = project.tasks[name]
        train = task.train.model_copy(update={"seed": seed})
        seeded = project.model_copy(update={"tasks": {name: task.model_copy(update={"train": train})}})
        if seed == 0:
            info = train_task(seeded, name, snapshot=snapshot).info
            metric = info.decides[0]
            rivals = {rival: splits["test"][metric].value for rival, splits in info.baselines.items()}
            values = (info.metrics[split][metric].value for split in ("validation", "test"))
            results.append(Result(*values, info.best_epoch, rivals))
            prepared = prepare(seeded, name, snapshot)
        else:
            results.append(_fit(seeded, name, snapshot, prepared))
        shown = f"{name}: seed {seed}, validation {results[-1].validation:.4f}, test {results[-1].test:.4f}"
        print(shown, file=sys.stderr, flush=True)
    return results


def _fit(project: Project, name: str, snapshot: Snapshot, prepared: Prepared) -> Result:
    settings = settled(project.tasks[name], snapshot, prepared)
    project = project.model_copy(update={"tasks": {name: settings}})
    fit = fit_network(project, name, snapshot, prepared)
    network = new_network(snapshot, prepared, settings)
    network.load_state_dict(fit.weights)
    values = []
    for split in (1, 2):
        part = examples(prepared.labels.of(split))
        scores, _ = new_loader(snapshot, prepared, settings, split).score(network, prepared.objective, part.seeds)
        values.append(prepared.judge.value(part.target, scores))
    return Result(values[0], values[1], fit.best_epoch)


def spread(values: list[float], scale: float = 100.0) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values) * scale:.1f} ± {np.std(values) * scale:.1f}"


def print_results(title: str, results: list[Result], published: dict[str, str], started: float) -> None:
    """One Markdown table: ours, the baselines measured on the same rows, and figures of others."""
    print(f"\n### {title}\n")
    print(f"{len(results)} trainings, {(time.perf_counter() - started) / len(results):.0f} s each.\n")
    print("| method | test | validation | |\n|---|---|---|---|")
    test, validation = ([getattr(result, split) for result in results] for split in ("test", "validation"))
    print(f"| Kincast graph network | {spread(test)} | {spread(validation)} | measured |")
    rivals = [result.baselines for result in results if result.baselines]
    for name in rivals[0] if rivals else ():
        print(f"| {name} | {spread([own[name] for own in rivals])} | | measured |")
    for name, value in published.items():
        print(f"| {name} | {value} | | quoted |")
    print(f"\nBest epochs: {', '.join(str(result.epoch) for result in results)}.", flush=True)
