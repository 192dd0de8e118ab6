"""Ring: a knowledge graph whose facts follow from each other: stations on a circular line, and four relations."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

_DDL = """
CREATE TABLE stations (name VARCHAR PRIMARY KEY);
CREATE TABLE facts (
  head VARCHAR REFERENCES stations (name), relation VARCHAR, tail VARCHAR REFERENCES stations (name), part VARCHAR,
  PRIMARY KEY (head, relation, tail)
);
"""
PARTS = ("train", "validation", "test")


def ring_database(folder: Path, num_stations: int = 60, seed: int = 0) -> Path:
    """Write ``ring.duckdb``: stations, and a fact of each relation about every one, with the split of each fact.

    ``before`` is the inverse of ``after``, ``two_after`` is ``after`` twice, and ``opposite`` is symmetric, so what is
    left out of training can be told from what is not.

    Args:
        folder: where to write it; must exist.
        num_stations: an even number.
        seed: of the names' order on the ring and of the split: one fact in ten for validation and for the test.

    Returns:
        path of the file.
    """
    random = np.random.default_rng(seed)
    names = [f"station {number:03d}" for number in random.permutation(num_stations).tolist()]
    steps = {"after": 1, "before": -1, "two_after": 2, "opposite": num_stations // 2}
    facts = [
        (names[place], relation, names[(place + step) % num_stations])
        for relation, step in steps.items()
        for place in range(num_stations)
    ]
    parts = random.choice(3, len(facts), p=(0.8, 0.1, 0.1)).tolist()
    rows = [(*fact, PARTS[part]) for fact, part in zip(facts, parts, strict=True)]
    path = folder / "ring.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(_DDL)
        connection.executemany("INSERT INTO stations VALUES (?)", [(name,) for name in sorted(names)])
        connection.executemany("INSERT INTO facts VALUES (?, ?, ?, ?)", rows)
    return path
