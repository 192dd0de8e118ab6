"""PyG rival: PyTorch Geometric's own NeighborLoader over torch-sparse's compiled sampler, on the data of pyg_loader.py.

Run by an interpreter of its own, which has torch, NumPy and PyTorch Geometric; ``rival.py`` says how torch-sparse's
sampler is compiled. What else torch-sparse has the loader never calls. It cannot sample with times, so neither does
what it is compared with: one sub-graph a batch, every row in it once.

Answers every line on standard input with the wall and processor seconds of one round.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
import torch_geometric.typing
from torch_geometric.data import HeteroData
from torch_geometric.loader import NeighborLoader

FANOUT = [16, 8]
BATCH = 512


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


def one_round(loader: Any) -> dict[str, float]:
    """Wall and processor seconds of a pass, and the rows in its batches."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = sum(store.num_nodes for batch in loader for store in batch.node_stores)
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "rows": float(rows)}


def main() -> None:
    """Make the data and answer."""
    library, num_events, num_seeds, width = sys.argv[1], *map(int, sys.argv[2:5])
    torch.set_num_threads(1)
    torch.ops.load_library(library)
    torch_geometric.typing.WITH_TORCH_SPARSE = True
    data = make_data(num_events, width)
    for name in data.node_types:
        data[name].pop("time", None)
    nodes = torch.from_numpy(np.random.default_rng(1).integers(0, data["user"].num_nodes, num_seeds))
    loader = NeighborLoader(data, FANOUT, input_nodes=("user", nodes), batch_size=BATCH, num_workers=0)
    for _ in sys.stdin:
        print(json.dumps(one_round(loader)), flush=True)


if __name__ == "__main__":
    main()
