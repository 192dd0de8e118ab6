"""Sampling: edges per CPU-second of the sampler and of the same algorithm in vectorised NumPy, one thread.

Users ← events → items, events are nodes with a time; seeds are users, each at an instant of its own. Both contenders
alternate, each run's result is compared, the best run counts. Figures of a busy machine are not to be quoted.

    python benchmarks/sampling.py --events 20000000
"""

from __future__ import annotations

import argparse
import json
import os
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from kincast.graph.csr import reverse_link
from kincast.graph.snapshot import Snapshot, SnapshotLink, SnapshotTable
from kincast.sample.batch import Batch, Seeds
from kincast.sample.random import GAMMA, fold_all
from kincast.sample.sampler import Sampler
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

GAMMAS = np.arange(256, dtype=np.uint64) * GAMMA
PLANS: dict[str, list[int]] = {"[16,8]": [16, 8], "[16,8,8,8]": [16, 8, 8, 8]}


def make_graph(num_events: int, seed: int = 0) -> Snapshot:
    """Users and items are hit with a power law; instants are uniform over a year."""
    rng = np.random.default_rng(seed)
    sizes = {"users": max(num_events // 20, 2), "items": max(num_events // 200, 2), "events": num_events}
    ids = {"users": ["id"], "items": ["id"], "events": ["user", "item", "t"]}
    tables = tuple(
        Table(
            name,
            tuple(Column(c, SemanticType.ID, "BIGINT") for c in columns),
            ("id",) if "id" in columns else (),
            RowTime(column="t") if "t" in columns else None,
        )
        for name, columns in ids.items()
    )
    links = (Link("events", ("user",), "users", ("id",)), Link("events", ("item",), "items", ("id",)))
    times = np.sort(rng.integers(0, 365 * 86_400_000_000, num_events))
    found = {}
    for name in sizes:
        found[name] = SnapshotTable(name, sizes[name], _still(times) if name == "events" else None, None)
    arrays = []
    for link in links:
        forward = (sizes[link.target] * rng.random(num_events) ** 1.5).astype(np.int32)
        rng.shuffle(shuffled := np.arange(sizes[link.target], dtype=np.int32))
        forward = shuffled[forward]
        arrays.append(SnapshotLink(link, *map(_still, (forward, *reverse_link(forward, sizes[link.target])))))
    graph = SimpleNamespace(schema=Schema(tables, links), tables=found, links=tuple(arrays))
    return cast(Snapshot, graph)


def _still(values: Any) -> Any:
    values.flags.writeable = False
    return values


def sample_vectorised(sampler: Sampler, seeds: Seeds) -> list[Any]:
    """The neighbours of every hop and edge type in the sampler's order, by whole-array operations."""
    graph = sampler.snapshot
    keys = sampler.seed_keys(seeds)
    level = {seeds.table: (seeds.rows, np.arange(len(seeds)))}
    result = []
    for hop in range(1, sampler.num_hops + 1):
        found: dict[str, list[Any]] = {}
        for index, edge in enumerate(sampler.edges):
            if edge.table not in level:
                continue
            frontier, seed = level[edge.table]
            link, other = graph.links[edge.link], graph.tables[edge.other]
            cuts = np.full(len(seeds), other.num_rows)
            if other.time_us is not None:
                cuts = np.searchsorted(other.time_us, seeds.visible, "right")
            if not edge.reverse:
                rows = link.forward[frontier].astype(np.int64)
                kept = (rows >= 0) & (rows < cuts[seed])
                rows, owner = rows[kept], seed[kept]
            else:
                begin, stop = _prefix(link, frontier, cuts[seed])
                fanout = int(sampler.fanout[index, hop - 1])
                key = fold_all(fold_all(keys[seed], np.full(len(seed), sampler.edge_key(hop, index))), frontier)
                places, taken = _choose(sampler.strategy, begin, stop, fanout, key)
                rows, owner = link.rows[places].astype(np.int64), np.repeat(seed, taken)
            result.append(rows)
            found.setdefault(edge.other, []).append((rows, owner))
        level = {name: tuple(map(np.concatenate, zip(*parts, strict=True))) for name, parts in found.items()}  # type: ignore[misc]
    return result


def _prefix(link: SnapshotLink, frontier: Any, cuts: Any) -> tuple[Any, Any]:
    """Bisect all lists at once."""
    begin, high = link.offsets[frontier], link.offsets[frontier + 1].copy()
    low = begin.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        before = open_ & (link.rows[np.minimum(middle, len(link.rows) - 1)] < cuts)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return begin, low


def _choose(strategy: str, begin: Any, stop: Any, fanout: int, keys: Any) -> tuple[Any, Any]:
    sizes = stop - begin
    taken = np.minimum(sizes, fanout)
    places = stop[:, None] - 1 - np.arange(fanout)
    if strategy == "uniform":
        many = sizes > fanout
        drawn = np.empty((int(many.sum()), fanout), np.int64)
        spare, key = (sizes - fanout)[many], keys[many]
        for j in range(fanout):
            bits = fold_all(key + GAMMAS[j], np.zeros(len(key), np.int64))
            place = ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 * (spare + j + 1)).astype(np.int64)
            drawn[:, j] = np.where((drawn[:, :j] == place[:, None]).any(1), spare + j, place)
        places[many] = begin[many, None] + drawn
    return places[np.arange(fanout) < taken[:, None]], taken


def neighbours(batch: Batch) -> list[Any]:
    """The rows of every block."""
    return [batch.rows[block.edge.other][batch.hop(block)[1]] for block in batch.blocks]


def measure(graph: Snapshot, fanout: list[int], strategy: str, batch_size: int, rounds: int) -> dict[str, float]:
    """Best edges per CPU-second of each contender; every round has fresh seeds, the first compiles and compares."""
    sampler = Sampler(graph, fanout, strategy=strategy)
    rng = np.random.default_rng(1)
    num_users = graph.tables["users"].num_rows
    best = {"kernels": 0.0, "numpy": 0.0}
    for turn in range(rounds + 1):
        passes = {"kernels": _seeds(rng, num_users, batch_size, 20), "numpy": _seeds(rng, num_users, batch_size, 4)}
        if turn == 0:
            for seeds in passes["numpy"]:
                fast, slow = neighbours(sampler.sample(seeds)), sample_vectorised(sampler, seeds)
                assert [rows.tolist() for rows in fast] == [rows.tolist() for rows in slow if len(rows)]
            continue
        start = time.process_time()
        total = sum(sampler.sample(seeds).num_edges for seeds in passes["kernels"])
        best["kernels"] = max(best["kernels"], total / (time.process_time() - start))
        start = time.process_time()
        total = sum(len(rows) for seeds in passes["numpy"] for rows in sample_vectorised(sampler, seeds))
        best["numpy"] = max(best["numpy"], total / (time.process_time() - start))
    return best


def _seeds(rng: np.random.Generator, num_users: int, batch_size: int, num_batches: int) -> list[Seeds]:
    return [
        Seeds("users", rng.integers(0, num_users, batch_size), rng.integers(180, 365, batch_size) * 86_400_000_000)
        for _ in range(num_batches)
    ]


def main() -> None:
    """Print one JSON line per workload and strategy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    graph = make_graph(options.events)
    for plan, fanout in PLANS.items():
        for strategy in ("last", "uniform"):
            best = measure(graph, fanout, strategy, options.batch, options.rounds)
            line = {name: round(value / 1e6, 2) for name, value in best.items()}
            load = os.getloadavg()[0]
            ratio = round(best["kernels"] / best["numpy"], 1)
            print(json.dumps({"plan": plan, "strategy": strategy, "M edges/CPU-s": line, "ratio": ratio, "load": load}))


if __name__ == "__main__":
    main()
