"""Negatives: draws per CPU-second, one thread, and the same by counting each seed's visible events in NumPy.

Users ← events → items; seeds are users, each at an instant of its own. The best of the rounds counts. Figures of a busy
machine are not to be quoted.

    python benchmarks/negatives.py --events 20000000
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from sampling import events_as_rows

from kincast.clock import Span
from kincast.query.encode import Lists
from kincast.sample.batch import Seeds
from kincast.sample.negative import ItemPath, NegativeSampler

DAY_US = 86_400_000_000


def draw_slowly(graph: Any, seeds: Seeds, num: int, power: float, rng: np.random.Generator) -> int:
    """Count the visible events of every item anew for each seed, then draw by weight."""
    events, link = graph.tables["events"], graph.links[1]
    for as_of in seeds.as_of_us:
        seen = link.forward[: np.searchsorted(events.time_us, as_of, "right")]
        weights = np.bincount(seen, minlength=graph.tables["items"].num_rows) ** power
        rng.choice(len(weights), num, replace=False, p=weights / weights.sum())
    return num * len(seeds)


def main() -> None:
    """Print one JSON line per strategy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--seeds", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    graph: Any = events_as_rows(options.events).graph
    rng = np.random.default_rng(1)
    users = rng.integers(0, graph.tables["users"].num_rows, options.seeds)
    seeds = Seeds("users", users, rng.integers(180, 365, options.seeds) * DAY_US)
    none = Lists(np.zeros(options.seeds + 1, np.int64), np.empty(0, np.int64))
    path = ItemPath((0,), 1, (Span(0, "days"), Span(30, "days")))
    few, num = seeds.take(slice(0, 10)), 10
    began = time.process_time()
    slow = draw_slowly(graph, few, num, 0.75, rng) / (time.process_time() - began)
    for strategy, power in (("uniform", 1.0), ("popularity", 1.0), ("popularity", 0.75)):
        sampler = NegativeSampler(graph, path, strategy, power)
        best = 0.0
        for _ in range(options.rounds + 1):  # the first compiles
            began = time.process_time()
            drawn = sampler.sample(seeds, none, num).items.size
            best = max(best, drawn / (time.process_time() - began))
        found = {"strategy": strategy, "power": power, "draws_per_cpu_s": round(best), "counting_anew": round(slow)}
        print(json.dumps({**found, "ratio": round(best / slow)}))


if __name__ == "__main__":
    main()
