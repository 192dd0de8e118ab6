"""Kills: a builder that is killed, or whose disk fails, at any moment; the last good snapshot opens, the next is right.

    python -m benchmarks.kills builder --kills 1000      SIGKILL after random delays
    python -m benchmarks.kills disk                      every write fails once, for good, torn; needs a C compiler
    python -m benchmarks.kills disk --every 7            one call in seven

Exit code 1 when a single one went wrong.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from kincast.errors import StorageError
from kincast.graph.build import build_snapshot
from kincast.graph.history import read_history
from kincast.graph.open import open_snapshot
from kincast.schema import Column, Link, RowTime, Schema, SemanticType, Table
from kincast.source.base import Source
from kincast.source.open import open_source
from kincast.testing.disk import Disk, Refusal, compile_disk, preloaded

_ID, _TIME, _NUMBER = SemanticType.ID, SemanticType.TIMESTAMP, SemanticType.NUMERICAL

SCHEMA = Schema(
    (
        Table(
            "events",
            (
                Column("user_id", _ID, "BIGINT"),
                Column("name", _ID, "VARCHAR"),
                Column("at", _TIME, "TIMESTAMP"),
                Column("amount", _NUMBER, "DOUBLE"),
            ),
            (),
            RowTime("at"),
        ),
        Table(
            "users",
            (
                Column("user_id", _ID, "BIGINT"),
                Column("joined", _TIME, "TIMESTAMP"),
                Column("left", _TIME, "TIMESTAMP"),
            ),
            ("user_id",),
            RowTime("joined"),
            "left",
        ),
        Table("names", (Column("name", _ID, "VARCHAR"),), ("name",)),
    ),
    (Link("events", ("user_id",), "users", ("user_id",)), Link("events", ("name",), "names", ("name",))),
)


def make_source(folder: Path, num_events: int, salt: int, kind: str = "parquet") -> Source:
    """Three tables with every kind of file that a snapshot has, rejected rows included."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "users": "range AS user_id, TIMESTAMP '2024-01-01' + to_days((range % 40)::INTEGER) AS joined, "
        f"CASE WHEN range % 5 = 0 THEN TIMESTAMP '2025-01-01' END AS left FROM range({num_events // 10 + 2})",
        "names": f"'name ' || range AS name FROM range({num_events // 20 + 2})",
        "events": f"(hash(range + {salt}) % {num_events // 10 + 4})::BIGINT AS user_id, "
        f"'name ' || (hash(range * 3 + {salt}) % {num_events // 20 + 3}) AS name, CASE WHEN range % 50 != 7 THEN "
        f"TIMESTAMP '2024-03-01' + to_seconds((hash(range * 7 + {salt}) % 9999999)::BIGINT) END AS at, "
        f"range / 7 AS amount FROM range({num_events})",
    }
    with duckdb.connect(str(folder / "all.duckdb") if kind == "duckdb" else ":memory:") as connection:
        for name, rows in tables.items():
            if kind == "duckdb":
                connection.execute(f"CREATE TABLE {name} AS SELECT {rows}")
            else:
                connection.execute(f"COPY (SELECT {rows}) TO '{folder / name}.parquet' (FORMAT parquet)")
    return open_source(str(folder / "all.duckdb" if kind == "duckdb" else folder))


@dataclass
class Findings:
    """What went wrong, and how far each attempt came."""

    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def __str__(self) -> str:
        lines = [f"  {count:7,}  {what}" for what, count in sorted(self.counts.items())]
        return "\n".join([*lines, f"  {len(self.wrong):7,}  went wrong", *(f"    {line}" for line in self.wrong[:20])])


def kill_builders(folder: Path, kills: int, num_events: int, seed: int = 0) -> Findings:
    """Kill builders at random moments, now and then let one finish, and look after each."""
    draw = random.Random(seed)
    old, new = make_source(folder / "old", num_events, 1), make_source(folder / "new", num_events, 2)
    ids = [build_snapshot(source, SCHEMA, folder / "undisturbed").id for source in (old, new)]
    root, found = folder / "snapshots", Findings()
    before = build_snapshot(old, SCHEMA, root).id
    with Builders() as builders:
        builders.build(folder / "old", folder / "timed", None)
        start = time.perf_counter()
        builders.build(folder / "new", folder / "timed", None)
        longest = time.perf_counter() - start
        for number in range(kills):
            which = number % 2
            killed = builders.build(folder / ("new" if which else "old"), root, draw.uniform(0, longest * 1.1))
            found.count("killed" if killed else "finished before the kill")
            now = open_snapshot(root, verify=True).id
            found.expect(now in (before, ids[which]), f"kill {number}: {now} is current")
            found.expect(killed or now == ids[which], f"kill {number}: the finished build {ids[which]} is not current")
            before = now
            if number % 10 == 9 or number == kills - 1:
                left = any(root.glob(".building-*"))
                found.count("leftovers to be cleaned" if left else "nothing left over")
                again = build_snapshot(new if which else old, SCHEMA, root)
                found.expect(again.id == ids[which], f"kill {number}: rebuilt as {again.id}, undisturbed {ids[which]}")
                found.expect(not any(root.glob(".building-*")), f"kill {number}: leftovers stay")
                before = again.id
    told = read_history(root)
    found.expect([p.number for p in told] == list(range(told[0].number, told[-1].number - 1, -1)), "history has gaps")
    return found


