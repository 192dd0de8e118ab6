"""Compiled loops: they start wherever the package lies."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core import caching

from kincast.compile import compiled


def total(values):  # type: ignore[no-untyped-def]
    result = 0
    for value in values:
        result += value
    return result


def test_keeps_its_code_for_the_next_start() -> None:
    assert compiled(total).stats.cache_path


def test_runs_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    function = compiled(total)
    assert function.stats.cache_path is None
    assert function(np.arange(4)) == 6
