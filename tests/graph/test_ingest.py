"""Ingest: deliveries into the log, bad rows into the dead letters, and everything again after a failure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.live import Shop, as_changes, random_events, shop_schema, take_all

from kincast.errors import SourceError, StorageError
from kincast.graph.append import append_rows
from kincast.graph.compact import compact
from kincast.graph.deadletter import UNREADABLE, DeadLetters
from kincast.graph.delta import DeltaLog
from kincast.graph.follow import Live
from kincast.graph.forget import forget_row
from kincast.graph.ingest import FIRST_PAUSE_S, LONGEST_PAUSE_S, IngestStatus, ingest, rebuild
from kincast.source.change import Changes, Delivery, StreamLostError, Unread

SCHEMA = shop_schema()


class ListStream:
    """Deliveries out of a list; may fail before each."""

    name = "list"

    def __init__(self, deliveries: list[Delivery], failures: list[Exception] | None = None) -> None:
        self.all, self.failures = deliveries, failures or []
        self.quarantined: dict[str, str] = {}
        self.acknowledged: list[str] = []
        self.closed = 0

    def prepare(self, position: str | None) -> str:
        return str(len(self.all))

    def deliveries(self, position: str | None) -> Iterator[Delivery | None]:
        for delivery in self.all[int(position or 0) :]:
            if self.failures:
                raise self.failures.pop(0)
            yield delivery
        while True:
            yield None

    def acknowledge(self, position: str) -> None:
        self.acknowledged.append(position)

    def close(self) -> None:
        self.closed += 1


def stream_of(events: list[list[Changes]]) -> ListStream:
    return ListStream([Delivery("list", str(i + 1), tuple(changes)) for i, changes in enumerate(events)])


def products(ids: list[int | None], sequence: int = 1, table: str = "products") -> Changes:
    n = len(ids)
    rows = pa.table({"id": pa.array(ids, pa.int64()), "price": [1.0] * n})
    return Changes(table, rows, np.full(n, sequence), np.zeros(n, np.bool_))


def test_what_is_delivered_joins_the_graph_once(tmp_path: Path) -> None:
    root, draw = tmp_path / "live", random.Random(1)
    shop = Shop(SCHEMA)
    shop.build(root)
    events = random_events(SCHEMA, draw, 60, first=10)
    take_all(shop, events)
    parts = [as_changes(SCHEMA, events[i : i + 7]) for i in range(0, len(events), 7)]
    for stop in (3, len(parts)):
        stream = stream_of(parts[:stop])
        with DeltaLog(root) as log:
            *_, status = ingest(stream, log, SCHEMA, once=True)
        assert status.position == str(stop)
        assert log.position("list") == str(stop)
    assert stream.acknowledged == [str(i) for i in range(4, len(parts) + 1)]
    assert compact(root).id == shop.build(tmp_path / "rebuilt").id


def test_bad_rows_are_kept_as_letters_with_their_rule(tmp_path: Path) -> None:
    Shop(SCHEMA).build(tmp_path)
    bad = Delivery(
        "list", "1", (products([1, None]), products([2], table="nowhere")), unread=(Unread("0:7", "event.json", "{"),)
    )
    with DeltaLog(tmp_path) as log:
        *_, status = ingest(ListStream([bad]), log, SCHEMA, once=True)
    assert (status.rows, status.rejected) == (2, 3)
    letters = DeadLetters(tmp_path).read()
    assert [(one.rule, one.table, one.text) for one in letters] == [
        ("event.json", "", "{"),
        ("key.null", "products", None),
        (UNREADABLE, "nowhere", None),
    ]
    assert Live(tmp_path).view.rows_of("products", [1, 2]).tolist() == [0, -1]


def test_a_letter_comes_once_however_often_it_is_written(tmp_path: Path) -> None:
    Shop(SCHEMA).build(tmp_path)
    bad = Delivery("list", "1", (products([None]),))
    with DeltaLog(tmp_path) as log:
        for _ in range(2):
            list(zip(range(2), ingest(ListStream([bad, bad]), log, SCHEMA), strict=False))
    path = DeadLetters(tmp_path).path
    path.write_bytes(path.read_bytes()[:-9])  # killed in the middle of a line
    assert len(DeadLetters(tmp_path).read()) == 1
    with DeltaLog(tmp_path) as log:
        *_, status = ingest(
            ListStream([bad, bad, Delivery("list", "3", (products([None], 5),))]), log, SCHEMA, once=True
        )
    assert status.rejected >= 1
    assert sorted(one.sequence for one in DeadLetters(tmp_path).read()) == [1, 5]


def test_letters_are_replayed_when_the_card_allows(tmp_path: Path) -> None:
    Shop(SCHEMA).build(tmp_path)
    message = '{"table": "products", "values": {"id": 5, "price": 2}, "sequence": 4}'
    letters = Delivery("list", "1", (products([3], 2, "invoices"),), unread=(Unread("0:1", "event.table", message),))
    with DeltaLog(tmp_path) as log:
        list(ingest(ListStream([letters]), log, SCHEMA, once=True))
        assert [one.rule for one in DeadLetters(tmp_path).read()] == ["event.table", "time.missing"]
        done = DeadLetters(tmp_path).replay(log, SCHEMA)
        assert (done.kept, done.left) == (1, 1)
        assert DeadLetters(tmp_path).replay(log, SCHEMA).kept == 0
    assert [one.rule for one in DeadLetters(tmp_path).read()] == ["time.missing"]
    assert Live(tmp_path).view.rows_of("products", [5]).tolist() == [0]


def test_failures_are_waited_out_longer_and_longer(tmp_path: Path) -> None:
    Shop(SCHEMA).build(tmp_path)
    stream = stream_of([[products([1])], [products([2])]])
    stream.failures = [SourceError("gone")] * 9
    pauses: list[float] = []
    seen: list[IngestStatus] = []
    with DeltaLog(tmp_path) as log:
        for status in ingest(stream, log, SCHEMA, pause=pauses.append):
            seen.append(status)
            if status.lag_s == 0.0:
                break
    assert pauses == [min(FIRST_PAUSE_S * 2**i, LONGEST_PAUSE_S) for i in range(9)]
    assert [bool(status.problem) for status in seen] == [True] * 9 + [False] * 3
    assert stream.closed == 9
    assert seen[-1].rows == 2
    stream.failures = [SourceError("gone")]
    stream.all.append(Delivery("list", "3", ()))
    with DeltaLog(tmp_path) as log, pytest.raises(SourceError, match="gone"):
        list(ingest(stream, log, SCHEMA, once=True))


def test_a_lost_stream_is_not_tried_again(tmp_path: Path) -> None:
    Shop(SCHEMA).build(tmp_path)
    stream = stream_of([[products([1])]])
    stream.failures = [StreamLostError("gone for good")]
    with DeltaLog(tmp_path) as log, pytest.raises(StreamLostError, match="for good"):
        list(ingest(stream, log, SCHEMA))


def test_a_full_disk_acknowledges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Shop(SCHEMA).build(tmp_path)
    stream = stream_of([[products([1])]])
    real, refusals = DeltaLog.append, [StorageError("full")] * 2

    def append(self: DeltaLog, delivery: Delivery) -> object:
        if refusals:
            raise refusals.pop()
        return real(self, delivery)

    monkeypatch.setattr(DeltaLog, "append", append)
    with DeltaLog(tmp_path) as log:
        follow = ingest(stream, log, SCHEMA, pause=lambda _: None)
        assert next(follow).problem == "full"
        assert stream.acknowledged == []
        assert next(follow).problem == "full"
        assert next(follow).problem is None
        assert stream.acknowledged == ["1"]


def test_a_rebuild_leaves_out_what_the_rows_have_and_keeps_what_was_appended(tmp_path: Path) -> None:
    root, shop = tmp_path / "live", Shop(SCHEMA)
    shop.build(root)
    stale = stream_of([[products([1, 2])]])
    with DeltaLog(root) as log:
        list(ingest(stale, log, SCHEMA, once=True))
        append_rows(log, SCHEMA, "products", pa.table({"id": [9], "price": [5.0]}))
    stale.all.append(Delivery("list", "2", ()))
    made = rebuild(stale, shop.source(), SCHEMA, root)
    assert made.tables["products"].num_rows == 0
    view = Live(root).view
    assert (view.rows_of("products", [1, 2, 9]) >= 0).tolist() == [False, False, True]
    with DeltaLog(root) as log:
        assert log.position("list") == "2"
    with DeltaLog(root) as log, pytest.raises(StorageError, match="another process"):
        rebuild(stale, shop.source(), SCHEMA, root)
    assert log.last == 4


def test_a_forgotten_key_leaves_the_letters(tmp_path: Path) -> None:
    shop = Shop(SCHEMA)
    shop.build(tmp_path)
    message = '{"table": "nowhere", "values": {"id": 4711}}'
    letters = (products([4711], 2, "invoices"), products([4712], 2, "invoices"), products([4711], 3))
    with DeltaLog(tmp_path) as log:
        bad = Delivery("list", "1", letters, unread=(Unread("0:1", "event.table", message),))
        list(ingest(ListStream([bad]), log, SCHEMA, once=True))
    assert len(DeadLetters(tmp_path).read()) == 3
    forget_row(tmp_path, "products", 4711)
    assert [letter.row["id"] for letter in DeadLetters(tmp_path).read() if letter.row] == ["4712"]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix in (".jsonl", ".log"):
            assert b"4711" not in path.read_bytes()
