"""Features: gathering encoded rows, warm and cold, against NumPy, torch and what memory and disk can give.

Warm: GB/s into fresh memory of the same shape, one thread, contenders in turn, the best run counts; the bound copies
rows that lie one after the other. Cold: rows/s of batches of random rows of a file that was dropped from the page
cache; the bound is what ``fio`` reaches with 128 random reads of a page in flight where it is installed, and the same
number of random pages read by 64 threads of ``pread`` where it is not. Figures of a busy machine are not to be quoted:
the share of the processors that others used is printed.

    python benchmarks/features.py                              one million rows of 128 float32, warm
    python benchmarks/features.py --cold --rows 20000000       10 GB, cold as well
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kincast.feature.gather import MappedWords
from kincast.feature.record import HEADER_BYTES, file_header, record_type, stored
from kincast.feature.spec import Numeric, TableSpec
from kincast.feature.store import TableFeatures
from kincast.model.inputs import gathered_numbers
from kincast.project import FeatureStorage

STORAGES: tuple[FeatureStorage, ...] = ("float32", "float16", "int8")
PAGE = 4096
NUM_THREADS = 64
BLOCK_ROWS = 1 << 16


def make_spec(columns: int) -> TableSpec:
    """A table of numbers only."""
    return TableSpec("t", tuple(Numeric(f"n{i}", "none", 0.0, 1.0, False, 4.0) for i in range(columns)))


def words_of(
    path: Path, spec: TableSpec, num_rows: int, *, storage: FeatureStorage = "float32", readahead: bool = False
) -> MappedWords:
    """The records of a file."""
    width = record_type(spec, storage).itemsize // 8
    return MappedWords(path, HEADER_BYTES, num_rows, width, readahead=readahead)


def make_file(path: Path, spec: TableSpec, storage: FeatureStorage, num_rows: int) -> None:
    """Random numbers; every block of rows is the same."""
    numbers = np.random.default_rng(0).standard_normal((BLOCK_ROWS, spec.numeric_width), np.float32)
    record = record_type(spec, storage)
    block = np.zeros(BLOCK_ROWS, record)
    block["numbers"] = stored(numbers, spec.int8_scales, storage)
    with path.open("wb") as file:
        file.write(file_header(record, num_rows))
        for start in range(0, num_rows, BLOCK_ROWS):
            file.write(block[: num_rows - start].data)
        os.fsync(file.fileno())


def warm(folder: Path, spec: TableSpec, num_rows: int, batch: int, rounds: int) -> Iterator[dict[str, Any]]:
    """GB of float32 numbers that a model gets per second."""
    rng = np.random.default_rng(1)
    for storage in STORAGES:
        path = folder / f"{storage}.npy"
        make_file(path, spec, storage, num_rows)
        features = TableFeatures(spec, storage, words_of(path, spec, num_rows, storage=storage))
        contenders: dict[str, Callable[[Any], Any]] = {"kincast": lambda rows, f=features: gathered_numbers(f, rows)}
        if storage == "float32":
            matrix = np.load(path, mmap_mode="r")["numbers"]
            flat = np.asarray(matrix)
            tensor = torch.from_numpy(np.array(flat))
            contenders["numpy"] = lambda rows, m=flat: torch.from_numpy(m[rows])
            contenders["torch"] = lambda rows, t=tensor: t.index_select(0, torch.from_numpy(rows))
            contenders["bound"] = lambda rows, m=flat: m[(at := rows[0] % (num_rows - batch)) : at + batch].copy()
        best = dict.fromkeys(contenders, 0.0)
        for _ in range(rounds):
            rows = rng.integers(0, num_rows, batch)
            for name, gather in contenders.items():
                gather(rows)  # the rows' pages are mapped, and the machine code is there
                fresh = rng.integers(0, num_rows, batch)
                start = time.perf_counter()
                gather(fresh)
                seconds = time.perf_counter() - start
                best[name] = max(best[name], batch * spec.numeric_width * 4 / seconds / 1e9)
        yield {"warm": storage, "GB/s": {name: round(value, 2) for name, value in best.items()}}


def cold(folder: Path, spec: TableSpec, num_rows: int, batch: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Rows per second out of a file of which nothing is in memory."""
    path = folder / "cold.npy"
    make_file(path, spec, "float32", num_rows)
    width = record_type(spec, "float32").itemsize // 8
    rng = np.random.default_rng(2)

    def mapped(rows: Any, readahead: bool) -> None:
        words_of(path, spec, num_rows, readahead=readahead).take(rows)

    def pread(rows: Any) -> None:
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        pages = (HEADER_BYTES + rows * width * 8) // PAGE * PAGE
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            list(pool.map(lambda some: [os.pread(handle, PAGE, int(p)) for p in some], np.array_split(pages, 256)))
        os.close(handle)

    contenders: dict[str, tuple[Callable[[Any], None], int]] = {
        "memmap": (lambda rows: mapped(rows, False), max(batch // 8, 1)),
        "willneed": (lambda rows: mapped(rows, True), batch),
        "pread": (pread, batch),
    }
    best = dict.fromkeys(contenders, 0.0)
    cached = 0.0
    for _ in range(rounds):
        for name, (gather, size) in contenders.items():
            drop(path)
            cached = max(cached, cached_share(path, rng))
            rows = rng.integers(0, num_rows, size)
            start = time.perf_counter()
            gather(rows)
            best[name] = max(best[name], size / (time.perf_counter() - start))
    best["fio"] = fio_reads(path)
    bound = max(best["pread"], best["fio"])
    share = round(best["willneed"] / bound, 2)
    shares = {name: round(value) for name, value in best.items()}
    size_gb = round(path.stat().st_size / 1e9, 1)
    yield {"cold": f"{size_gb} GB", "rows/s": shares, "of bound": share, "cached before": cached}


def fio_reads(path: Path) -> float:
    """Random reads of a page per second with 128 in flight, past the page cache; 0 where fio is not installed."""
    if shutil.which("fio") is None:
        return 0.0
    plan = "--rw=randread --bs=4k --iodepth=128 --ioengine=libaio --direct=1 --runtime=5 --time_based --readonly"
    command = ["fio", "--name=bound", f"--filename={path}", *plan.split(), "--output-format=json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return float(found["jobs"][0]["read"]["iops"])


def drop(path: Path) -> None:
    """Take a file out of the page cache."""
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def cached_share(path: Path, rng: np.random.Generator) -> float:
    """Share of a few random pages that are in memory."""
    handle = os.open(path, os.O_RDONLY)
    found = 0
    for page in rng.integers(0, path.stat().st_size // PAGE, 50).tolist():
        try:
            found += os.preadv(handle, [bytearray(PAGE)], page * PAGE, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            continue
    os.close(handle)
    return found / 50


@contextmanager
def busy(line: dict[str, Any]) -> Iterator[None]:
    """Add the share of all processors that other processes used meanwhile."""
    before, own = _ticks(), time.process_time()
    yield
    after = _ticks()
    others = (after[0] - before[0]) / os.sysconf("SC_CLK_TCK") - (time.process_time() - own)
    line["others"] = round(max(others, 0.0) / max((after[1] - before[1]) / os.sysconf("SC_CLK_TCK"), 1e-9), 2)


def _ticks() -> tuple[int, int]:
    """Busy and all processor time since the start of the machine."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=128)
    parser.add_argument("--batch", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cold", action="store_true", help="read from the disk too; needs a file of rows x 512 bytes")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = make_spec(options.columns)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        stages = [warm(Path(name), spec, min(options.rows, 1_000_000), options.batch, options.rounds)]
        if options.cold:
            stages.append(cold(Path(name), spec, options.rows, options.batch, max(options.rounds // 4, 1)))
        for stage in stages:
            while True:
                load: dict[str, Any] = {}
                with busy(load):
                    line = next(stage, None)
                if line is None:
                    break
                print(json.dumps({**line, **load}))


if __name__ == "__main__":
    main()
