"""Progress: how long steps tell whoever is watching how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with the step's name, how much is done, and the total (None while unknown). Must not raise."""


def silent(step: str, done: int, total: int | None) -> None:
    """The progress that shows nothing."""
