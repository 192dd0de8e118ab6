"""PyG loader: seeds per second from seeds to ``HeteroData`` with features, by threads, and where the time goes.

Users ← events → items, events are nodes with a time and 128 float32 features; seeds are users, each at an instant of
its own, in batches of 512. The best of the rounds counts. Figures of a busy machine are not to be quoted.

    python benchmarks/pyg_loader.py --events 20000000
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from torch_geometric.data import HeteroData

from kincast.pyg import NeighborLoader, NeighborSampler


def make_data(num_events: int, width: int, seed: int = 0) -> HeteroData:
    """Users and items are hit with a power law; instants are uniform over a year, in seconds."""
    rng = np.random.default_rng(seed)
    sizes = {"user": max(num_events // 20, 2), "item": max(num_events // 200, 2)}
    data = HeteroData()
    data["event"].time = torch.from_numpy(rng.integers(0, 365 * 86_400, num_events))
    data["event"].x = torch.randn(num_events, width)
    for name, size in sizes.items():
        data[name].x = torch.randn(size, width)
        ends = np.stack([np.arange(num_events), (size * rng.random(num_events) ** 1.5).astype(np.int64)])
        data["event", "of", name].edge_index = torch.from_numpy(ends)
        data[name, "in", "event"].edge_index = torch.from_numpy(ends[::-1].copy())
    return data


def measure(make: Any, rounds: int) -> dict[str, float]:
    """Wall and processor seconds of the best round, with what it returned."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        edges = make()
        found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "edges": edges}
        best = found if not best or found["wall_s"] < best["wall_s"] else best
    return best


def main() -> None:
    """Print one JSON line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--seeds", type=int, default=51_200)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = make_data(options.events, options.width)
    nodes = torch.randint(data["user"].num_nodes, (options.seeds,))
    instants = torch.randint(180 * 86_400, 365 * 86_400, (options.seeds,))
    for strategy in ("uniform", "last"):
        began = time.perf_counter()
        sampler = NeighborSampler(data, [16, 8], temporal_strategy=strategy, time_attr="time")
        built = time.perf_counter() - began
        for threads in (0, 1, 2):
            loader = NeighborLoader(
                data, [16, 8], ("user", nodes), instants, neighbor_sampler=sampler, batch_size=512, num_workers=threads
            )  # fmt: skip

            def full(loader: NeighborLoader = loader) -> int:
                return sum(store.edge_index.shape[1] for batch in loader for store in batch.edge_stores)

            def sampled(loader: NeighborLoader = loader, sampler: NeighborSampler = sampler) -> int:
                found = 0
                for index in loader.batch_sampler:
                    out = sampler.sample_from_nodes(loader.input_data[index])
                    found += sum(map(len, out.row.values()))
                return found

            next(iter(loader))
            cases = {"to the batch": full, **({"sampling alone": sampled} if threads == 0 else {})}
            for name, make in cases.items():
                best = measure(make, options.rounds)
                line = {
                    "case": name, "strategy": strategy, "threads": threads, "sorting_s": round(built, 2),
                    "seeds_per_s": round(options.seeds / best["wall_s"]),
                    "seeds_per_cpu_s": round(options.seeds / best["cpu_s"]),
                    "edges_per_cpu_s": round(best["edges"] / best["cpu_s"]),
                }  # fmt: skip
                print(json.dumps(line))


if __name__ == "__main__":
    main()
