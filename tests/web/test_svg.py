"""Drawings escape what they are given and put marks on round numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from kincast.web.svg import element, number, padded, percent, ticks

FLOATS = st.floats(-1e9, 1e9, allow_nan=False)


def test_text_and_attributes_are_escaped() -> None:
    drawn = element("text", "<b> & more", class_='a"b')
    assert drawn == '<text class="a&#34;b">&lt;b&gt; &amp; more</text>'


def test_nested_drawings_stay_drawings() -> None:
    assert element("g", element("circle", r=2)) == '<g><circle r="2"></circle></g>'


def test_none_leaves_an_attribute_out() -> None:
    assert element("line", x1=None, stroke_width=2) == '<line stroke-width="2"></line>'


@given(FLOATS, st.floats(1e-4, 1e3))
def test_ticks_lie_within_and_are_evenly_spaced(low: float, relative: float) -> None:
    width = relative * max(abs(low), 1e-3)
    found = ticks(low, low + width)
    gaps = [after - before for before, after in pairwise(found)]
    assert 2 <= len(found) <= 12
    assert all(low - width / 100 <= tick <= low + width * 1.01 for tick in found)
    assert max(gaps) - min(gaps) <= width / 100


def test_ticks_of_an_empty_range_are_its_one_value() -> None:
    assert ticks(0.5, 0.5) == [0.5]


@pytest.mark.parametrize(
    ("value", "text"), [(0.81234, "0.8123"), (4.17, "4.170"), (12.5, "12.50"), (211.26, "211.3"), (1204.2, "1,204")]
)
def test_number_is_as_short_as_can_be_read(value: float, text: str) -> None:
    assert number(value) == text


def test_tick_labels_have_the_digits_of_their_step() -> None:
    assert [number(t, 0.05) for t in (0.7, 0.75)] == ["0.70", "0.75"]
    assert number(200.0, 20.0) == "200"


@given(st.lists(FLOATS, min_size=1, max_size=5))
def test_padding_leaves_room_on_both_sides(values: list[float]) -> None:
    low, high = padded(values)
    assert low <= min(values)
    assert high >= max(values)
    assert low < high


def test_percent_and_markup_types() -> None:
    assert percent(0.125) == "12.5%"
    assert isinstance(element("g"), Markup)
