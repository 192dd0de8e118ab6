"""Delta: the log of changes beside a snapshot: kept whole or not at all, in order, with where each stream stands.

The folder ``delta`` holds segments, named by the number of the first record in them. A segment is a row of frames:
``magic, length, crc, payload``, the checksum of a frame going on from that of the frame before, so that a frame that
was cut off, changed, or put there after another history is noticed. The first frame of a segment says where every
stream stood; each other one is a delivery: its rows as they came and its position, which therefore are kept together.

One process writes, under a lock; any number follow by reading, without locks. What a killed writer left half-written
is cut off by the next one. A record is durable (fsync) when ``append`` returns; writers that come at the same time
share one fsync.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import json
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from kincast.atomic import storage_errors
from kincast.errors import SnapshotError, StorageError
from kincast.graph.publish import sync
from kincast.source.change import Changes, Delivery

DELTA_FOLDER = "delta"
SEGMENT_BYTES = 32 << 20
_LOCK_FILE = "writer.lock"
_MAGIC = b"KDL1"
_SUFFIX = ".log"
_FRAME = struct.Struct("<4sQI")
_HEAD = struct.Struct("<Q")


class LogChangedError(SnapshotError):
    """Records that a reader needs, or had read, are no longer in the log: it was cut, rewritten or taken back."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a delivery.

    Attributes:
        record: its number in the log, from 1.
        num_rows: rows in it.
        size_bytes: that it takes in the log.
    """

    record: int
    num_rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """A delivery in the log.

    Attributes:
        number: from 1, without gaps.
        delivery: as it was given to ``append``.
    """

    number: int
    delivery: Delivery


class DeltaLog:
    """The log of a folder of snapshots, opened for writing; ``append`` may be called from several threads.

    Args:
        root: folder of all versions of the snapshot; made when missing.

    Attributes:
        folder: of the log.
        num_kept: changes that were kept since it was opened.

    Raises:
        StorageError: another process writes here, or the disk refused.
        SnapshotError: a record in the middle of the log is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / DELTA_FOLDER
        self.num_kept = 0
        self._queue: list[_Ticket] = []
        self._queue_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._file, self._end, self._crc, self._last = -1, 0, 0, 0
        self._positions: dict[str, str] = {}
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held = (self.folder / _LOCK_FILE).open("a")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._held.close()
            hint = "stop the other process that takes changes in, or send the rows to it"
            raise StorageError("another process writes to this log", where=str(self.folder), hint=hint) from None
        try:
            with storage_errors(self.folder):
                self._recover()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> DeltaLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def last(self) -> int:
        """Number of the last record that was kept; 0 before the first."""
        return self._last

    def position(self, stream: str) -> str | None:
        """Position of the stream's last delivery that was kept; None when there is none."""
        return self._positions.get(stream)

    def append(self, delivery: Delivery) -> Kept:
        """Keep a delivery; it is on the disk when this returns.

        Raises:
            StorageError: the disk refused; nothing of the delivery is kept, and it may be tried again.
        """
        ticket = _Ticket(delivery, _encode(delivery))
        with self._queue_lock:
            self._queue.append(ticket)
        with self._write_lock:
            if not ticket.record and ticket.error is None:  # else whoever held the lock before has written it too
                self._commit()
        if ticket.error is not None:
            with storage_errors(self.folder):
                raise ticket.error
        return Kept(ticket.record, sum(map(len, delivery.changes)), len(ticket.payload) + _FRAME.size)

    def rotate(self) -> int:
        """Begin a new segment, so that the ones before it can be removed; returns the number of its first record."""
        with storage_errors(self.folder), self._write_lock:
            self._start(self._last + 1)
            return self._last + 1

    def close(self) -> None:
        """Let go of the log; everything that was kept is on the disk."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._held.close()

    def _recover(self) -> None:
        """Find the end of the log, cutting off what was half-written."""
        found = segments(self.folder)
        while found:
            path = found[-1]
            payloads, self._end, self._crc = _scan(path)
            if payloads:
                break
            path.unlink()  # killed before its first frame was whole
            found.pop()
        else:
            self._start(1)
            return
        head = json.loads(payloads[0])
        self._positions = dict(head["positions"])
        self._last = int(head["first"]) - 1
        for payload in payloads[1:]:
            delivery = _decode(payload)
            self._positions[delivery.stream] = delivery.position
            self._last += 1
        self._file = os.open(path, os.O_RDWR | os.O_APPEND)
        os.ftruncate(self._file, self._end)
        os.fsync(self._file)

    def _start(self, first: int) -> None:
        """Go on in a new segment whose first record will have that number."""
        path = self.folder / f"{first:020d}{_SUFFIX}"
        frame, crc = _frame(json.dumps({"first": first, "positions": self._positions}, sort_keys=True).encode(), 0)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        try:
            write_all(file, frame)
            os.fsync(file)
            sync(self.folder)
        except BaseException:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._end, self._crc, self._last = file, len(frame), crc, first - 1

    def _commit(self) -> None:
        """Write everything that waits with one write and one fsync, or nothing of it."""
        with self._queue_lock:
            tickets, self._queue = self._queue, []
        try:
            if self._end > SEGMENT_BYTES:
                self._start(self._last + 1)
            if os.fstat(self._file).st_size != self._end:  # a refused write whose rest could not be cut off
                os.ftruncate(self._file, self._end)
            frames, crc = [], self._crc
            for ticket in tickets:
                frame, crc = _frame(ticket.payload, crc)
                frames.append(frame)
            joined = b"".join(frames)
            write_all(self._file, joined)
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            for ticket in tickets:
                ticket.error = error
            return
        self._end, self._crc = self._end + len(joined), crc
        for ticket in tickets:
            self._last += 1
            ticket.record = self._last
            self.num_kept += sum(map(len, ticket.delivery.changes))
            self._positions[ticket.delivery.stream] = ticket.delivery.position


@dataclass(slots=True)
class _Ticket:
    """A delivery that waits to be written."""

    delivery: Delivery
    payload: bytes
    record: int = 0
    error: OSError | None = None


class LogReader:
    """Follows the log of a folder of snapshots from a record on, without locks; also while another process writes.

    Args:
        root: folder of all versions of the snapshot.
        after: number of the last record that is known already.

    Attributes:
        last: number of the last record that was read, or of the one to read after.
    """

    def __init__(self, root: Path, after: int = 0) -> None:
        self.folder = root / DELTA_FOLDER
        self.last = after
        self._after = after
        self._path: Path | None = None
        self._place, self._crc = 0, 0  # bytes read of the segment, and the checksum there
        self._next = after + 1  # number of the record that comes next at that place

    def read(self) -> list[Record]:
        """The records that have come since, oldest first.

        Raises:
            LogChangedError: records that were read before are no longer there; begin again from the snapshot.
            SnapshotError: the log is damaged.
        """
        records: list[Record] = []
        while True:
            self.last = max([self.last, *(record.number for record in records)])
            found = segments(self.folder)
            fitting = [path for path in found if first_record(path) <= self._next]
            if found and not fitting:
                raise LogChangedError("the record that comes next was removed", where=str(self.folder))
            if not fitting:
                return records
            done = fitting[-1] == self._path
            if not done:
                self._path, self._place, self._crc = fitting[-1], 0, 0
                self._next = first_record(fitting[-1])
            before = self._next
            records += self._read(fitting[-1])
            if done and self._next == before:
                return records

    def _read(self, path: Path) -> list[Record]:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(self._place)
                content = file.read(max(size - self._place, 0))
        except FileNotFoundError:
            raise LogChangedError("the log was cut", where=str(path)) from None
        except OSError as error:
            raise SnapshotError(f"cannot be read: {error}", where=str(path)) from None
        payloads, used, crc, sound = _parse(content, self._crc)
        if size < self._place or (not sound and self._place):
            raise LogChangedError("the log is not the one that was read before", where=str(path))
        if not sound:
            _refuse_gap(path, content, used)
        if self._place == 0:
            payloads = payloads[1:]  # the head
        self._place, self._crc = self._place + used, crc
        first, self._next = self._next, self._next + len(payloads)
        return [Record(first + i, _decode(p)) for i, p in enumerate(payloads) if first + i > self._after]


def segments(folder: Path) -> list[Path]:
    """The segments of a log, oldest first."""
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def first_record(segment: Path) -> int:
    """Number of the first record that a segment has or will have."""
    return int(segment.stem)


def remove_segments(root: Path, until: int) -> None:
    """Remove the segments that have no record later than that one; the newest segment always stays."""
    found = segments(root / DELTA_FOLDER)
    for path, after in itertools.pairwise(found):
        if first_record(after) <= until + 1:
            with storage_errors(path):
                path.unlink(missing_ok=True)


def write_all(file: int, content: bytes) -> None:
    """Write all of it, however often the system takes only a part."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _frame(payload: bytes, before: int) -> tuple[bytes, int]:
    """A frame and its checksum, which goes on from that of the frame before."""
    crc = zlib.crc32(payload, before)
    return _FRAME.pack(_MAGIC, len(payload), crc) + payload, crc