_BUILDERS = """
import os, sys
from pathlib import Path
from benchmarks.kills import SCHEMA
from kincast.graph.build import build_snapshot
from kincast.source.open import open_source
for line in sys.stdin:
    source, root = line.rstrip(chr(10)).split(chr(9))
    child = os.fork()
    if not child:
        code = 70
        try:
            build_snapshot(open_source(source), SCHEMA, Path(root))
            code = 0
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Builders:
    """Starts builders one at a time from a process that has imported all they need but used none of it."""

    def __init__(self) -> None:
        home = Path(__file__).resolve().parents[1]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(home / "src")])}
        command = [sys.executable, "-c", _BUILDERS]
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def __enter__(self) -> Builders:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.__exit__(None, None, None)

    def build(self, source: Path, root: Path, seconds: float | None) -> bool:
        """Build and kill the builder after so many seconds; True when it was killed."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(f"{source}\t{root}\n")
        self._parent.stdin.flush()
        child = int(self._parent.stdout.readline())
        timer = threading.Timer(seconds or 0, lambda: os.kill(child, signal.SIGKILL))
        if seconds is not None:
            timer.start()
        code = os.waitstatus_to_exitcode(int(self._parent.stdout.readline()))
        timer.cancel()
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"the builder failed by itself with exit code {code}")
        return code != 0


def fail_writes(folder: Path, every: int, kind: str, num_events: int = 40) -> Findings:
    """Let every call of a build that writes fail, in each way; in a program with the failing disk preloaded."""
    old, new = make_source(folder / "old", num_events, 1, kind), make_source(folder / "new", num_events, 2, kind)
    root, found = folder / "snapshots", Findings()
    before = build_snapshot(old, SCHEMA, root).id
    expected = build_snapshot(new, SCHEMA, folder / "undisturbed").id
    disk = Disk(root)
    disk.fail(0, 0)
    build_snapshot(new, SCHEMA, root)
    calls = disk.num_calls
    _put_back(root, expected, old)
    found.counts[f"calls that write in a build from {kind}"] = calls
    for error, for_good, way in (
        (errno.ENOSPC, False, Refusal.CLEAN),
        (errno.ENOSPC, True, Refusal.CLEAN),
        (errno.EIO, False, Refusal.CLEAN),
        (errno.EIO, True, Refusal.CLEAN),
        (errno.EIO, False, Refusal.TORN),
        (errno.ENOSPC, True, Refusal.TORN),
        (errno.ENOSPC, False, Refusal.SHORT),
    ):
        name = f"{errno.errorcode[error]} {way.name.lower()} {'for good' if for_good else 'once'}"
        for at in range(1, calls + 1, every):
            where = f"{kind}, call {at}, {name}"
            disk.fail(at, error, for_good, way)
            try:
                built = build_snapshot(new, SCHEMA, root).id
                found.count(f"{name}: built all the same")
                found.expect(built == expected, f"{where}: built {built}, undisturbed {expected}")
            except StorageError:
                found.count(f"{name}: refused as StorageError")
                found.expect(way is not Refusal.SHORT, f"{where}: a short write is no failure")
            except BaseException as fault:
                found.expect(False, f"{where}: {type(fault).__name__}: {str(fault)[:150]}")
            disk.fail(0, 0)
            now = open_snapshot(root, verify=True).id
            found.expect(now in (before, expected), f"{where}: {now} is current")
            again = build_snapshot(new, SCHEMA, root).id
            found.expect(again == expected, f"{where}: built {again} when the disk was well again")
            left = [path.name for path in root.iterdir() if path.name.startswith((".building", ".removed", ".partial"))]
            found.expect(not left, f"{where}: {left} stay")
            _put_back(root, expected, old)
    return found


def _put_back(root: Path, expected: str, old: Source) -> None:
    """Make the old version current and take the new one away, so that the next build has all its writes to do."""
    from kincast.graph.collect import collect

    build_snapshot(old, SCHEMA, root)
    assert expected in collect(root, keep=0).removed


def run_preloaded(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run this program again with the failing disk before the C library."""
    home = Path(__file__).resolve().parents[1]
    env = {**os.environ, **preloaded(compile_disk(folder))}
    env["PYTHONPATH"] = os.pathsep.join([str(home), str(home / "src")])
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.kills", *arguments],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def main() -> int:
    """1 when something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("builder", "disk"))
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--events", type=int, default=20_000, help="rows of the largest table (builder)")
    parser.add_argument("--every", type=int, default=1, help="try one call in so many (disk)")
    parser.add_argument("--source", choices=("parquet", "duckdb"), default="parquet", help="kind of database (disk)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "builder":
            found = kill_builders(folder, options.kills, options.events)
        elif "LD_PRELOAD" not in os.environ:
            done = run_preloaded(sys.argv[1:], folder)
            print(done.stdout, end="")
            return done.returncode
        else:
            found = fail_writes(folder, options.every, options.source)
    print(f"{options.what}: {'all well' if not found.wrong else 'NOT WELL'}\n{found}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
