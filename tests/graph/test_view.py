"""A view that was renewed step by step is the one that is made at once."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.live import Shop, as_changes, random_events, shop_schema, take_all

from kincast.clock import Span
from kincast.graph import compact
from kincast.graph.delta import Record
from kincast.graph.live import Joined
from kincast.graph.state import State
from kincast.graph.view import ViewMaker
from kincast.source.change import Delivery

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


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 7, 1000]))
def test_together_as_one_by_one(tmp_path_factory: pytest.TempPathFactory, seed: int, most: int) -> None:
    draw, schema = random.Random(seed), shop_schema()
    shop = Shop(schema)
    take_all(shop, random_events(schema, draw, 30))
    base = shop.build(tmp_path_factory.mktemp("base"))
    events = random_events(schema, draw, 60, first=1000)
    events = [replace(event, sequence=event.sequence // 3) for event in events]  # many tie
    draw.shuffle(events)
    records = [Record(i, Delivery("s", str(i), tuple(as_changes(schema, events[i::9])))) for i in range(9)]
    one, other = State(base), State(base)
    for record in records:
        for changes in record.delivery.changes:
            one.apply(changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact, "MOST_ROWS", most)
        compact.apply_records(other, [*records, *draw.sample(records, 3)])
    mine, theirs = compact.folded_changes(one), compact.folded_changes(other)
    assert {n: t.sort_by("key").to_pydict() for n, t in mine.items()} == {
        n: t.sort_by("key").to_pydict() for n, t in theirs.items()
    }
    one_view, other_view = ViewMaker(one).make(1), ViewMaker(other).make(1)
    for name, table in one_view.tables.items():
        again = other_view.tables[name]
        assert {**plain(table), "arrival": []} == {**plain(again), "arrival": []}
        columns = [column.name for column in schema.table(name).columns]
        rows = np.arange(table.num_live)
        assert one_view.columns(name, columns, rows).equals(other_view.columns(name, columns, rows))
    assert list(map(plain, one_view.links)) == list(map(plain, other_view.links))
