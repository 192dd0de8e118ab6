"""Ingest: changes of a stream into the log beside a snapshot, each delivery whole, acknowledged when it is kept."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kincast.errors import KincastError, SourceError, StorageError
from kincast.graph.append import STREAM
from kincast.graph.build import build_snapshot
from kincast.graph.compact import save_folded
from kincast.graph.deadletter import UNREADABLE, DeadLetters, judged_rules, letters_of, letters_of_messages
from kincast.graph.delta import DELTA_FOLDER, DeltaLog, LogReader, first_record, segments
from kincast.graph.judge import Judge
from kincast.graph.manifest import Manifest
from kincast.graph.snapshot import Snapshot
from kincast.graph.state import Folded
from kincast.progress import Progress, silent
from kincast.schema import Schema
from kincast.source.base import Source
from kincast.source.change import ChangeStream, Delivery, StreamLostError

log_ = logging.getLogger("kincast.ingest")
log_.addHandler(logging.NullHandler())

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class IngestStatus:
    """How an ingest stands.

    Attributes:
        stream: its name.
        position: of the last delivery that was kept, in the stream's words; None before the first.
        deliveries: kept since the start.
        rows: changes in them.
        rejected: changes and messages that went to the dead letters.
        lag_s: how long ago the newest change was made when it was kept; 0 when nothing is left to take.
        quarantined: table → why its changes are no longer taken.
        news: what became of tables' columns, said with this status for the first time.
        problem: why the stream cannot be followed right now; None when it can.
    """

    stream: str
    position: str | None = None
    deliveries: int = 0
    rows: int = 0
    rejected: int = 0
    lag_s: float | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)
    news: tuple[str, ...] = ()
    problem: str | None = None


def ingest(
    stream: ChangeStream,
    log: DeltaLog,
    schema: Schema,
    *,
    once: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[IngestStatus]:
    """Take in what a stream delivers; gives how it stands after each delivery, and when nothing comes.

    A server that cannot be reached, and a disk that refuses, are tried again, after longer and longer pauses; with
    ``once`` they are raised. A change that a rule rejects is kept as a dead letter too.

    Args:
        stream: where changes come from.
        log: where they go.
        schema: of the snapshot.
        once: stop when nothing comes any more.
        pause: waits so many seconds.

    Raises:
        StreamLostError: the stream no longer reaches back to what was kept.
        SourceError: only with ``once``: it cannot be read.
        StorageError: only with ``once``: the disk refused.
    """
    keeper = _Keeper(log, Judge(schema), DeadLetters(log.folder.parent))
    status = IngestStatus(stream.name, log.position(stream.name))
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            for delivery in stream.deliveries(status.position or None):
                if delivery is None:
                    status = replace(status, lag_s=0.0, quarantined=dict(stream.quarantined), news=(), problem=None)
                    yield status
                    if once:
                        return
                    continue
                status = _after(status, delivery, keeper.keep(delivery), stream)
                stream.acknowledge(delivery.position)
                for sentence in delivery.schema_changes:
                    log_.warning("%s: %s", stream.name, sentence)
                pause_s = FIRST_PAUSE_S
                yield status
        except StreamLostError:
            raise
        except (SourceError, StorageError) as error:
            if once:
                raise
            log_.warning("%s: %s; trying again in %.1f s", stream.name, error, pause_s)
            status = replace(status, problem=str(error), news=())
            yield status
            stream.close()
            pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


@contextlib.contextmanager
def ingesting(stream: ChangeStream, log: DeltaLog, schema: Schema) -> Iterator[None]:
    """``ingest`` in a thread while the block runs; what ends it early is logged."""
    stopping = threading.Event()

    def wait(seconds: float) -> None:
        stopping.wait(seconds)

    def run() -> None:
        try:
            for _ in ingest(stream, log, schema, pause=wait):
                if stopping.is_set():
                    return
        except KincastError as error:
            log_.error("%s is no longer followed: %s", stream.name, error)

    thread = threading.Thread(target=run, name="kincast-ingest", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def rebuild(stream: ChangeStream, source: Source, schema: Schema, root: Path, progress: Progress = silent) -> Snapshot:
    """Build the snapshot of a database whose changes are followed, and let the log go on from there.

    The stream is made ready before the rows are read, so that nothing between is missed. What the log has of streams
    is in the rows; rows of the user's own that were appended are kept.

    Args:
        stream: of the database's changes.
        source: where the rows are.
        schema: what they mean.
        root: folder of all versions.
        progress: told about each step.

    Raises:
        SourceError: the database or the stream cannot be read.
        StorageError: another process takes changes in, or the disk refused.
    """
    with DeltaLog(root) as log:
        position = stream.prepare(log.position(stream.name))
        last, own = log.last, _own(root)

        def note(manifest: Manifest) -> None:
            save_folded(root, manifest.id, Folded(last, {}))

        snapshot = build_snapshot(source, schema, root, progress, before_publish=note)
        for delivery in own:
            log.append(delivery)
        log.append(Delivery(stream.name, position, ()))
        return snapshot


@dataclass(frozen=True, slots=True)
class _Keeper:
    log: DeltaLog
    judge: Judge
    letters: DeadLetters

    def keep(self, delivery: Delivery) -> tuple[int, int]:
        """Keep a delivery and its dead letters; returns the changes kept and the letters written.

        A row that a rule rejects is kept with the others: its key no longer has the values it had before. Only changes
        that cannot be judged at all are letters alone.
        """
        letters = letters_of_messages(delivery.stream, delivery.unread)
        kept = []
        for changes in delivery.changes:
            rules = judged_rules(self.judge, changes)
            letters += letters_of(delivery.stream, changes, rules)
            if UNREADABLE not in rules:
                kept.append(changes)
        self.letters.add(letters)
        self.log.append(replace(delivery, changes=tuple(kept), unread=()))
        return sum(map(len, kept)), len(letters)


def _after(status: IngestStatus, delivery: Delivery, kept: tuple[int, int], stream: ChangeStream) -> IngestStatus:
    lag_s = None if delivery.committed_us is None else max(0.0, time.time() - delivery.committed_us / 1e6)
    return IngestStatus(
        status.stream,
        delivery.position,
        status.deliveries + 1,
        status.rows + kept[0],
        status.rejected + kept[1],
        lag_s,
        dict(stream.quarantined),
        delivery.schema_changes,
    )


def _own(root: Path) -> list[Delivery]:
    """Rows of the user's own that are in the log."""
    found = segments(root / DELTA_FOLDER)
    reader = LogReader(root, after=first_record(found[0]) - 1 if found else 0)
    return [record.delivery for record in reader.read() if record.delivery.stream == STREAM]
