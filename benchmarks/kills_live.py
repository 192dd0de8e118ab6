"""Kills: a process that takes changes in and compacts is killed at random moments; nothing may be lost or torn.

After each kill the current snapshot must open with every hash right, and the log must open where it was kept to. Now
and then, and at the end, the compacted snapshot must be the one that is built from the changes that were kept.

    python benchmarks/kills_live.py --kills 1000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.live import Event, Shop, as_changes, random_events, shop_schema, take_all

from kincast.graph.compact import compact
from kincast.graph.delta import DeltaLog
from kincast.graph.open import open_snapshot
from kincast.source.change import Delivery

EVENTS = 12
"""Changes of a delivery."""

COMPACT_EVERY = 3
BASE = 40


def main() -> None:
    """Run and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--compare-every", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        found = run(Path(folder), options.kills, options.compare_every, options.seed)
        print(json.dumps({**found, "seconds": round(time.monotonic() - start, 1)}))


def run(folder: Path, kills: int, compare_every: int, seed: int = 0) -> dict[str, Any]:
    """Kill so often; returns what happened.

    Raises:
        AssertionError: something was lost, torn or other than it should be.
    """
    draw = random.Random(seed)
    root = folder / "live"
    shop = Shop(shop_schema())
    take_all(shop, _base())
    shop.build(root)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kincast.graph.compact", "tests.live"])
    kept, taken, compared, versions = 0, 0, 0, set()
    for number in range(1, kills + 1):
        ready = context.Event()
        process = context.Process(target=_ingest, args=(str(root), ready), daemon=True)
        process.start()
        assert ready.wait(60), "the process did not start"
        time.sleep(draw.random() ** 2 * 1.5)  # the moment of the kill; nothing waits for anything here
        process.kill()
        process.join()
        versions.add(open_snapshot(root, verify=True).id)
        with DeltaLog(root) as log:
            position = int(log.position("s") or 0)
        assert position >= kept, f"the log went back from {kept} to {position}"
        kept = position
        if number % compare_every == 0 or number == kills:
            for one in range(taken, kept):
                take_all(shop, _events(one))
            taken = kept
            made = compact(root)
            built = shop.build(folder / "rebuilt")
            assert made.id == built.id, f"after {kept} deliveries: {made.id} is not {built.id}"
            shutil.rmtree(folder / "rebuilt")
            compared += 1
    return {"kills": kills, "deliveries": kept, "versions_seen": len(versions), "compared": compared}


def _base() -> list[Event]:
    return random_events(shop_schema(), random.Random(0), BASE)


def _events(number: int) -> list[Event]:
    """The changes of one delivery, the same each time."""
    return random_events(shop_schema(), random.Random(1 + number), EVENTS, first=BASE + number * EVENTS)


def _ingest(root: str, ready: Any) -> None:
    """Go on where the log stands, until killed."""
    schema = shop_schema()
    with DeltaLog(Path(root)) as log:
        number = int(log.position("s") or 0)
        ready.set()
        while True:
            # Also what came before comes again: it must change nothing.
            changes = as_changes(schema, [*_events(number), *(_events(number - 1) if number else [])])
            log.append(Delivery("s", str(number + 1), tuple(changes)))
            number += 1
            if number % COMPACT_EVERY == 0:
                compact(Path(root), log=log)


if __name__ == "__main__":
    main()
