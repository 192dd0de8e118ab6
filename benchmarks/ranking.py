"""Ranked lists: the films that somebody goes on to rate, and the products that a customer buys next.

    python benchmarks/ranking.py [--tasks films,shop] [--seeds 3]

Kincast's network beside rankers whose settings are chosen on the validation rows, all on the same test rows and
instants, each reading all that had happened by them: popularity, what one had before (shop), item-kNN, matrix
factorisation. Nobody is recommended a film that they have rated. Everything is chosen on the validation period.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ranked_data import PROJECTS
from rankers import Lists, Rule, factorisation, item_neighbours, named, popularity, repeat
from tasks import snapshot_of

from kincast.graph.snapshot import Snapshot
from kincast.model.ranked import Ranked
from kincast.project import Project
from kincast.registry.version import Metrics
from kincast.train.prepare import Prepared, examples, new_loader, prepare
from kincast.train.run import train_task

METRICS = ("map@10", "ndcg@10", "recall@10", "recall@100", "hit_rate@10", "coverage@10")
DECIDES = METRICS[0]


@dataclass(slots=True)
class Row:
    """What a contender reached.

    Attributes:
        chosen: its settings.
        test, validation: metric → value of each seed.
    """

    chosen: str = ""
    test: dict[str, list[float]] = field(default_factory=dict)
    validation: list[float] = field(default_factory=list)


def main() -> None:
    """Train, choose, and print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(PROJECTS))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for name in given.tasks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            project = PROJECTS[name](Path(folder) / name)
            snapshot, started = snapshot_of(project), time.process_time()
            prepared = prepare(project, name, snapshot)
            rows = {"Kincast": Row()}
            for seed in range(given.seeds):
                trained(rows, project, name, snapshot, seed)
            ours = time.process_time() - started
            rivals(rows, project, name, snapshot, prepared, given.seeds)
            print_table(name, rows, prepared)
            print(f"\n{given.seeds} trainings, {ours / given.seeds:.0f} CPU-s each, rules included.", flush=True)


def trained(rows: dict[str, Row], project: Project, name: str, snapshot: Snapshot, seed: int) -> None:
    """Train with a seed, as ``kincast train`` does it, and add what it and its own baselines reached."""
    task = project.tasks[name]
    train = task.train.model_copy(update={"seed": seed})
    seeded = project.model_copy(update={"tasks": {name: task.model_copy(update={"train": train})}})
    info = train_task(seeded, name, snapshot=snapshot).info
    _add(rows["Kincast"], info.metrics)
    validation, test = rows["Kincast"].validation[-1], rows["Kincast"].test[DECIDES][-1]
    shown = f"{name}, seed {seed}: validation {validation:.4f}, test {test:.4f}, epoch {info.best_epoch}"
    print(shown, file=sys.stderr, flush=True)


def _add(row: Row, metrics: Metrics) -> None:
    row.validation.append(metrics["validation"][DECIDES].value)
    for metric in METRICS:
        row.test.setdefault(metric, []).append(metrics["test"][metric].value)


def rivals(
    rows: dict[str, Row], project: Project, name: str, snapshot: Snapshot, prepared: Prepared, num_seeds: int
) -> None:
    """Choose the settings of every ranker on the validation rows, and add what it reached with them."""
    items = new_loader(snapshot, prepared, project.tasks[name]).items
    assert items is not None
    kept = np.ones(len(items.facts.item), np.bool_)
    if name == "shop":  # what was sent back is no purchase
        kept = snapshot.columns("invoice_lines", ["Quantity"])["Quantity"].to_numpy() > 0
    facts = named(items.facts, kept)
    lists = Lists(items, facts, snapshot.tables[prepared.task.entity].num_rows, not items.repeats)
    families: dict[str, Callable[[int], dict[str, Rule]]] = {"popularity": lambda _: popularity()}
    if items.repeats:
        families["one's own items"] = lambda _: repeat()
    families["item-kNN"] = lambda _: item_neighbours()
    families["matrix factorisation"] = factorisation
    for family, grid in families.items():
        measured = {setting: _measured(lists, rule, prepared, 1) for setting, rule in grid(0).items()}
        best = max(measured, key=lambda setting: measured[setting][DECIDES])
        row = rows[family] = Row(best, validation=[measured[best][DECIDES]])
        for seed in range(num_seeds if family == "matrix factorisation" else 1):
            for metric, value in _measured(lists, grid(seed)[best], prepared, 2).items():
                row.test.setdefault(metric, []).append(value)
        print(f"{name}, {family}: {best}, {row.validation[0]:.4f}", file=sys.stderr, flush=True)


def _measured(lists: Lists, rule: Rule, prepared: Prepared, split: int) -> dict[str, float]:
    part = examples(prepared.labels.of(split))
    found: Ranked = lists.of(rule, part.seeds)
    ones = np.ones(len(found))
    return {metric: prepared.judge.metrics[metric](part.target, found)(ones) for metric in METRICS}


def print_table(name: str, rows: dict[str, Row], prepared: Prepared) -> None:
    """One Markdown table."""
    test = prepared.labels.of(2)
    print(f"\n### {name}: {len(test):,} test rows of {len(np.unique(test.rows)):,} entities\n")
    print(f"| times 100 | validation {DECIDES} | {' | '.join(METRICS)} | chosen |")
    print("|---|" + "---|" * (len(METRICS) + 2))
    for contender, row in rows.items():
        cells = [_spread(row.validation), *(_spread(row.test[metric]) for metric in METRICS)]
        print(f"| {contender} | {' | '.join(cells)} | {row.chosen} |")


def _spread(values: list[float]) -> str:
    mean = f"{100 * np.mean(values):.2f}"
    return f"{mean} ± {100 * np.std(values):.2f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
