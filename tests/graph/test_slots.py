"""Slots are those that a dictionary gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from kincast.graph.slots import Slots, read_digests, write_digests

# Few different halves, so that tags and places collide while the digests differ.
HALVES = st.sampled_from([0, 1, 2, 1 << 32, (1 << 32) + 1, 1 << 63, 2**64 - 1])
BLOCKS = st.lists(st.lists(st.tuples(HALVES, HALVES), max_size=30), max_size=6)


def as_digests(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@settings(deadline=None)  # the first call compiles
@given(BLOCKS)
def test_as_a_dictionary(blocks: list[list[tuple[int, int]]]) -> None:
    slots, known = Slots(places=4), dict[tuple[int, int], int]()
    for block in blocks:
        assert slots.find(as_digests(block)).tolist() == [known.get(pair, -1) for pair in block]
        assert slots.intern(as_digests(block)).tolist() == [known.setdefault(pair, len(known)) for pair in block]
        assert list(map(tuple, slots.digests.tolist())) == list(known)


@settings(deadline=None)
@given(st.lists(st.one_of(st.just("z"), st.binary(min_size=16, max_size=16).map(bytes.hex)), max_size=9))
def test_texts_come_back_in_their_order(texts: list[str]) -> None:
    texts = [text for text in texts if text != "f" * 32]  # it is read as z, whose place it takes
    digests = read_digests(pa.array(["a", *texts], pa.string())[1:])
    assert write_digests(digests).to_pylist() == texts
    assert sorted(map(tuple, digests.tolist())) == list(map(tuple, read_digests(pa.array(sorted(texts))).tolist()))