def _parse(content: bytes, crc: int) -> tuple[list[bytes], int, int, bool]:
    """Payloads of the whole frames, bytes they take, checksum there, and whether what follows is merely unfinished."""
    payloads: list[bytes] = []
    place = 0
    while len(content) - place >= _FRAME.size:
        magic, length, wanted = _FRAME.unpack_from(content, place)
        if magic != _MAGIC:
            return payloads, place, crc, False
        begin = place + _FRAME.size
        if len(content) - begin < length:
            break
        payload = content[begin : begin + length]
        found = zlib.crc32(payload, crc)
        if found != wanted:
            return payloads, place, crc, False
        payloads.append(payload)
        place, crc = begin + length, found
    return payloads, place, crc, True


def _scan(path: Path) -> tuple[list[bytes], int, int]:
    """Payloads of a segment's whole frames, the bytes they take and the checksum there.

    Raises:
        SnapshotError: a frame in the middle is damaged.
    """
    content = path.read_bytes()
    payloads, end, crc, sound = _parse(content, 0)
    if not sound:
        _refuse_gap(path, content, end)
    return payloads, end, crc


def _refuse_gap(path: Path, content: bytes, place: int) -> None:
    """Raise SnapshotError when a damaged frame is followed by another one: it was whole once, and not the last."""
    if content.find(_MAGIC, place + _FRAME.size) >= 0:
        hint = "restore the file from a backup, or remove the folder and let the streams begin again"
        raise SnapshotError(f"is damaged at byte {place:,}", where=str(path), hint=hint)


