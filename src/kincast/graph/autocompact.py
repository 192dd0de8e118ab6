"""Autocompact: a snapshot is compacted in a process of its own once enough changes lie beside it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from kincast.errors import KincastError
from kincast.graph.compact import compact, follow, read_folded
from kincast.graph.delta import DeltaLog
from kincast.graph.history import read_current

log_ = logging.getLogger("kincast.ingest")

LOOK_EVERY_S = 1.0
TRY_AGAIN_S = 60.0
_NICENESS = 10


class AutoCompact:
    """Watches a log that is open for writing, and compacts when enough has come; one at a time, while a block runs.

    Nothing waits for it. The process gives way to others. It is ended with the block; where this process is killed it
    goes on to its end, which is as safe as any end of ``compact``, and whoever comes next waits for it.

    Args:
        log: of changes.
        after_rows: changes since the snapshot after which to compact; None never to.

    Attributes:
        num_done: times it has compacted.
    """

    def __init__(self, log: DeltaLog, after_rows: int | None) -> None:
        self._log, self._root, self._after_rows = log, log.folder.parent, after_rows
        self.num_done = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kincast-autocompact", daemon=True)

    def __enter__(self) -> AutoCompact:
        if self._after_rows is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._after_rows is not None
        kept, beside = self._log.num_kept, 0
        try:
            beside = rows_beside(self._root)
        except KincastError as error:
            log_.warning("the changes beside the snapshot cannot be counted: %s", error)
        folded, try_at_s = kept - beside, 0.0  # in the count of ``num_kept``
        while not self._stopping.wait(LOOK_EVERY_S):
            kept = self._log.num_kept
            if kept - folded < self._after_rows or time.monotonic() < try_at_s:
                continue
            problem = self._compact(kept - folded)
            if self._stopping.is_set():
                return
            if problem is None:
                folded = kept
                self.num_done += 1
            else:
                log_.error("the snapshot was not compacted: %s; trying again in %.0f s", problem, TRY_AGAIN_S)
                try_at_s = time.monotonic() + TRY_AGAIN_S

    def _compact(self, num_rows: int) -> str | None:
        """Compact in a process; returns what went wrong, or None."""
        log_.info("compacting: %s changes lie beside the snapshot", f"{num_rows:,}")
        begun = time.monotonic()
        try:
            self._log.rotate()  # so that the process can remove all segments before
        except KincastError as error:
            return str(error)
        context = multiprocessing.get_context("spawn")
        told, tells = context.Pipe(duplex=False)
        process = context.Process(target=_compact, args=(self._root, tells), name="kincast-compact", daemon=True)
        process.start()
        tells.close()
        while process.is_alive() and not self._stopping.is_set():
            process.join(LOOK_EVERY_S / 4)
        if process.is_alive():
            process.terminate()
            process.join()
            log_.info("compacting was broken off; it begins again with the next start")
            return None
        try:
            id, problem = told.recv()
        except EOFError:
            return f"its process ended with {process.exitcode}"
        if problem is None:
            log_.info("compacted into snapshot %s in %.1f s", id, time.monotonic() - begun)
        return str(problem) if problem is not None else None


def rows_beside(root: Path) -> int:
    """Changes in the log that are not in the current snapshot."""
    reader = follow(root, read_folded(root, read_current(root)))
    return sum(len(changes) for record in reader.read() for changes in record.delivery.changes)


def _compact(root: Path, tells: Connection) -> None:
    """Tell the id of the compacted snapshot, or what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that began this, which then ends it
    os.nice(_NICENESS)
    try:
        tells.send((compact(root).id, None))
    except KincastError as error:
        tells.send((None, str(error)))
