"""Plant: sixteen classes of leak, each put into a clean shop in several ways, with the checks that must name it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from kincast.clock import DAY_US
from kincast.testing.leak import (
    DAYS,
    START,
    WINDOW,
    Plant,
    Random,
    World,
    clean_world,
    with_about,
    with_column,
    with_faults,
    with_values,
)


def leaky_world(leak: str, seed: int) -> World:
    """A shop with one leak of the class, planted in a way that depends on the seed."""
    ways = LEAKS[leak][1]
    return ways[seed % len(ways)](clean_world(1_000_000 + seed), np.random.default_rng(seed))


def _fault(name: str, **changes: object) -> Plant:
    return lambda world, random: replace(with_faults(world, name), **changes)  # type: ignore[arg-type]


def _status(world: World, random: Random) -> World:
    """Orders are open until they are delivered, some weeks later."""
    age = START + DAYS * DAY_US - world.times["orders"]
    done = random.exponential(12 * DAY_US, len(age)) < age
    words = np.where(done, np.where(random.random(len(age)) < 0.9, "delivered", "returned"), "open")
    return with_column(world, "orders", "status", words)


def _answered(world: World, random: Random) -> World:
    """A time that is filled in once something has happened, missing before."""
    age = START + DAYS * DAY_US - world.times["orders"]
    delay = random.exponential(15 * DAY_US, len(age))
    days = np.where(delay < age, delay / DAY_US, np.nan)
    return with_column(world, "orders", "answered_after", pa.array(days, from_pandas=True))


def _points(world: World, random: Random) -> World:
    """A total of all that a customer ever bought, with some noise."""
    num = len(world.times["customers"])
    total = np.bincount(world.links["orders", "customers"], minlength=num)
    return with_column(world, "customers", "points", np.round(total * 10 + random.normal(0, 3, num)))


def _lapsed(world: World, random: Random) -> World:
    """Whether a customer bought after the last split began, told to all earlier seeds."""
    num = len(world.times["customers"])
    total = np.bincount(world.links["orders", "customers"], minlength=num)
    return with_column(world, "customers", "level", np.minimum(total, 12) + random.integers(0, 2, num))


def _closed(world: World, random: Random) -> World:
    return with_column(world, "plans", "is_closed", world.ends["plans"] < np.iinfo(np.int64).max)


def _end_read(world: World, random: Random) -> World:
    return with_about(world, "plans", inputs=("fee", "until"))


def _wide_view(world: World, random: Random) -> World:
    seen = world.outcomes.as_of_us + int(random.integers(1, WINDOW + 1)) * DAY_US
    return replace(world, outcomes=replace(world.outcomes, visible_us=seen))


def _long_window(world: World, random: Random) -> World:
    return replace(world, outcomes=replace(world.outcomes, window_us=int(random.integers(31, 90)) * DAY_US))


def _scaled(world: World, random: Random) -> World:
    """An amount that drifts, scaled by all rows."""
    at = world.times["orders"]
    values = random.normal(0, 1, len(at)) + random.choice([-1, 1]) * 2 * (at - START) / (DAYS * DAY_US)
    return with_column(world, "orders", "scaled", (values - values.mean()) / values.std())


def _late(world: World, random: Random) -> World:
    """Some orders reach the database days after their time, and a column says so."""
    at = world.times["orders"]
    delay = np.where(random.random(len(at)) < 0.4, random.exponential(10 * DAY_US, len(at)), 0).astype(np.int64)
    stamp = pa.array(at + delay).cast(pa.timestamp("us"))
    if "loaded_at" in world.tables["orders"].column_names:
        world = with_values(world, "orders", "loaded_at", stamp)
    else:
        world = with_column(world, "orders", "loaded_at", stamp)
    return with_about(world, "orders", arrival="loaded_at" if random.random() < 0.5 else None)


def _dated_back(world: World, random: Random) -> World:
    """A few orders were entered at the end, dated months before."""
    at = world.times["orders"].copy()
    few = random.choice(np.arange(len(at) // 2, len(at)), 8, replace=False)
    at[few] -= (60 + random.random(8) * 60).astype(np.int64) * DAY_US
    world = with_values(world, "orders", "at", pa.array(at).cast(pa.timestamp("us")))
    return replace(world, times={**world.times, "orders": at})


def _repeated(table: str) -> Plant:
    def plant(world: World, random: Random) -> World:
        rows = world.tables[table]
        again = rows.take(pa.array(random.integers(0, rows.num_rows, 5)))
        return replace(world, tables={**world.tables, table: pa.concat_tables([rows, again])})

    return plant


def _twice_labelled(world: World, random: Random) -> World:
    out = world.outcomes
    place = np.concatenate([np.arange(len(out.rows)), random.integers(0, len(out.rows), 5)])
    parts = {name: getattr(out, name)[place] for name in ("rows", "as_of_us", "target", "split")}
    return replace(world, outcomes=replace(out, **parts))


def _shuffled(world: World, random: Random) -> World:
    """Lists in no order, and a loader that bisects them."""
    order = world.orders[0]
    mixed = replace(order, time_us=random.permutation(order.time_us))
    return replace(with_faults(world, "bisect"), orders=(mixed,), fanout=50)


def _milliseconds(world: World, random: Random) -> World:
    """Part of a table in milliseconds, the rest in seconds."""
    seconds = world.times["orders"] // 1_000_000
    part = random.random(len(seconds)) < random.choice([0.02, 0.3])
    part[0] = True
    return with_values(world, "orders", "at", pa.array(np.where(part, seconds * 1000, seconds)))


def _other_unit(world: World, random: Random) -> World:
    """One table in milliseconds that are taken for microseconds."""
    short = pa.array(world.times["reviews"] // 1000).cast(pa.timestamp("us"))
    return with_values(world, "reviews", "at", short)


def _local_time(world: World, random: Random) -> World:
    """Reviews in local time, hours behind."""
    exact = world.times["orders"][world.links["reviews", "orders"]]
    at = exact + (random.exponential(1.0, len(exact)) * DAY_US).astype(np.int64)
    shift = int(random.choice([-8, -5, -4])) * DAY_US // 24
    return with_values(world, "reviews", "at", pa.array(at + shift).cast(pa.timestamp("us")))


def _texts(world: World, random: Random) -> World:
    at = world.tables["orders"]["at"].to_pylist()
    zoned = random.random(len(at)) < 0.5
    words = [f"{one.isoformat()}{'+02:00' if zone else ''}" for one, zone in zip(at, zoned, strict=True)]
    return with_values(world, "orders", "at", pa.array(words))


def _unborn_labels(world: World, random: Random) -> World:
    """Customers who are not there yet, as negatives."""
    out, joined = world.outcomes, world.times["customers"]
    instant = np.unique(out.as_of_us)[0]
    extra = np.flatnonzero(joined > instant)[:20]
    parts = (
        np.concatenate([out.rows, extra]),
        np.concatenate([out.as_of_us, np.full(len(extra), instant)]),
        np.concatenate([out.target, np.zeros(len(extra))]),
        np.concatenate([out.split, np.zeros(len(extra), np.int8)]),
    )
    return replace(world, outcomes=replace(out, rows=parts[0], as_of_us=parts[1], target=parts[2], split=parts[3]))


def _key_read(world: World, random: Random) -> World:
    return with_about(world, "orders", inputs=("amount", "order_id"))


def _keyed_by_label(world: World, random: Random) -> World:
    """Customers who buy often got the low numbers."""
    out = world.outcomes
    num = len(world.times["customers"])
    mean = np.bincount(out.rows, out.target, num) / np.maximum(np.bincount(out.rows, minlength=num), 1)
    number = np.empty(num, np.int64)
    number[np.argsort(-mean + random.normal(0, 0.05, num), kind="stable")] = np.arange(num)
    owner = {"plans": np.arange(num), "orders": world.links["orders", "customers"]}
    world = with_values(world, "customers", "customer_id", pa.array(number))
    for table, rows in owner.items():
        world = with_values(world, table, "customer_id", pa.array(number[rows]))
    return world


def _total(scale: str) -> Plant:
    def plant(world: World, random: Random) -> World:
        table, link = random.choice([["customers", "orders"], ["products", "orders"]])
        up = world.links[link, table]
        count = np.bincount(up, minlength=world.tables[table].num_rows)
        return with_column(world, table, "times_bought", np.log1p(count) if scale == "log" else count)

    return plant


def _by_row(world: World, random: Random) -> World:
    split = random.choice(np.array([0, 1, 2], np.int8), len(world.outcomes.rows), p=[0.7, 0.15, 0.15])
    return replace(world, outcomes=replace(world.outcomes, split=split))


def _by_entity(world: World, random: Random) -> World:
    part = random.choice(np.array([0, 1, 2], np.int8), len(world.times["customers"]), p=[0.7, 0.15, 0.15])
    return replace(world, outcomes=replace(world.outcomes, split=part[world.outcomes.rows]))


LEAKS: dict[str, tuple[frozenset[str], tuple[Plant, ...]]] = {
    "later neighbour at hop 2": (frozenset({"neighbour.later"}), (_fault("later2"), _fault("later1"))),
    "equal instants": (frozenset({"neighbour.tie"}), (_fault("ties", strict=True),)),
    "rows changed afterwards": (frozenset({"row.mutated"}), (_status, _answered, _points, _lapsed)),
    "end not yet known": (
        frozenset({"end.known", "end.over"}),
        (_closed, _end_read, _fault("foresee"), _fault("over")),
    ),
    "label window overlaps features": (frozenset({"label.window"}), (_wide_view, _long_window)),
    "statistics of later rows": (frozenset({"statistic.later"}), (_scaled,)),
    "late arrival": (frozenset({"row.late"}), (_late, _dated_back)),
    "duplicate keys": (frozenset({"key.duplicate"}), (_repeated("customers"), _repeated("orders"), _twice_labelled)),
    "unsorted input": (frozenset({"order.unsorted"}), (_shuffled,)),
    "mixed units and zones": (
        frozenset({"time.unit", "time.zone"}),
        (_milliseconds, _other_unit, _local_time, _texts),
    ),
    "negatives not yet born": (frozenset({"negative.unborn"}), (_fault("unborn"), _unborn_labels)),
    "keys that tell time or label": (frozenset({"key.time", "key.label"}), (_key_read, _keyed_by_label)),
    "cache without the instant": (frozenset({"cache.instant"}), (_fault("cache"),)),
    "neighbours shared among instants": (frozenset({"neighbour.shared"}), (_fault("pool"), _fault("cross"))),
    "degrees of the whole period": (frozenset({"degree.whole"}), (_total("plain"), _total("log"))),
    "split by row": (frozenset({"split.row"}), (_by_row, _by_entity)),
}
"""Class of leak → the names of the checks that must fail or warn, and ways to plant it."""
