"""Labels: 100 anchors times a million entities over 20 million facts, against a query per anchor.

Customers join over time and order by a power law; orders lie in the order of time, as a snapshot has them. The engine
makes all labels of ``COUNT(orders.*, 0, 7, days)`` block by block into Parquet; the naive loop joins, groups and writes
anchor by anchor, on a few of the anchors. Both run in processes of their own, so that each peak of memory is its own,
and their labels are compared. Then the engine is run again and reads every block, which is there. Figures of a busy
machine are not to be quoted; the load is printed with them.

    python benchmarks/labels.py --facts 20000000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from kincast.project import SplitSettings
from kincast.query.anchors import make_anchors
from kincast.query.block import Plan, make_blocks
from kincast.query.compile import compile_task
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.clean import RowCounts
from kincast.source.tables import Tables

NUM_ANCHORS = 100
NAIVE_ANCHORS = 5
QUERY = "PREDICT COUNT(orders.*, 0, 7, days) FOR EACH customers.id"
FILES = {"customers": "customers.parquet", "orders": "orders.parquet"}
SCHEMA = Schema(
    (
        Table(
            "customers",
            (Column("id", SemanticType.ID, "BIGINT"), Column("joined", SemanticType.TIMESTAMP, "TIMESTAMP")),
            ("id",),
            RowTime(column="joined"),
        ),
        Table(
            "orders",
            (
                Column("customer_id", SemanticType.ID, "BIGINT"),
                Column("amount", SemanticType.NUMERICAL, "DOUBLE"),
                Column("at", SemanticType.TIMESTAMP, "TIMESTAMP"),
            ),
            (),
            RowTime(column="at"),
        ),
    ),
    (Link("orders", ("customer_id",), "customers", ("id",)),),
)


def make_rows(folder: Path, num_facts: int) -> None:
    """A customer to 20 orders; one in ten joins in the time of the orders, the others before."""
    customers = num_facts // 20
    span = f"{(NUM_ANCHORS + 1) * 7 * 86_400_000_000 + 1_000_000}::BIGINT"
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        connection.execute("SELECT setseed(0.5)")
        start = "TIMESTAMP '2022-01-01'"
        joined = f"{start} + to_microseconds(CAST((i / {customers} - 0.9) * 10 * {span} AS BIGINT))"
        key = f"(i * 7919) % {customers}"
        connection.execute(
            f"COPY (SELECT {key} AS id, {joined} AS joined, {joined} AS _time, CAST(NULL AS TIMESTAMP) AS _end "
            f"FROM range({customers}) t(i)) TO '{folder / FILES['customers']}' (COMPRESSION zstd)"
        )
        at = f"{start} + to_microseconds(CAST(i * 1.0 / {num_facts - 1} * {span} AS BIGINT))"
        who = f"CAST(floor({customers} * power(random(), 1.5)) AS BIGINT)"
        connection.execute(
            f"COPY (SELECT {who} AS customer_id, random() AS amount, {at} AS at, {at} AS _time, "
            f"CAST(NULL AS TIMESTAMP) AS _end FROM range({num_facts}) t(i)) "
            f"TO '{folder / FILES['orders']}' (COMPRESSION zstd)"
        )


def open_rows(folder: Path) -> Tables:
    """The generated tables as a snapshot has them."""
    sizes = {name: pq.read_metadata(folder / file).num_rows for name, file in FILES.items()}
    return Tables(SCHEMA, folder, {name: RowCounts(FILES[name], size, size) for name, size in sizes.items()})


def engine(folder: Path) -> dict[str, Any]:
    """All labels, block by block."""
    task = compile_task(QUERY, SCHEMA)
    with open_rows(folder) as tables:
        start = time.perf_counter()
        plan = Plan(task, tables, make_anchors(task, tables, SplitSettings()).all)
        count = sum(table.num_rows for table in make_blocks(plan, folder / "labels"))
    return {"seconds": time.perf_counter() - start, "labels": count, "home": str(folder / "labels" / plan.digest)}


def naive(folder: Path) -> dict[str, Any]:
    """A query for each of the last anchors: join every entity with its facts in the window, group, write."""
    count = 0
    with open_rows(folder) as tables:
        anchors = make_anchors(compile_task(QUERY, SCHEMA), tables, SplitSettings()).all[-NAIVE_ANCHORS:]
        start = time.perf_counter()
        with tables.connect() as connection:
            for number, anchor in enumerate(anchors):
                as_of = f"make_timestamp({anchor})"
                target = folder / f"naive-{number}.parquet"
                connection.execute(
                    f"COPY (SELECT e._row AS row, CAST({anchor} AS BIGINT) AS as_of_us, CAST(count(o._row) AS DOUBLE) "
                    "AS target FROM customers e LEFT JOIN orders o ON o.customer_id = e.id "
                    f"AND o._time > {as_of} AND o._time <= {as_of} + INTERVAL 7 DAY "
                    f"WHERE e._time <= {as_of} GROUP BY e._row ORDER BY e._row) TO '{target}'"
                )
                count += pq.read_metadata(target).num_rows
    return {"seconds": time.perf_counter() - start, "labels": count, "anchors": NAIVE_ANCHORS}


def same_labels(folder: Path, home: Path) -> bool:
    """The naive labels are the engine's of the same anchors."""
    files = sorted(home.glob("block-*.parquet"))
    for number in range(NAIVE_ANCHORS):
        wanted = pq.read_table(folder / f"naive-{number}.parquet")
        as_of = wanted["as_of_us"][0].as_py()
        found = pq.read_table(files[-NAIVE_ANCHORS:], filters=[("as_of_us", "=", as_of)])
        for name in ("row", "target"):
            if not np.array_equal(found[name].to_numpy(), wanted[name].to_numpy()):
                return False
    return True


def in_own_process(part: str, folder: Path) -> dict[str, Any]:
    """What a part found, with the peak of its memory."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Run all, or one part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--facts", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=["engine", "naive"])
    given = parser.parse_args()
    if given.part:
        found = {"engine": engine, "naive": naive}[given.part](given.folder)
        found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        start = time.perf_counter()
        make_rows(folder, given.facts)
        print(f"{given.facts:,} facts of {given.facts // 20:,} entities made in {time.perf_counter() - start:.1f} s")
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        ours, loop = in_own_process("engine", folder), in_own_process("naive", folder)
        for title, one in (("engine", ours), (f"naive loop, {NAIVE_ANCHORS} anchors", loop)):
            rate = one["labels"] / one["seconds"] / 1e6
            print(f"{title}: {one['labels']:,} in {one['seconds']:.1f} s, {rate:.2f} M/s, {one['peak_gib']:.2f} GiB")
        ratio = (ours["labels"] / ours["seconds"]) / (loop["labels"] / loop["seconds"])
        size = sum(file.stat().st_size for file in Path(ours["home"]).iterdir()) / 2**30
        same = same_labels(folder, Path(ours["home"]))
        print(f"{ratio:.1f} times the loop; files {size:.2f} GiB; the same labels: {same}")
        print(f"again, every block there: {in_own_process('engine', folder)['seconds']:.2f} s")
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
