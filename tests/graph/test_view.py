"""A view that was renewed step by step is the one that is made at once."""

from __future__ import annotations

import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.live import Shop, as_changes, random_events, shop_schema, take_all

from kincast.clock import Span
from kincast.graph.live import Joined
from kincast.graph.state import State
from kincast.graph.view import ViewMaker

KEYS = st.sampled_from(["BIGINT", "VARCHAR", "mixed"])


def plain(value: Any) -> Any:
    """Everything that a table or a link of a view holds, as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Joined):
        return plain(value.live)
    if hasattr(value, "__slots__") and type(value).__name__ in ("LiveTable", "LiveLink", "Neighbours"):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name != "base"}
    return value


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), KEYS, st.sampled_from([None, Span(-1, "days")]), st.booleans())
def test_renewed_as_made(
    tmp_path_factory: pytest.TempPathFactory, seed: int, keys: str, shift: Span | None, ordered: bool
) -> None:
    draw, schema = random.Random(seed), shop_schema(keys, shift)
    shop = Shop(schema)
    take_all(shop, random_events(schema, draw, draw.choice([0, 30])))
    state = State(shop.build(tmp_path_factory.mktemp("base")))
    maker = ViewMaker(state)
    events = random_events(schema, draw, 60, first=1000)
    if not ordered:
        draw.shuffle(events)
    kept = []
    while events:
        size = draw.randint(1, 20)
        part, events = events[:size], events[size:]
        for changes in as_changes(schema, part):
            state.apply(changes)
        view = maker.make(1)
        kept.append((view, [plain(table) for table in view.tables.values()]))
        made = ViewMaker(state).make(1)
        assert {n: plain(table) for n, table in view.tables.items()} == {n: plain(t) for n, t in made.tables.items()}
        assert list(map(plain, view.links)) == list(map(plain, made.links))
        assert maker.make(2).links == view.links  # the very objects: nothing has come
    for view, tables in kept:
        assert [plain(table) for table in view.tables.values()] == tables, "a view that is held has changed"


def test_after_a_failure_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, schema = random.Random(2), shop_schema()
    shop = Shop(schema)
    take_all(shop, random_events(schema, draw, 30))
    state = State(shop.build(tmp_path))
    maker = ViewMaker(state)
    maker.make(1)
    for changes in as_changes(schema, random_events(schema, draw, 40, first=1000)):
        state.apply(changes)
    with monkeypatch.context() as patch:
        patch.setattr("kincast.graph.view._lists", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            maker.make(2)
    for changes in as_changes(schema, random_events(schema, draw, 40, first=2000)):
        state.apply(changes)
    view, made = maker.make(3), ViewMaker(state).make(3)
    assert list(map(plain, view.tables.values())) == list(map(plain, made.tables.values()))
    assert list(map(plain, view.links)) == list(map(plain, made.links))
