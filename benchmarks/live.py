"""Live: how long from a row's commit in PostgreSQL until it is sampled, and what ingest costs those who read meanwhile.

The script starts a PostgreSQL server of its own. A process writes orders at a steady rate in small transactions;
another is ``kincast ingest``; this one keeps the live view and samples it. The last order of each transaction belongs
to one of a few customers whose newest orders are sampled whenever the view is new: the time between the return of
COMMIT and the return of that sample is what counts. A reader thread samples other customers all the time, first
alone, then beside the writer, then beside writer, ingest and view. Figures of a busy machine are not to be quoted.

    python benchmarks/live.py --seconds 60
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import adbc_driver_postgresql.dbapi as driver
import numpy as np
from postgres_server import Server, run

from kincast.graph.follow import Live
from kincast.graph.ingest import rebuild
from kincast.graph.live import LiveSnapshot
from kincast.sample.batch import Seeds
from kincast.sample.live import LiveSampler
from kincast.sample.sampler import Sampler
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.postgres import PostgresSource
from kincast.source.replication import PostgresChanges

FAR_US = 4_000_000_000_000_000
NUM_PROBES = 40
ROWS_A_TRANSACTION = 20
SCHEMA = Schema(
    (
        Table("customers", (Column("id", SemanticType.ID, "BIGINT"),), ("id",)),
        Table(
            "orders",
            (
                Column("id", SemanticType.ID, "BIGINT"),
                Column("customer", SemanticType.ID, "BIGINT"),
                Column("at", SemanticType.TIMESTAMP, "TIMESTAMP"),
                Column("amount", SemanticType.NUMERICAL, "DOUBLE"),
                Column("status", SemanticType.CATEGORICAL, "VARCHAR"),
            ),
            ("id",),
            RowTime(column="at"),
        ),
    ),
    (Link("orders", ("customer",), "customers", ("id",)),),
)


def make_shop(url: str, customers: int, orders: int) -> None:
    """Customers, and orders of two years before the ones to come."""
    run(
        url,
        f"""
        CREATE TABLE customers (id bigint PRIMARY KEY);
        CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint REFERENCES customers, at timestamp,
            amount float8, status text);
        INSERT INTO customers SELECT i FROM generate_series(1, {customers}) i;
        INSERT INTO orders SELECT i, {NUM_PROBES} + 1 + (random() * {customers - NUM_PROBES - 1})::bigint,
            timestamp '2022-01-01' + i * interval '1 minute', random() * 100, 'paid'
            FROM generate_series(1, {orders}) i;
        """,
    )


def make_project(folder: Path, url: str) -> Path:
    """A project that follows the database, its snapshot built; returns the folder of its snapshots."""
    from kincast.card import write_card

    (folder / "kincast.yaml").write_text(f"source: {url}\nlive:\n  stream: postgresql\n")
    write_card(folder / "schema.yaml", SCHEMA, {})
    root = folder / ".kincast" / "snapshots"
    source = PostgresSource(url, folder)
    with contextlib.closing(PostgresChanges(source, SCHEMA)) as stream:
        rebuild(stream, source, SCHEMA, root)
    return root


def write(url: str, customers: int, first: int, rate: int, seconds: float) -> None:
    """Insert at a steady rate; prints [id of a transaction's last row, when its commit returned] of each."""
    committed = []
    step_s = ROWS_A_TRANSACTION / rate
    rng = np.random.default_rng(first)
    with driver.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        start, id_ = time.time(), first
        for turn in range(int(seconds / step_s)):
            time.sleep(max(0.0, start + turn * step_s - time.time()))
            owners = [*rng.integers(NUM_PROBES + 1, customers, ROWS_A_TRANSACTION - 1).tolist(), 1 + turn % NUM_PROBES]
            rows = ", ".join(f"({id_ + i}, {owner}, now(), {i}, 'new')" for i, owner in enumerate(owners))
            cursor.executescript(f"INSERT INTO orders VALUES {rows}")
            id_ += ROWS_A_TRANSACTION
            committed.append((id_ - 1, time.time()))
    print(json.dumps({"committed": committed, "seconds": time.time() - start}))


@contextlib.contextmanager
def writer(
    options: argparse.Namespace, url: str, first: int, seconds: float
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """The writing process, killed if it is still there when the block ends, and the file that it writes to at last."""
    command = [sys.executable, __file__, "--write", url, "--first", str(first), "--customers", str(options.customers)]
    command += ["--rate", str(options.rate), "--seconds", str(seconds)]
    with tempfile.TemporaryFile() as notes:  # a pipe that nobody reads meanwhile would be full
        process = subprocess.Popen(command, stdout=notes)
        try:
            yield process, notes
        finally:
            process.kill()
            process.wait()


class Reader:
    """Samples customers in a thread all the time, of whatever view is the newest.

    Args:
        live: has the views.
        sampler: whose settings to use.
        customers: how many there are.
    """

    def __init__(self, live: Live, sampler: Sampler, customers: int) -> None:
        self._live, self._sampler, self._customers = live, sampler, customers
        self._stopping = threading.Event()
        self.took_s: list[float] = []
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        """Batches a second, and how long one takes."""
        took = np.array(self.took_s) * 1e3
        return {
            "batches_per_s": round(len(took) / self.seconds, 1),
            "p50_ms": round(float(np.percentile(took, 50)), 3),
            "p99_ms": round(float(np.percentile(took, 99)), 3),
        }

    def _run(self) -> None:
        rng = np.random.default_rng(0)
        start, view, sampler = time.perf_counter(), None, None
        while not self._stopping.is_set():
            began = time.perf_counter()
            if self._live.view is not view:
                view = self._live.view
                sampler = LiveSampler(view, self._sampler)
            rows = rng.integers(0, self._customers, 256)
            sampler.sample(Seeds("customers", rows, np.full(256, FAR_US)))  # type: ignore[union-attr]
            self.took_s.append(time.perf_counter() - began)
        self.seconds = time.perf_counter() - start


def newest_orders(view: LiveSnapshot, sampler: Sampler) -> list[int]:
    """Ids of the live orders that a sample of the probed customers holds."""
    rows = view.rows_of("customers", np.arange(1, NUM_PROBES + 1))
    batch = LiveSampler(view, sampler).sample(Seeds("customers", rows, np.full(NUM_PROBES, FAR_US)))
    orders = batch.rows["orders"]
    fresh = orders[orders >= view.tables["orders"].num_base] - view.tables["orders"].num_base
    found: list[int] = view.columns("orders", ["id"], fresh).column(0).to_pylist()
    return found


def follow(options: argparse.Namespace, url: str, project: Path, live: Live, first: int) -> dict[str, Any]:
    """Writer, ingest and view together; returns the delays."""
    sampler = Sampler(live.view.base, [24])
    command = [sys.executable, "-m", "kincast.cli.main", "ingest", "--follow", "--project", str(project)]
    seen: dict[int, float] = {}
    ingester = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    live.start(options.interval)
    try:
        with writer(options, url, first, options.seconds) as (process, notes):
            view, until = live.view, float("inf")
            while time.monotonic() < until:
                if live.view is not view:
                    view = live.view
                    orders = newest_orders(view, sampler)
                    now = time.time()
                    for id_ in orders:
                        seen.setdefault(id_, now)
                elif process.poll() is not None and until == float("inf"):
                    until = time.monotonic() + 3.0  # what came last has to come through too
                else:
                    time.sleep(0.002)
            notes.seek(0)
            written = json.loads(notes.read())
    finally:
        live.stop()
        ingester.send_signal(signal.SIGINT)
        ingester.wait(30)
    committed = written["committed"][int(options.warm_up * options.rate / ROWS_A_TRANSACTION) :]
    missing = [id_ for id_, _ in committed if id_ not in seen]
    delays = np.array([seen[id_] - at for id_, at in committed if id_ in seen])
    rows = len(written["committed"]) * ROWS_A_TRANSACTION
    return {
        "rows_per_s": round(rows / written["seconds"]),
        "probes": len(committed),
        "never_sampled": len(missing),
        "commit_to_sampled_s": {f"p{q}": round(float(np.percentile(delays, q)), 3) for q in (50, 90, 99, 100)},
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All phases; see the top of the file."""
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        make_shop(server.url, options.customers, options.orders)
        project = Path(folder)
        root = make_project(project, server.url)
        reading = Sampler(Live(root).view.base, [16, 8])
        found: dict[str, Any] = {"load": os.getloadavg()[0], "cores": os.cpu_count()}
        with Live(root) as live:
            newest_orders(live.view, reading)  # the kernels are compiled now
            with Reader(live, reading, options.customers) as reader:
                time.sleep(options.seconds / 4)
            found["reader_alone"] = reader.figures()
            first = options.orders + 1
            with (
                Reader(live, reading, options.customers) as reader,
                writer(options, server.url, first, options.seconds / 4) as (process, _),
            ):
                process.wait()
            found["reader_beside_writer"] = reader.figures()
        first += int(options.seconds * options.rate)
        with Live(root) as live, Reader(live, reading, options.customers) as reader:
            found["live"] = follow(options, server.url, project, live, first)
        found["reader_beside_all"] = reader.figures()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="that the writer writes beside ingest")
    parser.add_argument("--rate", type=int, default=2_000, help="rows a second")
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds of the writer that do not count")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between renewals of the view")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--orders", type=int, default=200_000, help="in the snapshot already")
    parser.add_argument("--write", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.customers, options.first, options.rate, options.seconds)
        return
    print(json.dumps(measure(options), indent=2))


if __name__ == "__main__":
    main()
