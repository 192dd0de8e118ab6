"""Leak: small random shops with a plain loader, clean or with one of sixteen leaks planted, to prove audits on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.clock import DAY_US, parse_instant
from kincast.sample.audit.subject import Draw, Edges, Facts, Int64s, Nodes, Order, Outcomes

START = parse_instant("2023-01-01")
DAYS = 360
END = START + DAYS * DAY_US
WINDOW = 30
Random = np.random.Generator


@dataclass
class World:
    """A shop: its tables, labels, and how its loader draws.

    Attributes:
        tables: name → rows.
        about: name → attributes of its ``Facts``.
        times: name → [n] int64 true instant of each row, microseconds.
        ends: name → [n] int64 instant of the end, the largest number where never.
        links: (child, parent) → [n] row of the parent of each child.
        outcomes: the labels.
        strict: the loader hides facts at the very instant.
        fanout: rows per hop; the newest are taken when ``newest``, else they are drawn.
        newest: see ``fanout``.
        negatives: how many negatives a seed gets.
        faults: names of what the loader does wrong.
        seed: of its loader.
        orders: lists that the loader trusts to be in time order.
    """

    tables: dict[str, pa.Table]
    about: dict[str, dict[str, Any]]
    times: dict[str, Int64s]
    ends: dict[str, Int64s]
    links: dict[tuple[str, str], Int64s]
    outcomes: Outcomes
    strict: bool = False
    fanout: int = 8
    newest: bool = True
    negatives: int = 2
    seed: int = 0
    faults: frozenset[str] = frozenset()
    orders: tuple[Order, ...] = field(default=())

    @property
    def facts(self) -> dict[str, Facts]:
        """The tables as an audit takes them."""
        return {name: Facts.of(name, rows, **self.about[name]) for name, rows in self.tables.items()}

    @property
    def adjacent(self) -> dict[str, tuple[Int64s, Int64s]]:
        """Child rows of the customers."""
        found = {}
        for (child, parent), up in self.links.items():
            if parent == "customers":
                found[child] = (up, np.arange(len(up)))
        return found

    def draws(self, num_batches: int = 8, size: int = 24) -> list[Draw]:
        """Batches of random labels and, for every other seed, the same row at another instant."""
        random = np.random.default_rng(self.seed + 1)
        kept: dict[int, Any] = {}
        found = []
        for _ in range(num_batches):
            first = random.integers(0, len(self.outcomes.rows), size // 2)
            rows, at = self.outcomes.rows[first], self.outcomes.as_of_us[first]
            other = np.minimum(at + random.choice([60, 90, 120], len(at)) * DAY_US, START + DAYS * DAY_US)
            for place in np.flatnonzero(random.random(len(at)) < 0.3).tolist():
                own = self.times["orders"][self.links["orders", "customers"] == rows[place]]
                other[place] = random.choice(own) if len(own) else other[place]  # a fact's own instant: a tie
            found.append(_draw(self, np.repeat(rows, 2), np.stack([at, other], axis=1).ravel(), random, kept))
        return found


def clean_world(seed: int) -> World:
    """A shop without a leak: of random size, with or without drift, ends, days as times, keys of any kind."""
    random = np.random.default_rng(seed)
    num = int(random.integers(220, 400))
    daily = bool(random.random() < 0.3)
    vip = random.random(num) < 0.4
    rate = np.where(vip, 0.09, 0.025) * random.gamma(random.choice([2.0, 20.0]), 1.0, num)
    joined = np.sort(_round(START + (random.random(num) * 150 * DAY_US).astype(np.int64), daily))
    buyer, at = _events(random, joined, rate / rate.mean() * 0.045, daily)
    delay = (random.exponential(2.0, len(at)) * DAY_US).astype(np.int64)
    seen_at = _round(at + delay, daily)
    reviewed = np.flatnonzero((random.random(len(at)) < 0.5) & (seen_at < END))
    since = joined + (random.random(num) * 60 * DAY_US).astype(np.int64)
    ends = np.where(random.random(num) < 0.6, since + (random.exponential(150, num) * DAY_US).astype(np.int64), _NEVER)
    times = {"customers": joined, "orders": at, "reviews": seen_at[reviewed], "plans": since}
    product = random.integers(0, 40, len(at))
    links = {
        ("orders", "customers"): buyer,
        ("orders", "products"): product,
        ("reviews", "orders"): reviewed,
        ("plans", "customers"): np.arange(num),
    }
    ends = np.where(ends < END, ends, _NEVER)
    loaded = bool(random.random() < 0.5)
    about = _about("loaded_at" if loaded and random.random() < 0.5 else None)
    return World(
        _tables(random, times, links, ends, vip, loaded),
        about,
        times,
        {"plans": ends},
        links,
        _labels(joined, buyer, at),
        strict=bool(random.random() < 0.5),
        fanout=int(random.choice([4, 8, 50])),
        newest=bool(random.random() < 0.5),
        seed=seed,
        orders=(_order(at, buyer, num),),
    )


def _events(random: Random, joined: Int64s, rate: NDArray[np.float64], daily: bool) -> tuple[Int64s, Int64s]:
    """Orders at a steady rate from joining on: who and when, in time order."""
    life = (END - joined) / DAY_US
    buyer = np.repeat(np.arange(len(joined)), random.poisson(rate * life))
    at = joined[buyer] + (random.random(len(buyer)) * life[buyer] * DAY_US).astype(np.int64)
    order = np.argsort(at, kind="stable")
    return buyer[order], _round(at[order], daily)


def _tables(
    random: Random,
    times: dict[str, Int64s],
    links: dict[tuple[str, str], Int64s],
    ends: Int64s,
    vip: NDArray[np.bool_],
    loaded: bool,
) -> dict[str, pa.Table]:
    at, num, reviewed = times["orders"], len(vip), links["reviews", "orders"]
    keys = _keys(random, num)
    drift = random.choice([0.0, 0.0, 0.5, -0.5]) * (at - START) / (END - START)
    customers = {
        "customer_id": keys,
        "joined_at": _stamp(times["customers"]),
        "age": random.integers(18, 80, num),
        "segment": np.array(["a", "b", "c"])[random.integers(0, 3, num)],
        "vip": vip,
    }
    orders = {
        "order_id": np.arange(len(at)) + 1000,
        "customer_id": keys.take(pa.array(links["orders", "customers"])),
        "product_id": links["orders", "products"],
        "at": _stamp(at),
        "amount": np.round(np.exp(random.normal(3 + drift, 0.6)), 2),
        "method": np.array(["card", "cash", "transfer"])[random.integers(0, 3, len(at))],
        **({"loaded_at": _stamp(at)} if loaded else {}),
    }
    reviews = {
        "review_id": np.arange(len(reviewed)),
        "order_id": reviewed + 1000,
        "at": _stamp(times["reviews"]),
        "stars": random.integers(1, 6, len(reviewed)),
    }
    plans = {
        "plan_id": random.permutation(num),
        "customer_id": keys,
        "since": _stamp(times["plans"]),
        "until": pa.array(np.where(ends == _NEVER, 0, ends), mask=ends == _NEVER).cast(pa.timestamp("us")),
        "fee": np.round(random.lognormal(2, 0.4, num), 2),
    }
    products = {"product_id": np.arange(40), "price": np.round(random.lognormal(3, 1, 40), 2)}
    named = {"customers": customers, "products": products, "orders": orders, "reviews": reviews, "plans": plans}
    return {name: pa.table(columns) for name, columns in named.items()}


def _about(arrival: str | None) -> dict[str, dict[str, Any]]:
    """Keys, times and links of each table."""
    to_customers, to_products = {"customer_id": "customers"}, {"product_id": "products"}
    return {
        "customers": {"key": ("customer_id",), "time": "joined_at"},
        "products": {"key": ("product_id",)},
        "orders": {"key": ("order_id",), "time": "at", "links": to_customers | to_products, "arrival": arrival},
        "reviews": {"key": ("review_id",), "time": "at", "links": {"order_id": "orders"}},
        "plans": {"key": ("plan_id",), "time": "since", "end_time": "until", "links": to_customers},
    }


_NEVER = np.iinfo(np.int64).max


def _round(times: Int64s, daily: bool) -> Int64s:
    """To days, as many databases store them."""
    return -(-times // DAY_US) * DAY_US if daily else times


def _stamp(times: Int64s) -> pa.Array:
    return pa.array(times).cast(pa.timestamp("us"))


def _keys(random: Random, num: int) -> pa.Array:
    """Numbers in the order of birth, shuffled numbers, or texts."""
    kind = random.integers(0, 3)
    if kind == 2:
        return pa.array([f"C-{number:05d}" for number in random.permutation(num)])
    return pa.array(np.arange(num) if kind else random.permutation(num) + 5)


def _labels(joined: Int64s, buyer: Int64s, at: Int64s) -> Outcomes:
    """Whether a customer who is there buys within 30 days, at instants 30 days apart."""
    rows, instants, target = [], [], []
    for day in range(30, DAYS - WINDOW + 1, 30):
        instant = START + day * DAY_US
        there = np.flatnonzero(joined <= instant)
        bought = np.unique(buyer[(at > instant) & (at <= instant + WINDOW * DAY_US)])
        rows.append(there)
        instants.append(np.full(len(there), instant))
        target.append(np.isin(there, bought).astype(np.float64))
    as_of = np.concatenate(instants)
    days = (as_of - START) // DAY_US
    split = np.where(days <= 240, 0, np.where(days <= 270, 1, 2)).astype(np.int8)
    return Outcomes("customers", np.concatenate(rows), as_of, np.concatenate(target), split, WINDOW * DAY_US)


def _order(at: Int64s, buyer: Int64s, num: int) -> Order:
    """The orders of each customer, in time order."""
    place = np.lexsort((at, buyer))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(buyer, minlength=num))])
    return Order("customers -> orders", offsets, at[place])


def _visible(world: World, table: str, rows: Int64s, instant: int, fault: str = "") -> Int64s:
    """Which of the rows exist at the instant; a fault of that name forgets to look."""
    if fault and fault in world.faults:
        return rows
    born = world.times.get(table)
    if born is not None:
        strict = world.strict and "ties" not in world.faults
        rows = rows[born[rows] < instant] if strict else rows[born[rows] <= instant]
    ends = world.ends.get(table)
    if ends is not None:
        rows = rows[ends[rows] == _NEVER] if "foresee" in world.faults else rows[ends[rows] > instant]
    return rows


def _take(world: World, random: Random, rows: Int64s, table: str) -> Int64s:
    if len(rows) <= world.fanout:
        return rows
    if world.newest:
        return rows[np.argsort(world.times[table][rows], kind="stable")][-world.fanout :]
    return random.choice(rows, world.fanout, replace=False)


def _tree(world: World, random: Random, row: int, instant: int) -> dict[str, list[tuple[int, int]]]:
    """Table → (row, hop) of what is drawn for one seed."""
    own = np.flatnonzero(world.links["orders", "customers"] == row)
    if "bisect" in world.faults:  # trusts a list that is not in order
        own = np.random.default_rng(row).permutation(own)
        own = own[: int(np.searchsorted(world.times["orders"][own], instant, side="right"))]
    else:
        own = _visible(world, "orders", own, instant, "later1")
    orders = _take(world, random, own, "orders")
    plans = _visible(world, "plans", np.flatnonzero(world.links["plans", "customers"] == row), instant, "over")
    reviews = np.flatnonzero(np.isin(world.links["reviews", "orders"], orders))
    reviews = _take(world, random, _visible(world, "reviews", reviews, instant, "later2"), "reviews")
    return {
        "customers": [(row, 0)],
        "orders": [(one, 1) for one in orders.tolist()],
        "plans": [(one, 1) for one in plans.tolist()],
        "products": [(one, 2) for one in world.links["orders", "products"][orders].tolist()],
        "reviews": [(one, 2) for one in reviews.tolist()],
    }


def _draw(world: World, rows: Int64s, at: Int64s, random: Random, kept: dict[int, Any]) -> Draw:
    members: dict[str, list[tuple[int, int, int]]] = {name: [] for name in world.tables}
    for seed, (row, instant) in enumerate(zip(rows.tolist(), at.tolist(), strict=True)):
        tree = kept.get(row) if "cache" in world.faults else None
        if tree is None:
            tree = kept[row] = _tree(world, random, row, instant)
        for name, own in tree.items():
            members[name] += [(one, seed, hop) for one, hop in own]
    nodes = {}
    for name, own in members.items():
        values = np.array(own, np.int64).reshape(-1, 3)
        nodes[name] = Nodes(values[:, 0], values[:, 1], values[:, 2])
    src, dst = [], []
    for local, (row, seed) in enumerate(zip(nodes["orders"].rows, nodes["orders"].seed, strict=True)):  # type: ignore[arg-type]
        buyer = world.links["orders", "customers"][row]
        to = np.flatnonzero(nodes["customers"].rows == buyer)
        same = to[nodes["customers"].seed[to] == seed]  # type: ignore[index]
        for one in (to if "cross" in world.faults else same).tolist():
            src.append(local)
            dst.append(one)
    edges = (Edges("orders", np.array(src, np.int64), "customers", np.array(dst, np.int64)),)
    if "pool" in world.faults:
        nodes = {name: Nodes(own.rows) for name, own in nodes.items()}
    return Draw("customers", rows, at, nodes, edges, _negatives(world, at, random))


def _negatives(world: World, at: Int64s, random: Random) -> dict[str, Nodes]:
    """Other customers who existed at the instant; a fault takes them from all."""
    found, seeds = [], []
    for seed, instant in enumerate(at.tolist()):
        joined = world.times["customers"]
        there = np.arange(len(joined)) if "unborn" in world.faults else np.flatnonzero(joined <= instant)
        chosen = random.choice(there, world.negatives) if len(there) else there
        found.append(chosen)
        seeds.append(np.full(len(chosen), seed))
    return {"customers": Nodes(np.concatenate(found), np.concatenate(seeds))}


def with_column(world: World, table: str, name: str, values: Any) -> World:
    """The world with one more column."""
    rows = world.tables[table].append_column(name, pa.array(values))
    return replace(world, tables={**world.tables, table: rows})


def with_values(world: World, table: str, name: str, values: pa.Array) -> World:
    """The world with other values in a column."""
    rows = world.tables[table]
    rows = rows.set_column(rows.column_names.index(name), name, values)
    return replace(world, tables={**world.tables, table: rows})


def with_about(world: World, table: str, **about: Any) -> World:
    """The world with another thing said of a table."""
    return replace(world, about={**world.about, table: {**world.about[table], **about}})


def with_faults(world: World, *names: str) -> World:
    """The world with a loader that does these things wrong."""
    return replace(world, faults=frozenset(names))


Plant = Callable[[World, Random], World]
