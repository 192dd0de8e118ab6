"""Reversing a link."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.graph.csr import count_lists, list_parts, reverse_link, row_type


@settings(max_examples=100, deadline=None)
@given(forward=st.lists(st.integers(-1, 6), max_size=40), wide=st.booleans())
def test_lists_every_source_row_once_in_order(forward: list[int], wide: bool) -> None:
    array = np.array(forward, np.int64 if wide else np.int32)
    offsets, rows = reverse_link(array, 7)
    assert [rows[offsets[d] : offsets[d + 1]].tolist() for d in range(7)] == [
        [row for row, dst in enumerate(forward) if dst == d] for d in range(7)
    ]
    assert offsets[0] == 0
    assert offsets[-1] == len(rows)


@settings(max_examples=100, deadline=None)
@given(forward=st.lists(st.integers(-1, 6), max_size=40), held_bytes=st.integers(0, 60))
def test_in_several_passes_the_lists_are_the_same(forward: list[int], held_bytes: int) -> None:
    array = np.array(forward, np.int32)
    offsets, rows = reverse_link(array, 7)
    assert count_lists(array, 7).tolist() == offsets.tolist()
    parts = list(list_parts(array, offsets, held_bytes))
    assert [row for part in parts for row in part.tolist()] == rows.tolist()
    longest = int(np.diff(offsets).max())
    assert all(len(part) <= max(held_bytes // 4, longest) for part in parts)


@pytest.mark.parametrize(("num_rows", "kind"), [(0, np.int32), (2**31 - 1, np.int32), (2**31, np.int64)])
def test_wide_rows_only_where_needed(num_rows: int, kind: type) -> None:
    assert row_type(num_rows) is kind
