"""Knowledge graphs FB15k-237 and WN18RR with their own splits: filtered ranks of heads and tails among all entities.

    python benchmarks/knowledge.py [--sets wn18rr,fb15k-237] [--seeds 3]

Facts are a table with a head, a relation, a tail and the part they belong to; entities a table of their ids. Everything
runs as ``kincast train`` does it. What was chosen was chosen on the validation facts of the first seed.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from static import SHARED, make_project
from tasks import snapshot_of

from kincast.registry.version import VersionInfo
from kincast.train.run import train_task

PUBLISHED = {
    "fb15k-237": {"DistMult": (24.1, 41.9), "ComplEx": (24.7, 42.8), "RotatE (Sun et al. 2019)": (33.8, 53.3)},
    "wn18rr": {"DistMult": (43.0, 49.0), "RotatE (Sun et al. 2019)": (47.6, 57.1)},
}
"""Name → MRR and Hits@10 in %, as the README of the data recalls them."""
METRICS = ("mrr", "hits@1", "hits@3", "hits@10")
CARD = """
tables:
  entities:
    key: entity
    time: null
    columns:
      entity: {type: id, stored: INTEGER}
  facts:
    key: [head, relation, tail]
    time: null
    columns:
      head: {type: id, stored: INTEGER}
      relation: {type: categorical, stored: INTEGER}
      tail: {type: id, stored: INTEGER}
      part: {type: ignored, stored: VARCHAR}
links:
  - facts.head -> entities.entity
  - facts.tail -> entities.entity
"""
QUERY = "PREDICT LIST_DISTINCT(facts.tail) VIA facts.head BY facts.relation RANK TOP 10 FOR EACH entities.entity"
TRAIN = {"learning_rate": 0.1, "batch_size": 512, "negatives": "uniform", "num_negatives": 1024, "patience": 3}
PLANS: dict[str, dict[str, Any]] = {
    "fb15k-237": {"max_epochs": 6, "n3": 0.02},
    "wn18rr": {"max_epochs": 8, "n3": 0.1},
}
SPLIT = {"column": "part", "values": ["train", "valid", "test"]}


def main() -> None:
    """Train on each and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="wn18rr,fb15k-237")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for name in given.sets.split(","):
        task = {
            "query": QUERY,
            "split": SPLIT,
            "model": {"scorer": "complex", "output_channels": 200},
            "train": {**TRAIN, **PLANS[name]},
        }
        with tempfile.TemporaryDirectory() as folder:
            project = make_project(Path(folder) / name, tables_of(name), CARD, {"tasks": {"facts": task}})
            snapshot = snapshot_of(project)
            infos, seconds = [], []
            for seed in range(given.seeds):
                started, processor = time.perf_counter(), time.process_time()
                train = project.tasks["facts"].train.model_copy(update={"seed": seed})
                seeded = {"facts": project.tasks["facts"].model_copy(update={"train": train})}
                infos.append(train_task(project.model_copy(update={"tasks": seeded}), "facts", snapshot=snapshot).info)
                seconds.append((time.perf_counter() - started, time.process_time() - processor))
                found = ", ".join(f"{metric} {infos[-1].metrics['test'][metric]}" for metric in METRICS)
                print(f"{name}: seed {seed}, test {found}", file=sys.stderr, flush=True)
            print_table(name, infos, seconds)


def print_table(name: str, infos: list[VersionInfo], seconds: list[tuple[float, float]]) -> None:
    """One Markdown table: ours, the baselines measured on the same facts, and figures of others."""
    wall, processor = np.mean(seconds, axis=0)
    print(f"\n### {name}, filtered, in %\n")
    print(f"{len(infos)} trainings, {wall:.0f} s each, {processor:.0f} s of one processor.\n")
    print(f"| method | {' | '.join(METRICS)} | |\n|---|{'---|' * len(METRICS)}---|")
    ours = [spread([info.metrics["test"][metric].value for info in infos]) for metric in METRICS]
    print(f"| Kincast, ComplEx | {' | '.join(ours)} | measured |")
    for rival in infos[0].baselines:
        values = [spread([info.baselines[rival]["test"][metric].value for info in infos]) for metric in METRICS]
        print(f"| {rival} | {' | '.join(values)} | measured |")
    for rival, (mrr, hits) in PUBLISHED[name].items():
        print(f"| {rival} | {mrr} | | | {hits} | quoted |")
    validation = spread([info.metrics["validation"]["mrr"].value for info in infos])
    epochs = ", ".join(str(info.best_epoch) for info in infos)
    print(f"\nValidation mrr {validation}; best epochs: {epochs}.", flush=True)


def tables_of(name: str) -> dict[str, pa.Table]:
    """Entities and facts of all three files."""
    parts = {part: rows_of(name, part) for part in ("train", "valid", "test")}
    words = [part for part, rows in parts.items() for _ in range(len(rows))]
    head, tail, relation = (pa.array(column, pa.int32()) for column in np.concatenate(list(parts.values())).T)
    entities = np.arange(count_of(SHARED / "kg" / name / "entity2id.txt.gz"))
    facts = pa.table({"head": head, "relation": relation, "tail": tail, "part": words})
    return {"entities": pa.table({"entity": pa.array(entities, pa.int32())}), "facts": facts}


def rows_of(name: str, part: str) -> NDArray[np.int64]:
    """[n, 3] head, tail and relation, the order in which the files of OpenKE have them, behind a line with n."""
    path = SHARED / "kg" / name / f"{part}2id.txt.gz"
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, dtype=np.int64, skiprows=1, ndmin=2)
    relations = count_of(SHARED / "kg" / name / "relation2id.txt.gz")
    if len(rows) != count_of(path) or rows[:, 2].max() >= relations:
        sys.exit(f"{path}: not {count_of(path)} rows of head, tail and one of {relations} relations")
    return rows


def count_of(path: Path) -> int:
    """The number in the first line of a file."""
    with gzip.open(path, "rt") as file:
        return int(file.readline())


def spread(values: list[float]) -> str:
    """Mean and standard deviation, times 100."""
    return f"{np.mean(values) * 100:.1f} ± {np.std(values) * 100:.1f}"


if __name__ == "__main__":
    main()
