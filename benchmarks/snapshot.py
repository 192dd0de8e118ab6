"""Snapshot: rows a second, CPU, peak memory and bytes per edge of a build from Parquet, beside other graph builders.

    python -m benchmarks.snapshot --rows 20000000
    python -m benchmarks.snapshot --rows 20000000 --order time
    python -m benchmarks.snapshot --rows 50000000                  10^8 edges; about 10 GB of disk
    python -m benchmarks.snapshot --rows 2000000 --relbench PYTHON --kumo PYTHON

Users ← events → items: events have a key, a time, two foreign keys with a power law, and two numbers; there are 20
times fewer users and 200 times fewer items. Each builder runs in a process of its own, on the same files, one after the
other; imports are not timed. A rival is timed when the Python of an environment is given in which it is installed
(``relbench`` with ``torch``, ``torch_geometric`` and ``pytorch-frame``; ``kumo-engine``). What is not measured is said.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table

QUOTED = {
    "kumo-engine 1.0.0, 4.22 M rows, two idle cores": "485 K rows/s",
    "kumo-engine 1.0.0, 21.2 M rows, loaded": "302 K rows per CPU-second, 3.3 GB peak, 57 bytes a row on disk",
}
_KINDS = {
    "id": SemanticType.ID,
    "at": SemanticType.TIMESTAMP,
    "n": SemanticType.NUMERICAL,
    "c": SemanticType.CATEGORICAL,
}
_COLUMNS = {
    "users": "user_id:id:BIGINT joined_at:at:TIMESTAMP age:n:INTEGER city:c:VARCHAR",
    "items": "item_id:id:BIGINT price:n:DOUBLE category:c:VARCHAR",
    "events": "event_id:id:BIGINT user_id:id:BIGINT item_id:id:BIGINT at:at:TIMESTAMP amount:n:DOUBLE "
    "quantity:n:INTEGER",
}


def make_schema() -> Schema:
    """Of the generated database."""
    tables = []
    for name, columns in _COLUMNS.items():
        made = tuple(Column(c, _KINDS[kind], stored) for c, kind, stored in (x.split(":") for x in columns.split()))
        time_column = {"users": "joined_at", "events": "at"}.get(name)
        tables.append(Table(name, made, (made[0].name,), RowTime(time_column) if time_column else None))
    links = (Link("events", ("user_id",), "users", ("user_id",)), Link("events", ("item_id",), "items", ("item_id",)))
    return Schema(tuple(tables), links)


def make_data(folder: Path, rows: int, order: str) -> None:
    """Write the three tables as Parquet; events in the order of time or in none."""
    users, items, year = max(rows // 20, 2), max(rows // 200, 2), 31_536_000_000_000
    step = year // rows
    micros = f"range * {step} + hash(range) % 1000" if order == "time" else f"hash(range) % {year}"
    power = "pow((hash(range + {salt}) % 1000000007) / 1000000007.0, 1.5)"
    tables = {
        "users": "range + 1 AS user_id, (hash(range + 7) % 80)::INTEGER AS age, "
        "'city' || (hash(range + 9) % 500) AS city, "
        "TIMESTAMP '2022-01-01' + to_microseconds((hash(range) % 63072000000000)::BIGINT) AS joined_at "
        f"FROM range({users})",
        "items": "range + 1 AS item_id, (hash(range) % 10000) / 100.0::DOUBLE AS price, "
        f"'category' || (hash(range + 9) % 50) AS category FROM range({items})",
        "events": f"range + 1 AS event_id, (1 + floor({users} * {power.format(salt=3)}))::BIGINT AS user_id, "
        f"(1 + floor({items} * {power.format(salt=5)}))::BIGINT AS item_id, "
        f"TIMESTAMP '2024-01-01' + to_microseconds(({micros})::BIGINT) AS \"at\", "
        f"(hash(range + 11) % 100000) / 100.0::DOUBLE AS amount, (1 + hash(range + 13) % 5)::INTEGER AS quantity "
        f"FROM range({rows})",
    }
    folder.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '2GiB'")
        for name, chosen in tables.items():
            connection.execute(f"COPY (SELECT {chosen}) TO '{folder / name}.parquet' (FORMAT parquet)")


def build(data: Path, out: Path) -> dict[str, Any]:
    """Build a snapshot and measure it; in a process of its own."""
    from kincast.graph.build import build_snapshot
    from kincast.source.open import open_source

    spent, steps, last = os.times(), {}, ["", time.perf_counter()]

    def progress(step: str, done: int, total: int | None) -> None:
        now = time.perf_counter()
        if last[0]:
            steps[last[0]] = steps.get(last[0], 0.0) + now - last[1]
        last[:] = [step, now]

    start = time.perf_counter()
    snapshot = build_snapshot(open_source(str(data)), make_schema(), out, progress)
    seconds, after = time.perf_counter() - start, os.times()
    files = snapshot.manifest.files
    edges = sum(snapshot.manifest.num_edges.values())
    link_bytes = sum(entry.size_bytes for name, entry in files.items() if name.startswith("link/"))
    return {
        "rows": sum(snapshot.manifest.num_rows.values()),
        "seconds": seconds,
        "cpu_seconds": after.user + after.system - spent.user - spent.system,
        "edges": edges,
        "bytes_per_row": sum(e.size_bytes for e in files.values()) / sum(snapshot.manifest.num_rows.values()),
        "bytes_per_edge_and_direction": link_bytes / (2 * edges),
        "steps": {step: round(seconds, 2) for step, seconds in steps.items()},
    }


def measure(name: str, command: list[str], env: dict[str, str]) -> dict[str, Any]:
    """Run a builder that prints one line of JSON, and watch its memory."""
    anonymous = 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, text=True, env=env)
        while True:
            anonymous = max(anonymous, _anonymous_bytes(child.pid))
            pid, status, used = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        lines, complaint = out.read().strip().splitlines(), err.read().strip()
    if child.returncode or not lines:
        return {"name": name, "failed": f"exit code {child.returncode}: {complaint[-400:]}"}
    peaks = {"peak_rss_bytes": used.ru_maxrss * 1024, "peak_anonymous_bytes": anonymous}
    return {"name": name, **json.loads(lines[-1]), **peaks}


def _anonymous_bytes(pid: int) -> int:
    """Memory that is not of a file; what is mapped of one counts as resident but can be dropped at any time."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def show(found: dict[str, Any]) -> None:
    """Print what was measured of one builder."""
    if "failed" in found:
        print(f"{found['name']}: NOT MEASURED: {found['failed']}")
        return
    rate, per_cpu = found["rows"] / found["seconds"], found["rows"] / found["cpu_seconds"]
    print(
        f"{found['name']}: {found['rows']:,} rows in {found['seconds']:.1f} s: {rate / 1e3:,.0f} K rows/s, "
        f"{per_cpu / 1e3:,.0f} K rows per CPU-second, peak {found['peak_rss_bytes'] / 2**30:.2f} GiB resident, "
        f"{found['peak_anonymous_bytes'] / 2**30:.2f} GiB of it not of files"
    )
    if "edges" in found:
        per_edge = found["bytes_per_edge_and_direction"]
        print(f"    {found['edges']:,} edges, {per_edge:.2f} bytes per edge and direction, offsets included")
    if "bytes_per_row" in found:
        print(f"    {found['bytes_per_row']:.1f} bytes a row on disk in all")
    if "steps" in found:
        print("    " + ", ".join(f"{step} {seconds} s" for step, seconds in found["steps"].items()))


