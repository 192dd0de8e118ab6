"""Sampling: edges per CPU-second against the loads alone and against another sampler; threads; batches to train on.

Three graphs: (a) users <- events -> items, the events being rows with a time; (a2) the same interactions as timed edges
between users and items; (b) one table of nodes without time. Contenders alternate, every round has fresh seeds, the
best round counts. *C++ by hand* (benchmarks/twin.cpp, given a compiler) makes the same trees, which is checked.
*loads* is what remains when everything but the random loads is left out: the same offsets, marks that bisection looks
at, and neighbours, prefetched, for batches of the same kind. Figures of a busy machine are not to be quoted.

    python benchmarks/sampling.py --events 20000000 --nodes 5000000 --edges 100000000
    python benchmarks/sampling.py --rival /path/to/python --library /path/to/_neighbor_sample_cpu.so

The rival is torch-sparse, the sampler that PyTorch Geometric uses where pyg-lib is not installed; benchmarks/rival.py,
run by another interpreter, says how it is built.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from twin import Twin, compile_twin

from kincast.compile import compiled, prefetch
from kincast.feature.gather import gather_words
from kincast.graph.csr import reverse_link
from kincast.graph.snapshot import SnapshotLink, SnapshotTable
from kincast.sample.arrays import ArrayGraph, ArrayLink
from kincast.sample.batch import Batch, Seeds
from kincast.sample.edge import EdgeType
from kincast.sample.loader import Loader
from kincast.sample.sampler import Sampler
from kincast.sample.shared import sample_shared
from kincast.sample.strategy import LinkSampling
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

DAY_US = 86_400_000_000
AHEAD = 32
WIDTH = 128
MOST_FEATURES = 4_000_000  # events in the loader's graph: 2 GB of features
RECENCY = LinkSampling("recency", half_life_us=30 * DAY_US)
# M edges per CPU-second of pyg-lib built from source, and seeds/s of PyG's loader over it; quoted, another machine.
QUOTED = {
    "a": {"uniform": 5.1, "last": 5.9},
    "a2": {"uniform": 5.8, "last": 11.0},
    "b": {"uniform": 9.9, "shared": 9.9},
    "loader": "84,000 to 90,000 seeds/s inline, 40,000 with two worker processes",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """A graph with the seeds and fanouts it is measured with."""

    name: str
    graph: Any
    table: str
    fanout: list[int]
    strategies: dict[str, LinkSampling]
    timed: bool = True

    def seeds(self, rng: np.random.Generator, batch_size: int, num_batches: int) -> list[Seeds]:
        """Batches of random rows, each at the end of a random day of the second half of the year."""
        num_rows = self.graph.tables[self.table].num_rows
        return [
            Seeds(self.table, rng.integers(0, num_rows, batch_size), rng.integers(180, 365, batch_size) * DAY_US)
            for _ in range(num_batches)
        ]


def interactions(num: int) -> tuple[Any, Any, Any, dict[str, int]]:
    """User and item of every event, both hit with a power law, and times uniform over a year, ascending."""
    rng = np.random.default_rng(0)
    sizes = {"users": max(num // 20, 2), "items": max(num // 200, 2)}
    ends = []
    for size in sizes.values():
        shuffled = rng.permutation(size).astype(np.int32)
        ends.append(shuffled[(size * rng.random(num) ** 1.5).astype(np.int32)])
    return *ends, np.sort(rng.integers(0, 365 * DAY_US, num)), sizes


def events_as_rows(num: int) -> Workload:
    """(a)."""
    users, items, times, sizes = interactions(num)
    schema = Schema(
        (
            *(Table(name, (Column("id", SemanticType.ID, "BIGINT"),), ("id",)) for name in sizes),
            Table(
                "events",
                tuple(Column(name, SemanticType.ID, "BIGINT") for name in ("user", "item", "t")),
                (),
                RowTime(column="t"),
            ),
        ),
        (Link("events", ("user",), "users", ("id",)), Link("events", ("item",), "items", ("id",))),
    )
    tables = {name: SnapshotTable(name, size, None, None) for name, size in sizes.items()}
    tables["events"] = SnapshotTable("events", num, times, None)
    links = tuple(
        SnapshotLink(link, forward, *reverse_link(forward, sizes[link.target]))
        for link, forward in zip(schema.links, (users, items), strict=True)
    )
    graph = SimpleNamespace(schema=schema, tables=tables, links=links)
    strategies = {"last": LinkSampling(), "uniform": LinkSampling("uniform"), "recency": RECENCY}
    return Workload("a", graph, "users", [16, 8], strategies)


def events_as_edges(num: int) -> Workload:
    """(a2)."""
    users, items, times, sizes = interactions(num)
    links, edges = [], []
    for index, (dst, src, dst_rows, src_rows) in enumerate(
        (("users", "items", users, items), ("items", "users", items, users))
    ):
        offsets, events = reverse_link(dst_rows, sizes[dst])
        links.append(ArrayLink(offsets, src_rows[events], events, times[events], None))
        edges.append(EdgeType(dst, src, index, True, f"{src} of {dst}"))
    tables = {name: SnapshotTable(name, size, None, None) for name, size in sizes.items()}
    strategies = {"last": LinkSampling(), "uniform": LinkSampling("uniform"), "recency": RECENCY}
    return Workload("a2", ArrayGraph(tables, tuple(links), tuple(edges)), "users", [16, 8], strategies)


def homogeneous(num_nodes: int, num_edges: int) -> Workload:
    """(b)."""
    rng = np.random.default_rng(0)
    degrees = np.bincount((num_nodes * rng.random(num_edges) ** 1.5).astype(np.int64), minlength=num_nodes)
    offsets = np.concatenate([[0], np.cumsum(rng.permutation(degrees))])
    rows = rng.integers(0, num_nodes, num_edges, dtype=np.int32)
    link = ArrayLink(offsets, rows, np.empty(0, np.int64), None, None)
    tables = {"nodes": SnapshotTable("nodes", num_nodes, None, None)}
    graph = ArrayGraph(tables, (link,), (EdgeType("nodes", "nodes", 0, True, "edge"),))
    uniform = LinkSampling("uniform")
    return Workload("b", graph, "nodes", [15, 10], {"uniform": uniform, "shared": uniform}, timed=False)


# --- the loads alone ---------------------------------------------------------------------------------------------


@compiled
def touch(array, index):  # type: ignore[no-untyped-def]
    """Load everything at ``index``, and nothing else."""
    total = 0
    num = index.shape[0]
    for i in range(num):
        if i + AHEAD < num:
            prefetch(array, index[i + AHEAD])
        total += array[index[i]]
    return total


@compiled
def probes(offsets, marks, frontier, cuts, out):  # type: ignore[no-untyped-def]
    """Where the time cut of every list looks: the newest mark, then, where that is too new, a bisection."""
    num = 0
    for i in range(frontier.shape[0]):
        low, high = offsets[frontier[i]], offsets[frontier[i] + 1]
        if low == high:
            continue
        out[num] = high - 1
        num += 1
        if marks[high - 1] < cuts[i]:
            continue
        high -= 1
        while low < high:
            middle = (low + high) >> 1
            out[num] = middle
            num += 1
            if marks[middle] < cuts[i]:
                low = middle + 1
            else:
                high = middle
    return num


def loads_of(sampler: Sampler, seeds: Seeds) -> tuple[int, list[tuple[Any, Any]]]:
    """Edges of a batch, and the arrays with the places that sampling it must load."""
    batch = sampler.sample(seeds)
    found = []
    for block in batch.blocks:
        dst, _ = batch.hop(block)
        frontier, seed = batch.rows[block.edge.table][dst], batch.seed[block.edge.table][dst]
        link, times = sampler.snapshot.links[block.edge.link], sampler.snapshot.tables[block.edge.other].time_us
        if not block.edge.reverse:
            found.append((link.forward, frontier))
            continue
        found.append((link.offsets, np.repeat(frontier, 2) + np.tile([0, 1], len(frontier))))
        if link.time_us is not None:
            marks, cuts = link.time_us, seeds.visible[seed] + 1
        else:
            marks = link.rows
            cuts = (
                np.full(len(seed), len(link.rows))
                if times is None
                else np.searchsorted(times, seeds.visible, "right")[seed]
            )
        out = np.empty(len(frontier) * 40, np.int64)
        if link.time_us is not None or times is not None:
            found.append((marks, out[: probes(link.offsets, marks, frontier, cuts, out)].copy()))
        found.append((link.rows, block.places))
    return batch.num_edges, found


# --- contenders --------------------------------------------------------------------------------------------------


@contextmanager
def rival(options: argparse.Namespace, workload: Workload) -> Iterator[Callable[[], float] | None]:
    """Ask another process, in turn, for the edges per CPU-second of one round; None without one."""
    if not options.rival:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        links = []
        for edge in Sampler(workload.graph, [1]).edges:
            link, name = workload.graph.links[edge.link], f"{edge.other}__{edge.link}{edge.reverse:d}__{edge.table}"
            if edge.reverse:
                offsets, rows = link.offsets, link.rows
            else:
                offsets, rows = np.arange(len(link.forward) + 1), link.forward
            np.save(Path(folder) / f"{name}.offsets.npy", offsets)
            np.save(Path(folder) / f"{name}.rows.npy", rows.astype(np.int64))
            links.append(name)
        times = {name: table.time_us is not None for name, table in workload.graph.tables.items()}
        for name in (name for name, timed in times.items() if timed):
            np.save(Path(folder) / f"{name}.time.npy", workload.graph.tables[name].time_us)
        sizes = {name: table.num_rows for name, table in workload.graph.tables.items()}
        about = {
            "library": options.library, "links": links, "sizes": sizes, "times": times, "table": workload.table,
            "fanout": workload.fanout, "batch": options.batch, "batches": options.batches,
        }  # fmt: skip
        (Path(folder) / "about.json").write_text(json.dumps(about))
        command = [options.rival, str(Path(__file__).with_name("rival.py")), folder]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def ask() -> float:
                process.stdin.write("go\n")
                process.stdin.flush()
                return float(process.stdout.readline())

            ask()  # warm
            yield ask
            process.stdin.close()


def rate(work: Callable[[], int]) -> float:
    """Edges per CPU-second of this thread."""
    start = time.thread_time()
    edges = work()
    return edges / (time.thread_time() - start)


def measure(workload: Workload, options: argparse.Namespace) -> None:
    """Print one line per strategy."""
    rng = np.random.default_rng(1)
    best: dict[str, dict[str, float]] = {name: {} for name in workload.strategies}
    theirs, twin = 0.0, compile_twin()
    with rival(options, workload) as ask:
        contenders: dict[tuple[str, str], Callable[[], int]] = {}
        for name, sampling in workload.strategies.items():
            sampler = Sampler(workload.graph, workload.fanout, strategy=sampling)
            take = sampler.sample if name != "shared" else lambda seeds, s=sampler: sample_shared(s, seeds)
            contenders[name, "ours"] = lambda take=take: sum(take(s).num_edges for s in batches)
            if name in ("last", "uniform"):
                keeping = Sampler(workload.graph, workload.fanout, strategy=sampling, keep_places=True)
                seeds = workload.seeds(rng, options.batch, options.batches)
                if twin is not None:
                    by_hand = Twin(twin, sampler)
                    by_hand.check(seeds[0])
                    contenders[name, "C++ by hand"] = lambda by_hand=by_hand: sum(map(by_hand, batches))
                recorded = [loads_of(keeping, each) for each in seeds]
                contenders[name, "loads"] = lambda recorded=recorded: sum(
                    edges for edges, loads in recorded if [touch(*load) for load in loads]
                )
        batches = workload.seeds(rng, options.batch, 1)
        for work in contenders.values():  # compile
            work()
        for _ in range(options.rounds):
            for (name, who), work in contenders.items():
                batches = workload.seeds(rng, options.batch, options.batches)
                best[name][who] = max(best[name].get(who, 0.0), rate(work))
            theirs = max(theirs, ask()) if ask else theirs
    for name, figures in best.items():
        line: dict[str, Any] = {"workload": workload.name, "fanout": workload.fanout, "strategy": name}
        line |= {f"{who}, M edges/CPU-s": round(value / 1e6, 1) for who, value in figures.items()}
        if "C++ by hand" in figures:
            line["share of C++"] = round(figures["ours"] / figures["C++ by hand"], 2)
        if "loads" in figures:
            line["share of the loads alone"] = round(figures["ours"] / figures["loads"], 2)
        if theirs:
            line["torch-sparse"] = round(theirs / 1e6, 2)
            line["times torch-sparse"] = round(figures["ours"] / theirs, 1)
        if quoted := QUOTED[workload.name].get(name):  # type: ignore[attr-defined]
            line["pyg-lib, quoted"] = quoted
        show(line)


def measure_threads(workload: Workload, options: argparse.Namespace) -> None:
    """Print edges per second of wall time with one thread and with two."""
    rng = np.random.default_rng(2)
    for name in ("last", "uniform"):
        sampler = Sampler(workload.graph, workload.fanout, strategy=workload.strategies[name])
        best = {1: 0.0, 2: 0.0}
        for _ in range(options.rounds):
            for threads in best:
                batches = workload.seeds(rng, options.batch, 4 * options.batches)
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(sampler.sample, batches[:threads]))
                    start = time.perf_counter()
                    edges = sum(batch.num_edges for batch in pool.map(sampler.sample, batches))
                best[threads] = max(best[threads], edges / (time.perf_counter() - start))
        line = {f"{threads} threads, M edges/s": round(value / 1e6, 1) for threads, value in best.items()}
        show({"workload": workload.name, "strategy": name, **line, "ratio": round(best[2] / best[1], 2)})


def measure_loader(workload: Workload, options: argparse.Namespace) -> None:
    """Print seeds per second until a batch is tensors: features of every sampled row, offsets of every hop.

    The quoted figures are those of one batch size and feature width; how many rows a seed had there is not known, so
    rows per second are printed too.
    """
    rng = np.random.default_rng(3)
    words = {
        name: rng.random((table.num_rows, WIDTH), np.float32).view(np.uint64).reshape(-1)
        for name, table in workload.graph.tables.items()
    }

    def prepare(batch: Batch) -> int:
        tensors: list[torch.Tensor] = []
        for name, rows in batch.rows.items():
            out = np.empty(len(rows) * WIDTH // 2, np.uint64)
            gather_words(words[name], WIDTH // 2, rows, out)
            found = torch.from_numpy(out.view(np.float32).reshape(-1, WIDTH))
            tensors += [found, torch.from_numpy(batch.seed[name])]
        tensors += [torch.from_numpy(block.offsets) for block in batch.blocks]
        return len(batch.seeds) if tensors else 0

    sampler = Sampler(workload.graph, workload.fanout, strategy=LinkSampling("uniform"))
    trees = sampler.sample(workload.seeds(rng, options.batch, 1)[0])
    rows_per_seed = sum(map(len, trees.rows.values())) / options.batch
    best = {0: (0.0, 0.0), 2: (0.0, 0.0)}
    for _ in range(options.rounds):
        for threads in best:
            seeds = workload.seeds(rng, options.batch * 4 * options.batches, 1)[0]
            wall, cpu = time.perf_counter(), time.process_time()
            num = sum(Loader(sampler, seeds, options.batch, prepare, num_threads=threads))
            figures = num / (time.perf_counter() - wall), num / (time.process_time() - cpu)
            best[threads] = max(best[threads][0], figures[0]), max(best[threads][1], figures[1])
    line: dict[str, Any] = {"workload": workload.name, "fanout": workload.fanout, "loader": f"{WIDTH} float32 a row"}
    line["rows per seed"] = round(rows_per_seed, 1)
    for threads, (wall, cpu) in best.items():
        line["inline" if threads == 0 else f"{threads} threads"] = f"{wall:,.0f} seeds/s, {cpu:,.0f} per CPU-second"
    show({**line, "PyG over pyg-lib, quoted": QUOTED["loader"]})


def show(line: dict[str, Any]) -> None:
    """Print a result with the load it was measured under."""
    print(json.dumps({**line, "load": round(os.getloadavg()[0], 1)}), flush=True)


def main() -> None:
    """Print one JSON line per result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--nodes", type=int, default=500_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--batches", type=int, default=20, help="per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("a", "a2", "b"), help="one workload")
    parser.add_argument("--rival", help="a Python with torch")
    parser.add_argument("--library", help="torch-sparse's compiled neighbour sampler")
    options = parser.parse_args()
    if options.only in (None, "a"):
        workload = events_as_rows(options.events)
        measure(workload, options)
        measure_threads(workload, options)
        measure_loader(events_as_rows(min(options.events, MOST_FEATURES)), options)
    if options.only in (None, "a2"):
        workload = events_as_edges(options.events)
        measure(workload, options)
    if options.only in (None, "b"):
        measure(homogeneous(options.nodes, options.edges), options)


if __name__ == "__main__":
    main()
