"""Rival: torch-sparse's neighbour sampler on the arrays that benchmarks/sampling.py left in a folder.

Run by an interpreter of its own, which needs torch and NumPy. Only the compiled sampler of torch-sparse is needed; from
its source package:

    g++ -O3 -std=c++20 -fPIC -shared -w -Icsrc -Ithird_party/parallel-hashmap -I$TORCH/include
        -I$TORCH/include/torch/csrc/api/include csrc/neighbor_sample.cpp csrc/cpu/neighbor_sample_cpu.cpp
        -o _neighbor_sample_cpu.so -L$TORCH/lib -ltorch -ltorch_cpu -lc10

Answers every line on standard input with the edges per CPU-second of one round of fresh seeds. Where rows have a time,
its sampler takes one instant per seed *row*, not per seed, and no edge times: there it sees a whole graph instead.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

DAY_US = 86_400_000_000


def main() -> None:
    """Load the arrays and answer."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    about = json.loads((folder / "about.json").read_text())
    torch.ops.load_library(about["library"])
    offsets, rows = (
        {name: torch.from_numpy(np.load(folder / f"{name}.{part}.npy")) for name in about["links"]}
        for part in ("offsets", "rows")
    )
    types = [tuple(name.split("__")) for name in about["links"]]
    table, size, fanout = about["table"], about["sizes"][about["table"]], about["fanout"]
    rng = np.random.default_rng(5)
    homogeneous = len(types) == 1
    times = {}
    if any(about["times"].values()):
        for name, timed in about["times"].items():
            own = torch.from_numpy(np.load(folder / f"{name}.time.npy")) if timed else None
            times[name] = torch.zeros(about["sizes"][name], dtype=torch.int64) if own is None else own

    def sample(seeds: torch.Tensor) -> int:
        if homogeneous:
            (name,) = about["links"]
            found = torch.ops.torch_sparse.neighbor_sample(offsets[name], rows[name], seeds, fanout, False, True)
            return len(found[1])
        numbers = dict.fromkeys(about["links"], fanout)
        common = (list(about["sizes"]), types, offsets, rows, {table: seeds}, numbers)
        if times:
            # Each seed is a tree of its own here, as it must be where instants differ.
            found = torch.ops.torch_sparse.hetero_temporal_neighbor_sample(*common, times, len(fanout), False, True)
        else:
            found = torch.ops.torch_sparse.hetero_neighbor_sample(*common, len(fanout), False, True)
        return sum(len(each) for each in found[1].values())

    for _ in sys.stdin:
        if times:  # the instant of a seed row is its row's time
            times[table] = torch.from_numpy(rng.integers(180, 365, size) * DAY_US)
        batches = [torch.from_numpy(rng.integers(0, size, about["batch"])) for _ in range(about["batches"])]
        start = time.thread_time()
        edges = sum(map(sample, batches))
        print(edges / (time.thread_time() - start), flush=True)


if __name__ == "__main__":
    main()