def run(options: argparse.Namespace, folder: Path) -> int:
    """Make the data and measure each builder; 1 when ours failed."""
    data = folder / "data"
    print(
        f"{options.rows:,} events, {'in time order' if options.order == 'time' else 'in no order'}; load",
        os.getloadavg(),
    )
    make_data(data, options.rows, options.order)
    home = Path(__file__).resolve().parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(home / "src")])}
    ours = {}
    for number in range(options.repeat):
        out = folder / "snapshots"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.snapshot", "--child", str(data), str(out)]
        ours = measure(f"kincast, run {number + 1}", command, env)
        show(ours)
    for rival in ("relbench", "kumo"):
        python = getattr(options, rival)
        if python is None:
            print(f"{rival}: NOT MEASURED: no environment was given with --{rival}")
            continue
        script = Path(__file__).parent / "rivals" / f"snapshot_{rival}.py"
        out = folder / rival
        out.mkdir()
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        found = measure(rival, [python, str(script), str(data), str(out)], plain)
        show(found)
        if "failed" not in found and "failed" not in ours:
            ratio = ours["rows"] / ours["seconds"] / (found["rows"] / found["seconds"])
            per_cpu = ours["rows"] / ours["cpu_seconds"] / (found["rows"] / found["cpu_seconds"])
            print(f"    kincast / {rival}: {ratio:.1f} by the clock, {per_cpu:.1f} by CPU time")
    for what, figure in QUOTED.items():
        print(f"quoted, measured on another day: {what}: {figure}")
    print("load", os.getloadavg())
    return 1 if "failed" in ours else 0


def main() -> int:
    """1 when the build failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000, help="of the table of events")
    parser.add_argument("--order", choices=("time", "none"), default="none", help="in which the events lie in the file")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--relbench", metavar="PYTHON")
    parser.add_argument("--kumo", metavar="PYTHON")
    parser.add_argument("--folder", type=Path, help="where to work; made anew and removed")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(build(*options.child)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        return run(options, Path(name))


if __name__ == "__main__":
    sys.exit(main())
