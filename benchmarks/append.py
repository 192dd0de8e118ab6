"""Append: rows a second that the log takes, and how long until a sampler sees them, with another thread sampling.

One process appends orders to a log at a given rate, or as fast as it can, and notes when it began each delivery. The
other follows the log and notes when a view that has the delivery is there to be sampled; meanwhile a thread samples
from whatever view is the newest. Figures of a busy machine are not to be quoted.

    python benchmarks/append.py --base 2000000 --seconds 20 --rate 100000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kincast.graph.build import build_snapshot
from kincast.graph.delta import DeltaLog
from kincast.graph.follow import Live
from kincast.sample.batch import Seeds
from kincast.sample.live import LiveSampler
from kincast.sample.sampler import Sampler
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.change import Changes, Delivery
from kincast.source.open import open_source

USERS, ITEMS = 100_000, 10_000
MOST_RECORDS = 1_000_000


def main() -> None:
    """Run and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=2_000_000, help="orders in the snapshot")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=int, default=100_000, help="rows a second; 0 for as fast as it goes")
    parser.add_argument("--rows", type=int, default=5_000, help="rows of a delivery")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between renewals of the view")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "snapshots"
        _build(Path(folder), root, options.base)
        print(json.dumps(_measure(Path(folder), root, options)))


def _build(folder: Path, root: Path, num: int) -> None:
    import duckdb

    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        connection.execute(f"CREATE TABLE users AS SELECT range AS id, range % 90 AS age FROM range({USERS})")
        connection.execute(f"CREATE TABLE items AS SELECT range AS id, range % 50 AS price FROM range({ITEMS})")
        connection.execute(
            f"CREATE TABLE orders AS SELECT range AS id, hash(range) % {USERS} AS user, hash(range + 7) % {ITEMS} AS "
            f"item, TIMESTAMP '2024-01-01' + to_microseconds(range * 1000) AS at, random() AS amount FROM range({num})"
        )
    build_snapshot(open_source(str(folder / "shop.duckdb")), _schema(), root)


def _schema() -> Schema:
    def table(name: str, columns: str, time: RowTime | None = None) -> Table:
        made = []
        for part in columns.split():
            column, stored = part.split("=")
            kind = SemanticType.TIMESTAMP if stored == "TIMESTAMP" else SemanticType.NUMERICAL
            made.append(Column(column, kind, stored))
        return Table(name, tuple(made), ("id",), time)

    return Schema(
        (
            table("users", "id=BIGINT age=BIGINT"),
            table("items", "id=BIGINT price=BIGINT"),
            table("orders", "id=BIGINT user=BIGINT item=BIGINT at=TIMESTAMP amount=DOUBLE", RowTime(column="at")),
        ),
        (Link("orders", ("user",), "users", ("id",)), Link("orders", ("item",), "items", ("id",))),
    )


def _write(root: str, notes: str, options: argparse.Namespace) -> None:
    """Append until the time is up; one tenth are updates of older orders."""
    begun = np.memmap(notes, np.int64, "r+", shape=(MOST_RECORDS,))
    rng = np.random.default_rng(0)
    first, num = options.base, options.rows
    with DeltaLog(Path(root)) as log:
        start, rows = time.monotonic(), 0
        while (now := time.monotonic()) - start < options.seconds:
            if options.rate and rows > (now - start) * options.rate:
                time.sleep(0.0005)
                continue
            ids = np.arange(first, first + num)
            first += num
            ids[::10] = rng.integers(0, options.base, len(ids[::10]))
            table = pa.table(
                {
                    "id": ids,
                    "user": rng.integers(0, USERS, num),
                    "item": rng.integers(0, ITEMS, num),
                    "at": pa.array(1_704_067_200_000_000 + np.arange(first, first + num) * 1000, pa.timestamp("us")),
                    "amount": rng.random(num),
                }
            )
            sequence = np.arange(first, first + num)
            begun[log.last + 1] = time.monotonic_ns()
            kept = log.append(Delivery("bench", str(first), (Changes("orders", table, sequence, np.zeros(num, bool)),)))
            begun[0] = kept.record
            rows += num
        begun[MOST_RECORDS - 1] = round(rows / (time.monotonic() - start))


def _measure(folder: Path, root: Path, options: argparse.Namespace) -> dict[str, Any]:
    notes = folder / "notes"
    np.zeros(MOST_RECORDS, np.int64).tofile(notes)
    begun = np.memmap(notes, np.int64, "r", shape=(MOST_RECORDS,))
    seen: list[tuple[int, int]] = []
    stopping = threading.Event()
    with Live(root, lambda view: seen.append((view.record, time.monotonic_ns()))) as live:
        sampled: list[float] = []
        reader = threading.Thread(target=_sample, args=(live, stopping, sampled))
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(str(root), str(notes), options))
        reader.start()
        live.start(options.interval)
        writer.start()
        writer.join()
        live.wait_for(int(begun[0]), timeout_s=60)
        stopping.set()
        reader.join()
        num_live = live.view.tables["orders"].num_live
    delays, record = [], 0
    for until, at_ns in seen[1:]:
        delays += [(at_ns - int(begun[one])) / 1e6 for one in range(record + 1, until + 1)]
        record = until
    quantiles = np.percentile(delays, [50, 99, 100]).round(1).tolist()
    return {
        "rows_per_second": int(begun[MOST_RECORDS - 1]),
        "rows_per_delivery": options.rows,
        "live_rows_at_the_end": num_live,
        "visible_after_ms": dict(zip(("p50", "p99", "max"), quantiles, strict=True)),
        "samples": len(sampled),
        "sample_ms": dict(
            zip(("p50", "p99"), np.percentile(sampled or [0.0], [50, 99]).round(2).tolist(), strict=True)
        ),
        "load": os.getloadavg()[0],
    }


def _sample(live: Live, stopping: threading.Event, sampled: list[float]) -> None:
    rng = np.random.default_rng(1)
    while not stopping.is_set():
        view = live.view
        rows = rng.integers(0, USERS, 64)
        start = time.perf_counter()
        sampler = LiveSampler(view, Sampler(view.base, [16, 8]))
        sampler.sample(Seeds("users", rows, np.full(64, view.max_time_us)))
        sampled.append((time.perf_counter() - start) * 1000)


if __name__ == "__main__":
    main()
