"""The log keeps deliveries whole, in order and with their positions, whatever is cut off, changed or refused."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kincast.errors import SnapshotError, StorageError
from kincast.graph import delta
from kincast.graph.delta import DeltaLog, LogChangedError, LogReader, remove_segments, segments
from kincast.source.change import Changes, Delivery


def delivery(position: int, num_rows: int = 2, stream: str = "s") -> Delivery:
    rows = pa.table({"id": list(range(position, position + num_rows)), "name": ["ä"] * num_rows})
    changes = Changes("t", rows, np.arange(num_rows), np.arange(num_rows) % 2 == 1)
    keyless = Changes("u", rows, np.arange(num_rows), np.zeros(num_rows, bool), tuple(map(str, range(num_rows))))
    return Delivery(stream, str(position), (changes, keyless), (f"column {position} came",))


def same(one: Delivery, other: Delivery) -> bool:
    plain = [
        (d.stream, d.position, d.schema_changes, *((c.table, c.rows.to_pydict(), c.ids) for c in d.changes))
        for d in (one, other)
    ]
    arrays = zip(one.changes, other.changes, strict=True)
    return plain[0] == plain[1] and all(
        (a.sequence == b.sequence).all() and (a.deleted == b.deleted).all() for a, b in arrays
    )


def test_what_is_kept_comes_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "SEGMENT_BYTES", 2_000)
    given = [delivery(i, num_rows=i % 3) for i in range(12)]
    with DeltaLog(tmp_path) as log:
        reader = LogReader(tmp_path)
        for number, one in enumerate(given, start=1):
            assert log.append(one).record == number
            found = reader.read()
            assert [record.number for record in found] == [number]
            assert same(found[0].delivery, one)
        assert log.position("s") == "11"
        assert log.position("other") is None
    assert len(segments(tmp_path / "delta")) > 2
    assert [record.number for record in LogReader(tmp_path, after=7).read()] == [8, 9, 10, 11, 12]
    with DeltaLog(tmp_path) as log:
        assert (log.last, log.position("s")) == (12, "11")
    assert reader.read() == []


def test_positions_outlive_the_records(tmp_path: Path) -> None:
    with DeltaLog(tmp_path) as log:
        log.append(delivery(1, stream="a"))
        log.append(delivery(2, stream="b"))
        reader = LogReader(tmp_path)
        log.rotate()
        log.append(delivery(3, stream="b"))
        remove_segments(tmp_path, until=2)
        assert len(segments(tmp_path / "delta")) == 1
        with pytest.raises(LogChangedError):
            reader.read()
    with DeltaLog(tmp_path) as log:
        assert (log.position("a"), log.position("b"), log.last) == ("1", "3", 3)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with DeltaLog(tmp_path), pytest.raises(StorageError, match="another process writes"):
        DeltaLog(tmp_path)
    DeltaLog(tmp_path).close()


def test_writers_at_the_same_time_share_the_log(tmp_path: Path) -> None:
    with DeltaLog(tmp_path) as log:
        kept: list[int] = []
        work = [lambda i=i: kept.append(log.append(delivery(i, stream=str(i))).record) for i in range(20)]
        threads = [threading.Thread(target=one) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(kept) == list(range(1, 21))
        assert all(log.position(str(i)) == str(i) for i in range(20))
    assert [record.number for record in LogReader(tmp_path).read()] == list(range(1, 21))


def test_a_torn_tail_is_cut_at_every_byte(tmp_path: Path) -> None:
    with DeltaLog(tmp_path) as log:
        log.append(delivery(1))
        path = segments(tmp_path / "delta")[0]
        whole = path.stat().st_size
        log.append(delivery(2))
    content = path.read_bytes()
    for size in range(whole, len(content), 97):
        path.write_bytes(content[:size])
        reader = LogReader(tmp_path)
        assert len(reader.read()) == 1
        with DeltaLog(tmp_path) as log:
            assert (log.last, log.position("s")) == (1, "1")
            log.append(delivery(3))
        assert [record.number for record in reader.read()] == [2]


def test_a_torn_head_begins_again(tmp_path: Path) -> None:
    with DeltaLog(tmp_path) as log:
        log.append(delivery(1))
        log.rotate()
    path = segments(tmp_path / "delta")[-1]
    path.write_bytes(path.read_bytes()[:9])
    with DeltaLog(tmp_path) as log:
        assert (log.last, log.position("s")) == (1, "1")


def test_a_flipped_bit_in_the_middle_is_refused_not_skipped(tmp_path: Path) -> None:
    with DeltaLog(tmp_path) as log:
        log.append(delivery(1))
        path = segments(tmp_path / "delta")[0]
        place = path.stat().st_size - 20
        log.append(delivery(2))
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match="damaged"):
        DeltaLog(tmp_path)
    with pytest.raises(SnapshotError, match="damaged"):
        LogReader(tmp_path).read()


def test_a_reader_notices_another_history(tmp_path: Path) -> None:
    with DeltaLog(tmp_path) as log:
        log.append(delivery(1))
        path = segments(tmp_path / "delta")[0]
        size = path.stat().st_size
        log.append(delivery(2))
        reader = LogReader(tmp_path)
        assert len(reader.read()) == 2
    os.truncate(path, size)
    with DeltaLog(tmp_path) as log:
        log.append(delivery(7))
        log.append(delivery(8))
    with pytest.raises(LogChangedError):
        reader.read()


@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_refused_write_keeps_nothing_and_heals(
    call: str, for_good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = getattr(os, call), 0

    def refusing(file: int, *content: Any) -> Any:
        nonlocal refused
        if refused:
            refused -= not for_good
            if content:
                real(file, bytes(content[0])[:7])  # torn
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, *content)

    monkeypatch.setattr(os, call, refusing)
    with DeltaLog(tmp_path) as log:
        log.append(delivery(1))
        refused = 1
        for _ in range(3 if for_good else 1):
            with pytest.raises(StorageError, match="No space left"):
                log.append(delivery(2))
        refused = 0
        assert log.position("s") == "1"
        assert log.append(delivery(3)).record == 2
    assert [record.delivery.position for record in LogReader(tmp_path).read()] == ["1", "3"]
