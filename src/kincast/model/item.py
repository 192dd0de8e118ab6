"""Item: what links lead to: features, how much in demand each was at an instant, which may be chosen then."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kincast.feature.store import FeatureStore
from kincast.graph.snapshot import Snapshot
from kincast.model.inputs import ReachedInputs, TableInputs, gathered_numbers
from kincast.model.walk import FactLists, walks
from kincast.query.encode import Lists
from kincast.sample.batch import Seeds
from kincast.sample.negative import ItemPath

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
STATE_BYTES = 1 << 28
STRETCHES = (1, 3, 12)
"""Recent demand is counted over so many lengths of the label window."""
STATE_WIDTH = len(STRETCHES) + 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What links entities and items, in the order of time.

    Attributes:
        entity: [n] int64 row of the entity table; -1 for none.
        item: [n] int64 row of the item table; -1 for none.
        time_us: [n] int64 ascending; None without times.
        end_us: [n] int64; None without ends.
    """

    entity: Int64s
    item: Int64s
    time_us: Int64s | None
    end_us: Int64s | None

    def seen(self, visible_us: int, strict: bool) -> int:
        """How many of them, the first so many, had happened by an instant."""
        if self.time_us is None:
            return len(self.item)
        return int(np.searchsorted(self.time_us, visible_us, side="left" if strict else "right"))


def facts_of(snapshot: Snapshot, path: ItemPath) -> Facts:
    """The facts along a path, each with the entity at its one end and the item at the other."""
    link = snapshot.links[path.item]
    facts = snapshot.tables[link.link.table]
    entity = np.arange(facts.num_rows, dtype=np.int64)
    for index in reversed(path.path):
        forward = snapshot.links[index].forward
        entity = np.where(entity >= 0, np.asarray(forward, np.int64)[entity], -1) if len(forward) else entity
    return Facts(entity, np.asarray(link.forward, np.int64), facts.time_us, facts.end_us)


def known_facts(snapshot: Snapshot, path: ItemPath, facts: Facts) -> Facts:
    """The facts in the order in which they are known with both ends: a row that is not there yet is nobody's end.

    Args:
        snapshot: the rows.
        path: from entities to items.
        facts: along it.

    Returns:
        the same, each at the time at which the last of fact, entity and item came to be.
    """
    times = [] if facts.time_us is None else [np.asarray(facts.time_us)]
    for index, rows in ((path.path[0], facts.entity), (path.item, facts.item)):
        born_us = snapshot.tables[snapshot.links[index].link.target].time_us
        if born_us is not None and len(born_us):
            times.append(np.where(rows >= 0, born_us[rows], np.iinfo(np.int64).min))
    if not times:
        return facts
    known_us = np.max(np.stack(times), axis=0)
    order = np.argsort(known_us, kind="stable")
    end_us = None if facts.end_us is None else facts.end_us[order]
    return Facts(facts.entity[order], facts.item[order], known_us[order], end_us)


