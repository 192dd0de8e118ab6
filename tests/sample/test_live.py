"""The trees of a live snapshot are those of the snapshot built from the same rows."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.live import Shop, as_changes, random_events, shop_schema, take_all

from kincast.clock import Span, parse_instant
from kincast.graph.live import LiveSnapshot
from kincast.graph.snapshot import Snapshot
from kincast.graph.state import State
from kincast.graph.view import ViewMaker
from kincast.sample.batch import Batch, Seeds
from kincast.sample.live import LiveSampler
from kincast.sample.sampler import Sampler
from kincast.schema import Schema


def names_of(schema: Schema, graph: Any, table: str) -> list[Any]:
    """For every row what names it in any numbering: its key, or its values; None for a dead one."""
    columns = list(schema.table(table).key) or [column.name for column in schema.table(table).columns]
    if isinstance(graph, Snapshot):
        return [tuple(row.values()) for row in graph.columns(table, columns).to_pylist()]
    here = graph.tables[table]
    names = [tuple(row.values()) for row in graph.base.columns(table, columns).to_pylist()]
    for row in here.dead_rows.tolist():
        names[row] = None  # type: ignore[call-overload]
    live = graph.columns(table, columns, np.arange(here.num_live)).to_pylist()
    return [*names, *(tuple(row.values()) for row in live)]


def named(schema: Schema, graph: Any, batch: Batch) -> Any:
    names = {table.name: names_of(schema, graph, table.name) for table in schema}
    rows = {table: [names[table][row] for row in found.tolist()] for table, found in batch.rows.items()}
    blocks = [
        (b.hop, b.edge.name, b.dst_start, b.num_dst, b.src_start, b.offsets.tolist(), b.num_visible.tolist())
        for b in batch.blocks
    ]
    return (
        rows,
        {t: s.tolist() for t, s in batch.seed.items()},
        {t: o.tolist() for t, o in batch.hop_offsets.items()},
        blocks,
    )


def seeds_of(
    schema: Schema, live: LiveSnapshot, rebuilt: Snapshot, table: str, draw: random.Random
) -> tuple[Seeds, Seeds]:
    """The same random seeds in both numberings."""
    there, here = names_of(schema, rebuilt, table), names_of(schema, live, table)
    picked = [draw.randrange(len(there)) for _ in range(min(8, len(there)))]
    instants = np.array([parse_instant("2023-12-31") + draw.randrange(8) * 86_400_000_000 for _ in picked], np.int64)
    rows = np.array([here.index(there[row]) for row in picked], np.int64)
    return Seeds(table, rows, instants), Seeds(table, np.array(picked, np.int64), instants)


def compare(schema: Schema, live: LiveSnapshot, rebuilt: Snapshot, draw: random.Random, strict: bool) -> None:
    for table in schema:
        mine = sorted(name for name in map(repr, names_of(schema, live, table.name)) if name != "None")
        assert mine == sorted(map(repr, names_of(schema, rebuilt, table.name)))
        seeds = seeds_of(schema, live, rebuilt, table.name, draw)
        for fanout in ([-1, -1, -1], [2, 1, 2], [1, 3]):
            for strategy in ("last", "uniform") if -1 in fanout else ("last",):
                one = Sampler(live.base, fanout, strategy=strategy, strict=strict)
                other = Sampler(rebuilt, fanout, strategy=strategy, strict=strict)
                assert named(schema, live, LiveSampler(live, one).sample(seeds[0])) == named(
                    schema, rebuilt, other.sample(seeds[1])
                )
    assert live.max_time_us == rebuilt.max_time_us


KEYS = st.sampled_from(["BIGINT", "VARCHAR", "mixed"])
SHIFTS = st.sampled_from([None, Span(-1, "days"), Span(1, "months")])


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), KEYS, SHIFTS, st.booleans())
def test_as_the_rebuilt(
    tmp_path_factory: pytest.TempPathFactory, seed: int, keys: str, shift: Span | None, strict: bool
) -> None:
    folder, draw = tmp_path_factory.mktemp("live"), random.Random(seed)
    schema = shop_schema(keys, shift)
    shop = Shop(schema)
    take_all(shop, random_events(schema, draw, draw.choice([0, 20, 60])))
    base = shop.build(folder / "base")
    state = State(base)
    maker = ViewMaker(state)
    events = random_events(schema, draw, draw.choice([1, 10, 60]), first=1000)
    take_all(shop, events)
    draw.shuffle(events)
    half = draw.randrange(len(events))
    for part in (events[:half], events[half:], events[: half // 2]):
        for changes in as_changes(schema, part):
            state.apply(changes)
        view = maker.make(1)
    compare(schema, view, shop.build(folder / "rebuilt"), draw, strict)
