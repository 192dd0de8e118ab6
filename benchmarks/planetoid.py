"""Cora and Citeseer with the public split: 20 labels a class, 500 validation and 1,000 test papers.

    python benchmarks/planetoid.py [--sets cora,citeseer] [--seeds 10]

Papers are a table with a vector of words, citations a link table of two foreign keys. Full-graph training: all training
papers are one batch, whose neighbourhood holds each row once.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from static import SHARED, make_project
from tasks import print_margins, print_task, snapshot_of, train_seeds

PUBLISHED = {
    "cora": {
        "GCN (Kipf and Welling 2017)": {"accuracy": "0.815"},
        "GAT (Veličković et al. 2018)": {"accuracy": "0.830 ± 0.007"},
    },
    "citeseer": {
        "GCN (Kipf and Welling 2017)": {"accuracy": "0.703"},
        "GAT (Veličković et al. 2018)": {"accuracy": "0.725 ± 0.007"},
    },
}
CARD = """
tables:
  papers:
    key: paper_id
    time: null
    columns:
      paper_id: {type: id, stored: INTEGER}
      subject: {type: categorical, stored: VARCHAR}
      part: {type: ignored, stored: VARCHAR}
      words: {type: vector, stored: "FLOAT[]"}
  citations:
    key: [citing, cited]
    time: null
    columns:
      citing: {type: id, stored: INTEGER}
      cited: {type: id, stored: INTEGER}
links:
  - citations.citing -> papers.paper_id
  - citations.cited -> papers.paper_id
"""
BACK = "papers.paper_id->citations.cited->citations.citing->papers.paper_id"
HOPS = 8
MODEL = {
    "neighbourhood": "shared",
    "through": ["citations"],
    "fanout": [-1] * HOPS,
    "fanout_overrides": {BACK: [0] * HOPS},  # the files hold every citation in both directions
    "messages": "convolution",
    "post_layers": 0,
    "dropout": 0.5,
    "input_dropout": 0.8,
}
TRAIN = {"batch_size": 1024, "max_epochs": 60, "patience": 60, "learning_rate": 0.005, "weight_decay": 0.05}
TASK = {
    "query": "PREDICT papers.subject FOR EACH papers.paper_id",
    "split": {"family": "manual", "column": "part", "values": ["train", "val", "test"]},
    "train": TRAIN,
}


def main() -> None:
    """Train both and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="cora,citeseer")
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    compared = {}
    for name in given.sets.split(","):
        alone = {**MODEL, "fanout": [0], "fanout_overrides": {}}
        tasks = {"subject": {**TASK, "model": MODEL}, "alone": {**TASK, "model": alone}}
        settings = {"features": {"vectors": "unit"}, "tasks": tasks}
        with tempfile.TemporaryDirectory() as folder:
            project = make_project(Path(folder) / name, tables_of(name), CARD, settings)
            snapshot = snapshot_of(project)
            for task, num in (("subject", given.seeds), ("alone", min(given.seeds, 3))):
                infos = train_seeds(project, task, snapshot, range(num))
                title = name + (", papers alone, no neighbours" if task == "alone" else "")
                print_task(title, infos, PUBLISHED[name] if task == "subject" else {})
                compared[title] = infos
    print_margins(compared)


def tables_of(name: str) -> dict[str, pa.Table]:
    """Papers with their words as a vector of 0 and 1, and citations."""
    nodes, edges, words = (
        pq.read_table(SHARED / "planetoid" / name / f"{part}.parquet") for part in ("nodes", "edges", "features_coo")
    )
    width = int(np.max(words["word"].to_numpy())) + 1
    dense = np.zeros((nodes.num_rows, width), np.float32)
    dense[words["node"].to_numpy(), words["word"].to_numpy()] = words["value"].to_numpy()
    papers = {
        "paper_id": nodes["node"].cast(pa.int32()),
        "subject": [None if label < 0 else f"subject {label}" for label in nodes["label"].to_pylist()],
        "part": nodes["split"],
        "words": pa.FixedSizeListArray.from_arrays(pa.array(dense.ravel()), width).cast(pa.list_(pa.float32())),
    }
    return {"papers": pa.table(papers), "citations": pa.table({"citing": edges["src"], "cited": edges["dst"]})}


if __name__ == "__main__":
    main()
