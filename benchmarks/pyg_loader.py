"""PyG loader: seeds per second from seeds to ``HeteroData`` with features, by threads, and where the time goes.

Users ← events → items, events are nodes with a time and 128 float32 features; seeds are users, each at an instant of
its own, in batches of 512. The best of the rounds counts. Figures of a busy machine are not to be quoted.

    python benchmarks/pyg_loader.py --events 20000000
    python benchmarks/pyg_loader.py --rival PYTHON --library PATH     # beside PyG's own loader over torch-sparse
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyg_rival import BATCH, FANOUT, make_data, one_round
from torch_geometric.data import HeteroData

from kincast.feature.gather import gather_words
from kincast.pyg import NeighborLoader, NeighborSampler
from kincast.sample.arrays import EdgeList, array_graph
from kincast.sample.batch import Seeds
from kincast.sample.sampler import Sampler
from kincast.sample.shared import sample_shared


def measure(make: Any, rounds: int) -> dict[str, float]:
    """Wall and processor seconds of the best round, with what it returned."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        edges = make()
        found = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "edges": edges}
        best = found if not best or found["wall_s"] < best["wall_s"] else best
    return best


def own_batches(data: HeteroData, nodes: torch.Tensor, *, shared: bool) -> Callable[[], dict[str, float]]:
    """A round of our own batches: trees of the seeds or one sub-graph, their rows' features, and the offsets."""
    sizes = {name: data[name].num_nodes for name in data.node_types}
    edges = {"-".join(kind): EdgeList(kind[0], kind[2], *data[kind].edge_index.numpy()) for kind in data.edge_types}
    sampler = Sampler(array_graph(sizes, edges), FANOUT, strategy="uniform")
    words = {name: data[name].x.numpy().view(np.uint64).reshape(-1) for name in data.node_types}
    seeds = nodes.numpy()

    def ready(start: int) -> int:
        rows = seeds[start : start + BATCH]
        given = Seeds("user", rows, np.zeros(len(rows), np.int64))
        batch = sample_shared(sampler, given) if shared else sampler.sample(given)
        tensors = [torch.from_numpy(block.offsets) for block in batch.blocks]
        for name, found in batch.rows.items():
            width = data[name].x.shape[1] // 2
            out = np.empty(len(found) * width, np.uint64)
            gather_words(words[name], width, found, out)
            tensors.append(torch.from_numpy(out.view(np.float32).reshape(-1, 2 * width)))
        return sum(map(len, batch.rows.values())) if tensors else 0

    def run() -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = sum(map(ready, range(0, len(seeds), BATCH)))
        return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "rows": float(rows)}

    return run


def compare(data: HeteroData, options: argparse.Namespace) -> None:
    """Print PyG's loader, ours in its form and our own batches, all without times; they take turns, the best counts."""
    for name in data.node_types:
        data[name].pop("time", None)
    nodes = torch.from_numpy(np.random.default_rng(1).integers(0, data["user"].num_nodes, options.seeds))
    ours = NeighborLoader(data, FANOUT, ("user", nodes), batch_size=BATCH)
    command = [options.rival, str(Path(__file__).with_name("pyg_rival.py")), options.library]
    command += [str(number) for number in (options.events, options.seeds, options.width)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    best: dict[str, dict[str, float]] = {}
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        trees, once = (own_batches(data, nodes, shared=shared) for shared in (False, True))
        for _ in range(options.rounds):
            process.stdin.write("go\n")
            process.stdin.flush()
            rounds = {
                "PyG": json.loads(process.stdout.readline()),
                "Kincast for PyG": one_round(ours),
                "Kincast, trees": trees(),
                "Kincast, each row once": once(),
            }
            for name, found in rounds.items():
                if name not in best or found["cpu_s"] < best[name]["cpu_s"]:
                    best[name] = found
        process.stdin.close()
    for name, found in best.items():
        rate = {"seeds_per_s": options.seeds / found["wall_s"], "seeds_per_cpu_s": options.seeds / found["cpu_s"]}
        rate["rows_per_seed"] = found["rows"] / options.seeds
        rate["times_pyg_per_cpu_s"] = best["PyG"]["cpu_s"] / found["cpu_s"]
        print(json.dumps({"loader": name, **{key: round(value, 2) for key, value in rate.items()}}))


def main() -> None:
    """Print one JSON line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--seeds", type=int, default=51_200)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rival", help="a Python with torch and PyTorch Geometric")
    parser.add_argument("--library", help="torch-sparse's compiled neighbour sampler")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = make_data(options.events, options.width)
    if options.rival:
        compare(data, options)
        return
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
