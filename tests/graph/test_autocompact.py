"""What has come is compacted by itself, and a kill on the way loses nothing."""

from __future__ import annotations

import logging
import multiprocessing
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.live import Shop, as_changes, random_events, shop_schema, take_all

from kincast.graph import autocompact
from kincast.graph.autocompact import AutoCompact, rows_beside
from kincast.graph.compact import compact
from kincast.graph.delta import DeltaLog, segments
from kincast.graph.follow import Live
from kincast.graph.open import open_snapshot
from kincast.source.change import Delivery

SCHEMA = shop_schema()
NUM = 30


def deliver(log: DeltaLog, shop: Shop | None = None) -> None:
    """The next delivery of so many changes, the same each time."""
    number = int(log.position("s") or 0)
    events = random_events(SCHEMA, random.Random(number), NUM, first=number * NUM)
    if shop is not None:
        take_all(shop, events)
    log.append(Delivery("s", str(number + 1), tuple(as_changes(SCHEMA, events))))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autocompact, "LOOK_EVERY_S", 0.02)


def wait_until(reached: Any) -> None:
    for _ in range(3000):
        if reached():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never came to that")


def test_when_enough_has_come(tmp_path: Path, looks: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kincast.ingest")
    root, shop = tmp_path / "live", Shop(SCHEMA)
    shop.build(root)
    with DeltaLog(root) as log:
        deliver(log, shop)
    assert rows_beside(root) == NUM
    with DeltaLog(root) as log, Live(root) as live, AutoCompact(log, 3 * NUM) as auto:
        deliver(log, shop)  # two of three: it waits
        first = live.refresh()
        deliver(log, shop)
        wait_until(lambda: auto.num_done == 1)
        deliver(log, shop)
        view = live.refresh()
        assert view.base.id != first.base.id
        assert rows_beside(root) == NUM
        assert len(segments(root / "delta")) == 1
    assert compact(root).id == shop.build(tmp_path / "rebuilt").id
    said = [record.getMessage().partition(":")[0].partition(" into")[0] for record in caplog.records]
    assert said == ["compacting", "compacted"]


def test_what_fails_is_said_and_tried_again(
    tmp_path: Path, looks: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(autocompact, "TRY_AGAIN_S", 0.05)
    root, shop = tmp_path / "live", Shop(SCHEMA)
    shop.build(root)
    current = root / "current"
    text = current.read_text()
    with DeltaLog(root) as log:
        deliver(log, shop)
        with AutoCompact(log, 1) as auto:
            wait_until(lambda: auto.num_done == 1)
            current.write_text("damaged")
            deliver(log, shop)
            wait_until(lambda: "was not compacted" in caplog.text)
            assert auto.num_done == 1
            current.write_text(text)
            wait_until(lambda: auto.num_done == 2)


def _take_in(root: str, ready: Any) -> None:
    """Take changes in, and compact after each few, until killed."""
    autocompact.LOOK_EVERY_S = 0.01
    with DeltaLog(Path(root)) as log, AutoCompact(log, 2 * NUM):
        ready.set()
        while True:
            deliver(log)
            threading.Event().wait(0.05)


def test_killed_on_the_way(tmp_path: Path) -> None:
    root, shop, draw = tmp_path / "live", Shop(SCHEMA), random.Random(5)
    shop.build(root)
    context = multiprocessing.get_context("forkserver")
    kept = 0
    for _ in range(3):
        ready = context.Event()
        # The process that compacts is its child, and outlives it: the next one meets it.
        process = context.Process(target=_take_in, args=(str(root), ready))
        process.start()
        assert ready.wait(60)
        threading.Event().wait(1 + 3 * draw.random())
        process.kill()
        process.join()
        open_snapshot(root, verify=True)
        with DeltaLog(root) as log:
            position = int(log.position("s") or 0)
        assert position > kept
        kept = position
    for number in range(kept):
        take_all(shop, random_events(SCHEMA, random.Random(number), NUM, first=number * NUM))
    assert compact(root).id == shop.build(tmp_path / "rebuilt").id
