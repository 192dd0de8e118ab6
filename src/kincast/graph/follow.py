"""Follow: the newest view of a snapshot and its log, renewed a few times a second; readers keep the one they have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from kincast.errors import KincastError, SnapshotError
from kincast.graph.compact import apply_records, follow, read_folded
from kincast.graph.delta import LogChangedError
from kincast.graph.history import read_current
from kincast.graph.live import LiveSnapshot
from kincast.graph.open import open_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.graph.state import State
from kincast.graph.view import ViewMaker

INTERVAL_S = 0.2
_CATCH_UPS = 3


class Live:
    """The current snapshot and everything in the log beside it, as a view that is renewed.

    When another snapshot becomes the current one, ``start``'s thread goes on renewing the view of the one before until
    a second thread has opened the new one and caught up with the log.

    Args:
        root: folder of all versions.
        on_view: called with each new view before anyone sees it, such as to encode its features.
        on_base: called with each new snapshot before there is a view of it, maybe while others are renewed.

    Attributes:
        view: the newest; to be taken once for everything that must fit together.
        problem: why the last renewal in the background failed; None when it went well.

    Raises:
        SnapshotError: there is no snapshot, or it or the log is damaged.
    """

    def __init__(
        self,
        root: Path,
        on_view: Callable[[LiveSnapshot], None] | None = None,
        on_base: Callable[[Snapshot], None] | None = None,
    ) -> None:
        self.root = root
        self._on_view, self._on_base = on_view, on_base
        self.problem: KincastError | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._renewed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._coming: _Coming | None = None
        self._now = self._opened()
        self.view = self._now.renew()
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
            if read_current(self.root) != self._now.base.id:
                self._now = self._opened()
            return self._show()

    def start(self, interval_s: float = INTERVAL_S) -> None:
        """Renew the view in a thread every so many seconds, or as often as it can, until ``stop``."""
        self._thread = threading.Thread(target=self._run, args=(interval_s,), name="kincast-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._coming is not None:
            self._coming.join()
            self._coming = None

    def wait_for(self, record: int, timeout_s: float) -> bool:
        """Wait until a record of the log is in the view; False when that takes longer."""
        with self._renewed:
            return self._renewed.wait_for(lambda: self.view.record >= record, timeout_s)

    def _run(self, interval_s: float) -> None:
        pause_s = interval_s
        while not self._stopping.wait(pause_s):
            begun = time.monotonic()
            try:
                with self._lock:
                    self._go_over()
                    self._show()
                self.problem = None
            except KincastError as error:  # the view before goes on being read; the next round tries again
                self.problem = error
            pause_s = max(interval_s - (time.monotonic() - begun), 0.1 * interval_s)

    def _go_over(self) -> None:
        """Let another snapshot be opened where there is one, and go over to it once that is done."""
        coming, current = self._coming, read_current(self.root)
        if coming is None:
            if current != self._now.base.id:
                self._coming = _Coming(self._opened)
                self._coming.start()
        elif not coming.is_alive():
            self._coming = None
            followed = coming.result()
            if followed.base.id == current != self._now.base.id:
                self._now = followed

    def _show(self) -> LiveSnapshot:
        try:
            view = self._now.renew()
        except LogChangedError:  # compacted, rewritten, or taken back: begin again from the snapshot
            self._now = self._opened()
            view = self._now.renew()
        if self._on_view is not None and view is not self.view:
            self._on_view(view)
        self.view = view
        with self._renewed:
            self._renewed.notify_all()
        return view

    def _opened(self) -> _Followed:
        followed = _Followed(self.root)
        if self._on_base is not None:
            self._on_base(followed.base)
        return followed


class _Followed:
    """One snapshot and its log."""

    def __init__(self, root: Path) -> None:
        self.base = open_snapshot(root)
        folded = read_folded(root, self.base.id)
        self._reader = follow(root, folded)
        self._state = State(self.base, folded)
        self._maker = ViewMaker(self._state)
        self._view: LiveSnapshot | None = None

    def renew(self) -> LiveSnapshot:
        """The view with everything in the log; the one before when nothing has come.

        Raises:
            LogChangedError: it must be opened anew.
        """
        records = self._reader.read()
        if self._view is None or records:
            apply_records(self._state, records)
            self._view = self._maker.make(self._reader.last)
        return self._view


class _Coming(threading.Thread):
    """Opens a snapshot and catches up with its log, so that little is left to do when it is gone over to."""

    def __init__(self, opened: Callable[[], _Followed]) -> None:
        super().__init__(name="kincast-coming", daemon=True)
        self._opened = opened
        self._found: _Followed | KincastError | None = None

    def run(self) -> None:
        try:
            found = self._opened()
            for _ in range(_CATCH_UPS):  # each time less has come meanwhile
                found.renew()
            self._found = found
        except KincastError as error:
            self._found = error

    def result(self) -> _Followed:
        """What was opened.

        Raises:
            KincastError: it could not be.
        """
        if isinstance(self._found, _Followed):
            return self._found
        raise self._found or SnapshotError("the snapshot could not be opened")
