"""Snapshot and changes together are the snapshot that is built from the same rows, byte for byte."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.live import Event, Shop, as_changes, random_events, shop_schema, take_all

from kincast.clock import Span
from kincast.graph.compact import compact
from kincast.graph.delta import DeltaLog, segments
from kincast.graph.follow import Live
from kincast.graph.open import open_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.schema import Schema
from kincast.source.change import Delivery


def deliveries(schema: Schema, events: list[Event], draw: random.Random) -> list[Delivery]:
    """Events in any order, some twice, in deliveries of any size."""
    events = [*events, *draw.sample(events, len(events) // 3)]
    draw.shuffle(events)
    found = []
    while events:
        size = draw.randint(1, len(events))
        part, events = events[:size], events[size:]
        found.append(Delivery("s", str(len(events)), tuple(as_changes(schema, part))))
    return found


KEYS = st.sampled_from(["BIGINT", "VARCHAR", "mixed"])


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6), KEYS, st.sampled_from([None, Span(-1, "days"), Span(1, "months")]))
def test_as_the_rebuilt(tmp_path_factory: pytest.TempPathFactory, seed: int, keys: str, shift: Span | None) -> None:
    folder, draw = tmp_path_factory.mktemp("compact"), random.Random(seed)
    schema = shop_schema(keys, shift)
    shop = Shop(schema)
    take_all(shop, random_events(schema, draw, draw.choice([0, 40])))
    root = folder / "live"
    shop.build(root)
    events = random_events(schema, draw, draw.choice([3, 60]), first=1000)
    take_all(shop, events)
    given_now = deliveries(schema, events, draw)
    stop = draw.randrange(len(given_now) + 1)
    with DeltaLog(root) as log:
        for delivery in given_now[:stop]:
            log.append(delivery)
    compact(root)  # what comes late meets what is folded in
    with DeltaLog(root) as log:
        for delivery in [*given_now[stop:], given_now[0]]:
            log.append(delivery)
    made = compact(root)
    assert made.id == shop.build(folder / "rebuilt").id
    assert open_snapshot(root, verify=True).id == made.id
    assert compact(root).id == made.id
    assert len(segments(root / "delta")) == 1


def test_a_view_when_rows_are_lifted_that_name_unheard_keys(tmp_path: Path) -> None:
    schema = shop_schema()
    shop = Shop(schema)
    at = np.datetime64("2024-01-01", "us").item()
    old = [
        Event("products", (5,), 1, {"id": 5, "price": 1.0}, False),
        Event("invoices", (1,), 2, {"id": 1, "at": at}, False),
        Event("lines", (1, 1), 3, {"invoice": 1, "place": 1, "product": 5, "amount": 1.0}, False),
    ]
    take_all(shop, old)
    shop.build(tmp_path)
    moved = Event("invoices", (1,), 10, {"id": 1, "at": at + timedelta(days=2)}, False)
    with DeltaLog(tmp_path) as log, Live(tmp_path) as live:
        log.append(Delivery("s", "1", tuple(as_changes(schema, [moved]))))
        view = live.refresh()
    line, product = view.tables["lines"], view.links[1]
    assert (line.num_live, line.dead_rows.tolist(), product.live_forward.tolist()) == (1, [0], [0])


def test_a_follower_goes_over_to_the_compacted(tmp_path: Path) -> None:
    schema, draw = shop_schema(), random.Random(3)
    shop = Shop(schema)
    take_all(shop, random_events(schema, draw, 30))
    shop.build(tmp_path)
    with DeltaLog(tmp_path) as log, Live(tmp_path) as live:
        first = live.view
        assert live.refresh() is first
        events = random_events(schema, draw, 30, first=1000)
        log.append(Delivery("s", "1", tuple(as_changes(schema, events))))
        second = live.refresh()
        assert (second.record, second.base.id) == (1, first.base.id)
        assert {name: table.num_live for name, table in first.tables.items()} == dict.fromkeys(first.tables, 0)
        made = compact(tmp_path)
        third = live.refresh()
        assert third.base.id == made.id
        assert all(table.num_live == 0 for table in third.tables.values())
        log.append(Delivery("s", "2", tuple(as_changes(schema, events))))
        assert all(table.num_live == 0 for table in live.refresh().tables.values())
        live.start(0.01)
        log.append(Delivery("s", "3", tuple(as_changes(schema, random_events(schema, draw, 5, first=2000)))))
        assert live.wait_for(3, timeout_s=30)
        assert live.problem is None


def test_the_view_goes_on_while_the_compacted_is_opened(tmp_path: Path) -> None:
    schema, draw = shop_schema(), random.Random(4)
    shop = Shop(schema)
    shop.build(tmp_path)
    held, waits = threading.Event(), threading.Event()

    def on_base(base: Snapshot) -> None:
        if base.id != old:
            held.set()
            assert waits.wait(60)

    old = open_snapshot(tmp_path).id
    with DeltaLog(tmp_path) as log, Live(tmp_path, on_base=on_base) as live:

        def deliver(number: int) -> None:
            events = random_events(schema, draw, 20, first=1000 * number)
            take_all(shop, events)
            log.append(Delivery("s", str(number), tuple(as_changes(schema, events))))

        deliver(1)
        live.start(0.01)
        made = compact(tmp_path, log=log)
        assert held.wait(60)
        deliver(2)
        assert live.wait_for(2, timeout_s=60)
        assert live.view.base.id == old
        waits.set()
        deliver(3)
        while live.view.base.id == old:
            threading.Event().wait(0.01)
        assert live.view.base.id == made.id
        assert live.wait_for(3, timeout_s=60)
        assert live.problem is None
    assert compact(tmp_path).id == shop.build(tmp_path / "rebuilt").id
