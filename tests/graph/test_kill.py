"""A process that takes changes in and compacts may be killed at any moment."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kills_live import run


def test_nothing_is_lost_or_torn(tmp_path: Path) -> None:
    found = run(tmp_path, kills=4, compare_every=4)
    assert found["compared"] == 1