def _encode(delivery: Delivery) -> bytes:
    """A delivery as bytes: length and text of its head, then the rows of each of its changes as an Arrow stream."""
    parts = [_encode_rows(changes) for changes in delivery.changes]
    head = json.dumps(
        {
            "stream": delivery.stream,
            "position": delivery.position,
            "schema_changes": list(delivery.schema_changes),
            "parts": [[c.table, c.ids is not None, len(p)] for c, p in zip(delivery.changes, parts, strict=True)],
        },
        ensure_ascii=False,
    ).encode()
    return b"".join([_HEAD.pack(len(head)), head, *parts])


def _encode_rows(changes: Changes) -> bytes:
    arrays = [*changes.rows.columns, pa.array(changes.sequence, pa.int64()), pa.array(changes.deleted, pa.bool_())]
    names = [*changes.rows.column_names, "sequence", "deleted"]  # told apart by their place, not by name
    if changes.ids is not None:
        arrays, names = [*arrays, pa.array(changes.ids, pa.string())], [*names, "id"]
    table = pa.table(arrays, names).combine_chunks()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _decode(payload: bytes) -> Delivery:
    (length,) = _HEAD.unpack_from(payload)
    place = _HEAD.size + length
    head = json.loads(payload[_HEAD.size : place])
    changes = []
    for table, with_ids, size in head["parts"]:
        rows = pa.ipc.open_stream(pa.py_buffer(memoryview(payload)[place : place + size])).read_all()
        place += size
        num_own = rows.num_columns - 2 - with_ids
        ids = tuple(rows.column(num_own + 2).to_pylist()) if with_ids else None
        sequence = np.asarray(rows.column(num_own).to_numpy(), np.int64)
        deleted = np.asarray(rows.column(num_own + 1).to_numpy(), np.bool_)
        changes.append(Changes(table, rows.select(range(num_own)), sequence, deleted, ids))
    return Delivery(head["stream"], head["position"], tuple(changes), tuple(head["schema_changes"]))
