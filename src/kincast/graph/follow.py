"""Follow: the newest view of a snapshot and its log, renewed a few times a second; readers keep the one they have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from kincast.errors import KincastError
from kincast.graph.compact import apply_records, follow, read_folded
from kincast.graph.delta import LogChangedError
from kincast.graph.history import read_current
from kincast.graph.live import LiveSnapshot
from kincast.graph.open import open_snapshot
from kincast.graph.state import State
from kincast.graph.view import ViewMaker

INTERVAL_S = 0.2


class Live:
    """The current snapshot and everything in the log beside it, as a view that is renewed.

    Args:
        root: folder of all versions.
        on_view: called with each new view before anyone sees it, such as to encode its features.

    Attributes:
        view: the newest; to be taken once for everything that must fit together.
        problem: why the last renewal in the background failed; None when it went well.

    Raises:
        SnapshotError: there is no snapshot, or it or the log is damaged.
    """

    def __init__(self, root: Path, on_view: Callable[[LiveSnapshot], None] | None = None) -> None:
        self.root = root
        self._on_view = on_view
        self.problem: KincastError | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._renewed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._open()
        self.view: LiveSnapshot = self._caught_up()
        if on_view is not None:
            on_view(self.view)

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def refresh(self) -> LiveSnapshot:
        """Take in what has come since and return the view of now; the same object when nothing has."""
        with self._lock:
            if read_current(self.root) != self._state.base.id:
                self._open()
                view = self._caught_up()
            else:
                view = self._caught_up(self.view)
            if self._on_view is not None and view is not self.view:
                self._on_view(view)
            self.view = view
        with self._renewed:
            self._renewed.notify_all()
        return view

    def start(self, interval_s: float = INTERVAL_S) -> None:
        """Renew the view in a thread every so many seconds, or as often as it can, until ``stop``."""
        self._thread = threading.Thread(target=self._run, args=(interval_s,), name="kincast-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wait_for(self, record: int, timeout_s: float) -> bool:
        """Wait until a record of the log is in the view; False when that takes longer."""
        with self._renewed:
            return self._renewed.wait_for(lambda: self.view.record >= record, timeout_s)

    def _run(self, interval_s: float) -> None:
        pause_s = interval_s
        while not self._stopping.wait(pause_s):
            begun = time.monotonic()
            try:
                self.refresh()
                self.problem = None
            except KincastError as error:  # the view before goes on being read; the next round tries again
                self.problem = error
            pause_s = max(interval_s - (time.monotonic() - begun), 0.1 * interval_s)

    def _open(self) -> None:
        base = open_snapshot(self.root)
        folded = read_folded(self.root, base.id)
        self._reader = follow(self.root, folded)
        self._state = State(base, folded)
        self._maker = ViewMaker(self._state)

    def _caught_up(self, before: LiveSnapshot | None = None) -> LiveSnapshot:
        """The view with everything in the log; the one before when nothing has come."""
        try:
            records = self._reader.read()
        except LogChangedError:  # compacted, rewritten, or taken back: begin again from the snapshot
            self._open()
            records, before = self._reader.read(), None
        apply_records(self._state, records)
        if before is not None and not records:
            return before
        return self._maker.make(self._reader.last)
