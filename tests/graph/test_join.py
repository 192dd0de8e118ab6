"""Finding rows by whole-number keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.graph.join import RowFinder

_WIDE = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=100, deadline=None)
@given(keys=st.lists(_WIDE | st.integers(-9, 9), unique=True, max_size=30), wanted=st.lists(_WIDE, max_size=10))
def test_finds_what_a_dictionary_finds(keys: list[int], wanted: list[int]) -> None:
    asked = [*wanted, *keys, *(key + 1 for key in keys if key < 2**63 - 1)]
    rows = {key: row for row, key in enumerate(keys)}
    found = RowFinder(np.array(keys, np.int64)).find(np.array(asked, np.int64))
    assert found.tolist() == [rows.get(key, -1) for key in asked]
    assert found.dtype == np.int32


@pytest.mark.parametrize("step", [1, 3, 1_000_003])
def test_dense_and_sparse_keys_by_the_thousand(step: int) -> None:
    keys = np.random.default_rng(0).permutation(5000).astype(np.int64) * step - 7
    finder = RowFinder(keys)
    assert np.array_equal(finder.find(keys), np.arange(5000))
    assert (finder.find(keys + 1)[keys + 1 > keys.max()] == -1).all()