class Items:
    """The items of a link task over a snapshot; safe to share between threads.

    Args:
        snapshot: the rows.
        features: encoded.
        path: from entities to items.
        places: [num_items] int64 place of each item among those seen in training, from 1; 0 for others.
        allowed: [num_items] which the query's filter lets through; None for all.
        strict: what happens at the very instant is not seen.
        top: how many are ranked for a row.
        repeats: what an entity had before may be ranked again.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        features: FeatureStore,
        path: ItemPath,
        places: Int64s,
        allowed: Bools | None,
        strict: bool,
        top: int,
        repeats: bool,
    ) -> None:
        self.snapshot, self.path, self.strict, self.top, self.allowed = snapshot, path, strict, top, allowed
        self.repeats = repeats
        self.table = snapshot.links[path.item].link.target
        self.num_items = snapshot.tables[self.table].num_rows
        self.facts = facts_of(snapshot, path)
        self.places = torch.from_numpy(places)
        self._features = features.tables[self.table]
        self.length_us = 0
        if path.window is not None:
            start, end = (span.approx_us for span in path.window)
            self.length_us = max(end - max(start, 0), 1)
        self._states: OrderedDict[tuple[int, int], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def over(self, snapshot: Snapshot, features: FeatureStore) -> Items:
        """The same task over other rows, where an item that both have is the same row."""
        num_items = snapshot.tables[self.table].num_rows
        places = np.zeros(num_items, np.int64)
        shared = min(num_items, self.num_items)
        places[:shared] = self.places.numpy()[:shared]
        allowed = None if self.allowed is None else np.resize(self.allowed, num_items)
        return Items(snapshot, features, self.path, places, allowed, self.strict, self.top, self.repeats)

    @cached_property
    def _known(self) -> Facts:
        return known_facts(self.snapshot, self.path, self.facts)

    @cached_property
    def lists(self) -> FactLists:
        """The facts of each entity and of each item."""
        links = [self.snapshot.links[index] for index in (self.path.path[0], self.path.item)]
        num_entities, num_items = (self.snapshot.tables[link.link.target].num_rows for link in links)
        facts = self._known
        return FactLists.of(facts.entity, facts.item, facts.time_us, facts.end_us, (num_entities, num_items))

    def reached(self, seeds: Seeds) -> ReachedInputs:
        """What the entities reach over shared facts, and how much each of it is in demand."""
        found = walks(self.lists, seeds.rows, self._cuts(seeds), seeds.visible, self.length_us, self.repeats)
        state = torch.empty(len(found.item), STATE_WIDTH)
        seed, item = torch.from_numpy(found.seed), torch.from_numpy(found.item)
        ends = np.concatenate([[0], np.cumsum(np.bincount(found.seed, minlength=len(seeds)))])
        for as_of, visible, here in instants(seeds):
            own = np.concatenate([np.arange(ends[place], ends[place + 1]) for place in here.tolist()])
            state[own] = self.state(as_of, visible)[item[own]]
        return ReachedInputs(seed, item, torch.cat([torch.from_numpy(found.values), state], 1))

    def had(self, seeds: Seeds) -> Lists:
        """[n] lists of the items that each entity had by its instant, ascending and different."""
        offsets, facts = self.lists.of_entity
        starts, stops = offsets[seeds.rows], offsets[seeds.rows + 1]
        of = np.repeat(np.arange(len(seeds)), stops - starts)
        own = facts[np.arange(len(of)) - np.repeat(np.cumsum(stops - starts) - stops, stops - starts)]
        kept = own < self._cuts(seeds)[of]
        known = self._known
        if known.end_us is not None:
            kept &= known.end_us[own] > seeds.visible[of]
        pairs = np.unique(of[kept] * max(self.num_items, 1) + known.item[own[kept]])
        width = max(self.num_items, 1)
        return Lists(np.searchsorted(pairs, np.arange(len(seeds) + 1) * width), pairs % width)

    def _cuts(self, seeds: Seeds) -> Int64s:
        """[n] how many facts, the first so many, each seed sees."""
        seen, place = np.unique(seeds.visible, return_inverse=True)
        return np.array([self._known.seen(visible, self.strict) for visible in seen.tolist()], np.int64)[place]

    def inputs(self, rows: Int64s) -> TableInputs:
        """Features of items [n], without ages: those depend on the instant."""
        spec = self._features.spec
        codes = torch.from_numpy(self._features.gather(rows).codes)
        ages = torch.full((len(rows), 1 + len(spec.instants)), float("nan"))
        return TableInputs(gathered_numbers(self._features, rows), codes, ages)

    def exist(self, as_of_us: int) -> Bools:
        """[num_items] which there are at an instant and pass the filter of the query."""
        table = self.snapshot.tables[self.table]
        there = np.ones(self.num_items, np.bool_) if self.allowed is None else self.allowed.copy()
        if table.time_us is not None:
            there &= (table.time_us < as_of_us) if self.strict else (table.time_us <= as_of_us)
        if table.end_us is not None:
            there &= table.end_us > as_of_us
        return there

    def state(self, as_of_us: int, visible_us: int) -> Tensor:
        """[num_items, STATE_WIDTH] float32 of an instant: demand, lately and ever, time since the last fact, age."""
        key = (as_of_us, visible_us)
        with self._lock:
            if key in self._states:
                self._states.move_to_end(key)
                return self._states[key]
        state = torch.from_numpy(self._state(as_of_us, visible_us))
        with self._lock:
            self._states[key] = state
            most = max(1, STATE_BYTES // max(state.numel() * 4, 1))
            while len(self._states) > most:
                self._states.popitem(last=False)
        return state

    def _state(self, as_of_us: int, visible_us: int) -> NDArray[np.float32]:
        facts, until = self.facts, self.facts.seen(visible_us, self.strict)
        state = np.zeros((self.num_items, STATE_WIDTH), np.float32)
        state[:, 0] = np.log1p(self.demand(visible_us, visible_us))
        if facts.time_us is not None and self.length_us:
            for place, stretch in enumerate(STRETCHES, start=1):
                state[:, place] = np.log1p(self.demand(visible_us - stretch * self.length_us, visible_us))
            last = np.full(self.num_items, -1, np.int64)
            named = facts.item[:until] >= 0
            last[facts.item[:until][named]] = np.flatnonzero(named)  # the latest of each, since they are in order
            known = last >= 0
            since = (visible_us - facts.time_us[last[known]]) / self.length_us
            state[known, len(STRETCHES) + 1] = np.exp(-since)
        time_us = self.snapshot.tables[self.table].time_us
        if time_us is not None and self.length_us:
            state[:, len(STRETCHES) + 2] = np.exp(-np.maximum(as_of_us - time_us, 0) / self.length_us)
        return state

    def demand(self, since_us: int, visible_us: int) -> Int64s:
        """[num_items] facts of each item that are seen at an instant and are later than another; ever when equal."""
        facts, until = self.facts, self.facts.seen(visible_us, self.strict)
        start = 0 if since_us == visible_us or facts.time_us is None else facts.seen(since_us, False)
        items = facts.item[start:until]
        kept = items >= 0
        if facts.end_us is not None:
            kept &= facts.end_us[start:until] > visible_us
        return np.bincount(items[kept], minlength=self.num_items)


def instants(seeds: Seeds) -> list[tuple[int, int, Int64s]]:
    """The different instants of seeds: as-of, visible, and the seeds that have them."""
    pairs, place = np.unique(np.stack([seeds.as_of_us, seeds.visible]), axis=1, return_inverse=True)
    place = place.reshape(-1)
    return [(int(pair[0]), int(pair[1]), np.flatnonzero(place == number)) for number, pair in enumerate(pairs.T)]
