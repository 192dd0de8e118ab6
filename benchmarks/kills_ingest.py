"""Kills: SIGKILL of the ingester and of PostgreSQL at random moments, then the same snapshot as a rebuild's.

The script starts a PostgreSQL server of its own and changes its rows at random all the time: rows are inserted,
updated, deleted, given other keys, and made unfit for the card. An ingester takes the changes in. Again and again the
one or the other is killed and started anew; now and then the log is compacted meanwhile. After every few kills the
changes pause, the ingester catches up, and the compacted snapshot must have the id of one that is built from the
database. The current snapshot must open, whole, after every kill.

    python benchmarks/kills_ingest.py --kills 1000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as driver
from postgres_server import Server

from kincast.graph.build import build_snapshot
from kincast.graph.compact import compact
from kincast.graph.delta import DeltaLog
from kincast.graph.ingest import ingest, rebuild
from kincast.graph.open import open_snapshot
from kincast.source.change import ChangeStream
from kincast.source.postgres import PostgresSource
from kincast.source.replication import PostgresChanges
from live import SCHEMA, make_shop

CUSTOMERS, ORDERS = 200, 2_000


@contextlib.contextmanager
def stream_of(url: str) -> Iterator[ChangeStream]:
    """The changes of the database."""
    with contextlib.closing(PostgresChanges(PostgresSource(url, Path()), SCHEMA)) as stream:
        yield stream


def take_in(url: str, root: Path, once: bool) -> None:
    """What ``kincast ingest`` does."""
    with stream_of(url) as stream, DeltaLog(root) as log:
        for _ in ingest(stream, log, SCHEMA, once=once, pause=lambda seconds: time.sleep(min(seconds, 0.5))):
            pass


class Changer:
    """Changes rows in a thread until told to pause; a transaction that a kill broke off is simply over."""

    def __init__(self, url: str, seed: int) -> None:
        self._url, self._draw = url, random.Random(seed)
        self._paused, self._idle, self._over = threading.Event(), threading.Event(), False
        self.transactions = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def pause(self) -> None:
        """Let the last transaction end."""
        self._idle.clear()
        self._paused.set()
        self._idle.wait()

    def go_on(self) -> None:
        self._paused.clear()

    def close(self) -> None:
        self._over = True
        self._thread.join()

    def _run(self) -> None:
        while not self._over:
            try:
                with driver.connect(self._url, autocommit=True) as connection, connection.cursor() as cursor:
                    while not self._over:
                        if self._paused.is_set():
                            self._idle.set()
                            time.sleep(0.01)
                            continue
                        cursor.executescript(self._transaction())
                        self.transactions += 1
            except driver.Error:
                time.sleep(0.05)  # the server was killed, or a key was there already

    def _transaction(self) -> str:
        statements = ["BEGIN"]
        for _ in range(self._draw.randint(1, 6)):
            id_, other = (self._draw.randint(1, 2 * ORDERS) for _ in range(2))
            customer = self._draw.randint(1, CUSTOMERS)
            at = self._draw.choice(["now()", "NULL", f"timestamp '2023-01-01' + interval '{other} hours'"])
            statements.append(
                self._draw.choice(
                    (
                        f"INSERT INTO orders VALUES ({id_}, {customer}, {at}, {other}, repeat('x', {other % 3000})) "
                        f"ON CONFLICT (id) DO UPDATE SET amount = {other}, at = excluded.at",
                        f"UPDATE orders SET amount = {other} WHERE id = {id_}",
                        f"UPDATE orders SET id = {other} WHERE id = {id_} "
                        f"AND NOT EXISTS (SELECT 1 FROM orders WHERE id = {other})",
                        f"DELETE FROM orders WHERE id = {id_}",
                        f"INSERT INTO customers VALUES ({CUSTOMERS + id_}) ON CONFLICT DO NOTHING",
                    )
                )
            )
        return "; ".join([*statements, self._draw.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK"))])


def start_ingester(url: str, root: Path) -> subprocess.Popen[bytes]:
    """The process that is killed."""
    return subprocess.Popen([sys.executable, __file__, "--ingest", url, "--root", str(root)])


def is_as_rebuilt(url: str, root: Path) -> bool:
    """Catch up, compact, and compare with a snapshot built from the database."""
    take_in(url, root, once=True)
    made = compact(root)
    with tempfile.TemporaryDirectory() as folder:
        return made.id == build_snapshot(PostgresSource(url, Path()), SCHEMA, Path(folder) / "rebuilt").id


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Kill so many times; raises SystemExit at the first snapshot that is not the rebuilt one."""
    draw, kills, compared = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder, Server("fsync=off") as server, contextlib.ExitStack() as stack:
        root = Path(folder) / "snapshots"
        make_shop(server.url, CUSTOMERS, ORDERS)
        with stream_of(server.url) as stream:
            rebuild(stream, PostgresSource(server.url, Path()), SCHEMA, root)
        changer = Changer(server.url, options.seed)
        stack.callback(changer.close)
        ingester = start_ingester(server.url, root)
        try:
            for turn in range(options.kills):
                time.sleep(draw.uniform(0.0, options.longest))
                if draw.random() < 0.2:
                    compact(root)
                if draw.random() < options.server_share:
                    server.kill()
                    time.sleep(draw.uniform(0.0, 0.5))
                    server.start()
                    kills["PostgreSQL"] += 1
                else:
                    ingester.kill()
                    ingester.wait()
                    ingester = start_ingester(server.url, root)
                    kills["ingester"] += 1
                if ingester.poll() is not None:
                    raise SystemExit(f"the ingester gave up after {turn + 1} kills")
                open_snapshot(root, verify=True)
                if (turn + 1) % options.every == 0 or turn + 1 == options.kills:
                    changer.pause()
                    ingester.kill()
                    ingester.wait()
                    if not is_as_rebuilt(server.url, root):
                        raise SystemExit(
                            f"after {turn + 1} kills the snapshot is not the rebuilt one; seed {options.seed}"
                        )
                    compared += 1
                    changer.go_on()
                    ingester = start_ingester(server.url, root)
        finally:
            ingester.kill()
            ingester.wait()
        return {"kills": dict(kills), "compared": compared, "different": 0, "transactions": changer.transactions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=int, default=10, help="kills between comparisons")
    parser.add_argument("--longest", type=float, default=3.0, help="seconds between kills at most")
    parser.add_argument("--server-share", type=float, default=0.3, help="of the kills that hit PostgreSQL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ingest", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ingest:
        take_in(options.ingest, options.root, once=False)
        return
    print(json.dumps(measure(options), indent=2))


if __name__ == "__main__":
    main()
