"""Live sampling: the neighbourhoods of a snapshot and the changes since, read together.

The visible neighbours of a row are a prefix of its list in the base, without the rows that are dead, and a prefix of
its extra list; both are in the order of all rows, so the newest of both are found from their ends. For ``last`` and
``all`` the trees are those of the snapshot that would be built from the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kincast.compile import compiled
from kincast.errors import DataError, ProjectError
from kincast.graph.live import LiveLink, LiveTable
from kincast.sample import kernels
from kincast.sample.batch import Batch, Block, Int32s, Int64s, Seeds
from kincast.sample.choose import choose_uniform
from kincast.sample.edge import EdgeType
from kincast.sample.kernels import first_from
from kincast.sample.random import fold
from kincast.sample.sampler import Sampler

_NONE = np.empty(0, np.int64)


class LiveGraph(Protocol):
    """What a live sampler reads of a ``LiveSnapshot``."""

    @property
    def tables(self) -> Mapping[str, LiveTable]: ...
    @property
    def links(self) -> tuple[LiveLink, ...]: ...


class LiveSampler(Sampler):
    """A sampler over a live snapshot; its arguments, and what the seeds get, are those of ``Sampler``.

    Draws of ``uniform`` are keyed by row numbers, and so differ from those of the snapshot built from the same rows.

    Args:
        snapshot: the view to draw from; another one needs another sampler.
        sampler: whose settings to use.

    Raises:
        ProjectError: the strategy cannot be used on live rows.
    """

    def __init__(self, snapshot: LiveGraph, sampler: Sampler) -> None:
        for sampling in sampler.samplings:
            if sampling.strategy not in ("last", "uniform", "all") or sampling.window_us or sampling.replace:
                hint = (
                    "use last, uniform or all, without window and replace, or sample from a snapshot: kincast compact"
                )
                raise ProjectError(f"live rows cannot be sampled by '{sampling.strategy}' so", hint=hint)
        if sampler.max_rows_per_seed is not None:
            hint = "leave it out, or sample from a snapshot: kincast compact"
            raise ProjectError("live rows cannot be sampled with max_rows_per_seed", hint=hint)
        self.__dict__.update(sampler.__dict__)
        self.live = snapshot

    def sample(self, seeds: Seeds) -> Batch:
        """The neighbourhoods of the seeds, whose rows are the view's.

        Raises:
            DataError: the seeds' table or a row of theirs is not in the view.
        """
        table = self.live.tables.get(seeds.table)
        if table is None:
            raise DataError("the snapshot has no such table", where=seeds.table)
        wrong = (seeds.rows < 0) | (seeds.rows >= table.num_rows)
        if len(table.dead):
            wrong |= table.dead[np.clip(seeds.rows, 0, table.num_base - 1)] & (seeds.rows < table.num_base)
        if wrong.any():
            samples = ", ".join(map(str, seeds.rows[wrong][:3]))
            raise DataError(f"{wrong.sum():,} seeds are no rows of the snapshot: {samples}", where=seeds.table)
        growth = _Growth(self, seeds)
        for hop in range(1, self.num_hops + 1):
            growth.expand(hop)
        return growth.batch()


@dataclass(frozen=True, slots=True)
class _Found:
    """One edge type at one hop, counted. ``rows`` is of a forward edge, the others of a reverse one.

    ``spans`` [n, 4] int64: visible positions in the base's list, and in the extra list.
    """

    index: int
    edge: EdgeType
    offsets: Int64s
    num_visible: Int64s
    rows: Int64s
    spans: Int64s

    @property
    def total(self) -> int:
        return int(self.offsets[-1])


class _Growth:
    """One batch while it grows, hop by hop."""

    def __init__(self, sampler: LiveSampler, seeds: Seeds) -> None:
        self._sampler, self._seeds = sampler, seeds
        self._keys = sampler.seed_keys(seeds)
        self._cuts: dict[str, tuple[Int64s, Int64s]] = {}
        self._blocks: list[Block] = []
        self._rows: dict[str, list[Int64s]] = {name: [_NONE] for name in sampler.live.tables}
        self._seed: dict[str, list[Int32s]] = {name: [np.empty(0, np.int32)] for name in sampler.live.tables}
        self._starts: dict[str, list[int]] = {name: [0, 0] for name in sampler.live.tables}
        self._rows[seeds.table] = [seeds.rows]
        self._seed[seeds.table] = [np.arange(len(seeds), dtype=np.int32)]
        self._starts[seeds.table] = [0, len(seeds)]

    def expand(self, hop: int) -> None:
        """Add the rows of one more hop."""
        new_rows: dict[str, list[Int64s]] = {name: [_NONE] for name in self._rows}
        new_seed: dict[str, list[Int32s]] = {name: [np.empty(0, np.int32)] for name in self._rows}
        totals = dict.fromkeys(self._rows, 0)
        for index, edge in enumerate(self._sampler.edges):
            fanout = int(self._sampler.fanout[index, hop - 1])
            if fanout == 0 or not len(self._rows[edge.table][-1]):
                continue
            found = self._count(index, edge, kernels.ALL if fanout < 0 else fanout)
            if not found.total:
                continue
            rows, seeds = np.empty(found.total, np.int64), np.empty(found.total, np.int32)
            self._fill(hop, found, rows, seeds)
            dst_start, dst_stop = self._starts[edge.table][-2:]
            src_start = self._starts[edge.other][-1] + totals[edge.other]
            self._blocks.append(
                Block(hop, edge, dst_start, dst_stop - dst_start, src_start, found.offsets, found.num_visible)
            )
            totals[edge.other] += found.total
            new_rows[edge.other].append(rows)
            new_seed[edge.other].append(seeds)
        for name, total in totals.items():
            self._rows[name].append(np.concatenate(new_rows[name]))
            self._seed[name].append(np.concatenate(new_seed[name]))
            self._starts[name].append(self._starts[name][-1] + total)

    def _count(self, index: int, edge: EdgeType, fanout: int) -> _Found:
        front = (self._rows[edge.table][-1], self._seed[edge.table][-1])
        link = self._sampler.live.links[edge.link]
        table, other = self._sampler.live.tables[edge.table], self._sampler.live.tables[edge.other]
        num = len(front[0])
        offsets = np.empty(num + 1, np.int64)
        cuts, ends = self._cut(edge.other), self._ends(other)
        if not edge.reverse:
            rows = np.empty(num, np.int64)
            patches = (link.patched_rows, link.patched_to, other.dead, other.dead_rows, other.moved_to)
            sizes = (table.num_base, other.num_base)
            _follow(front, (link.base.forward, link.live_forward), patches, sizes, rows)
            _hide(front[1], rows, other.num_base, cuts, ends, offsets)
            return _Found(index, edge, offsets, np.diff(offsets), rows, np.empty((0, 4), np.int64))
        spans, alive = np.empty((num, 4), np.int64), np.empty(num, np.int64)
        _count_live(front, _lists(link, table, other), cuts, ends, spans, alive)
        offsets[0] = 0
        np.cumsum(np.minimum(alive, fanout), out=offsets[1:])
        return _Found(index, edge, offsets, alive, _NONE, spans)

    def _fill(self, hop: int, found: _Found, rows: Int64s, seeds: Int32s) -> None:
        edge, front = found.edge, (self._rows[found.edge.table][-1], self._seed[found.edge.table][-1])
        if not edge.reverse:
            there = found.rows >= 0
            rows[:], seeds[:] = found.rows[there], front[1][there]
            return
        link = self._sampler.live.links[edge.link]
        table, other = self._sampler.live.tables[edge.table], self._sampler.live.tables[edge.other]
        lists, ends = _lists(link, table, other), self._ends(other)
        counts = (found.offsets, found.num_visible)
        if self._sampler.samplings[found.index].strategy in ("last", "all"):
            _fill_last_live(front[1], lists, ends, found.spans, counts[0], (rows, seeds))
        else:
            keys = (self._keys, self._sampler.edge_keys[hop - 1, found.index])
            whole = int(self._sampler.reading.wholes[hop - 1, found.index])
            _fill_uniform_live(front, lists, ends, found.spans, counts, keys, whole, (rows, seeds))

    def _cut(self, name: str) -> tuple[Int64s, Int64s]:
        """[num_seeds] rows of the base, and live rows, that each seed may look at."""
        if name not in self._cuts:
            table, visible = self._sampler.live.tables[name], self._seeds.visible
            base = np.full(len(visible), table.num_base, np.int64)
            live = np.full(len(visible), table.num_live, np.int64)
            if table.time_us is not None:
                kernels.cut_rows(table.time_us.base, visible, self._sampler.strict, base)
                kernels.cut_rows(table.live_time_us, visible, self._sampler.strict, live)
            self._cuts[name] = base, live
        return self._cuts[name]

    def _ends(self, table: LiveTable) -> tuple[Int64s, Int64s, Int64s]:
        """Ends of the base rows and of the live ones, empty when rows do not end; and the seeds' visible instants."""
        if table.end_us is None:
            return _NONE, _NONE, self._seeds.visible
        return np.asarray(table.end_us.base), table.end_us.live, self._seeds.visible

    def batch(self) -> Batch:
        """All hops together."""
        return Batch(
            seeds=self._seeds,
            num_hops=self._sampler.num_hops,
            rows={name: np.concatenate(parts) for name, parts in self._rows.items()},
            seed={name: np.concatenate(parts) for name, parts in self._seed.items()},
            hop_offsets={name: np.array(starts, np.int64) for name, starts in self._starts.items()},
            blocks=tuple(self._blocks),
        )


_Lists = tuple[NDArray[np.int64] | NDArray[np.int32] | NDArray[np.bool_] | int, ...]


def _lists(link: LiveLink, table: LiveTable, other: LiveTable) -> _Lists:
    """What the reverse kernels read of a link, of the table expanded from and of the neighbours' table."""
    return (
        link.base.offsets,
        link.base.rows,
        table.num_base,
        table.origin,
        link.extra.targets,
        link.extra.offsets,
        link.extra.rows,
        other.place,
        link.lost.targets,
        link.lost.offsets,
        link.lost.rows,
        other.dead,
        other.num_base,
    )


@compiled
def _position(ascending, value):  # type: ignore[no-untyped-def]
    """Where a value is in an ascending array; -1 when it is not."""
    place = np.searchsorted(ascending, value)
    if place < ascending.shape[0] and ascending[place] == value:
        return np.int64(place)
    return np.int64(-1)


@compiled
def _follow(front, forwards, patches, sizes, rows):  # type: ignore[no-untyped-def]
    """Follow a foreign key: rows [n] int64, written: the row it names now, or -1."""
    frontier, _ = front
    forward, live_forward = forwards
    patched_rows, patched_to, dead, dead_rows, moved_to = patches
    num_base, num_base_other = sizes
    for i in range(frontier.shape[0]):
        row = frontier[i]
        if row >= num_base:
            rows[i] = live_forward[row - num_base]
            continue
        found = np.int64(forward[row])
        if found < 0 and patched_rows.shape[0] > 0:
            place = _position(patched_rows, row)
            if place >= 0:
                found = patched_to[place]
        elif found >= 0 and found < num_base_other and dead.shape[0] > 0 and dead[found]:
            found = moved_to[_position(dead_rows, found)]
        rows[i] = found


@compiled
def _hide(seed, rows, num_base, cuts, ends, offsets):  # type: ignore[no-untyped-def]
    """Put -1 for rows that their seed does not see; offsets [n + 1] int64, written."""
    base_cuts, live_cuts = cuts
    offsets[0] = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        if row >= 0 and not _seen(row, num_base, base_cuts[seed[i]], live_cuts[seed[i]]):
            row = np.int64(-1)
        if row >= 0 and _ended(row, num_base, ends, seed[i]):
            row = np.int64(-1)
        rows[i] = row
        offsets[i + 1] = offsets[i] + (row >= 0)


@compiled
def _seen(row, num_base, base_cut, live_cut):  # type: ignore[no-untyped-def]
    if row < num_base:
        return row < base_cut
    return row - num_base < live_cut


@compiled
def _ended(row, num_base, ends, seed):  # type: ignore[no-untyped-def]
    base_end_us, live_end_us, visible_us = ends
    if base_end_us.shape[0] + live_end_us.shape[0] == 0:
        return False
    if row < num_base:
        return base_end_us[row] <= visible_us[seed]
    return live_end_us[row - num_base] <= visible_us[seed]


@compiled
def _count_live(front, lists, cuts, ends, spans, alive):  # type: ignore[no-untyped-def]
    """Find the visible neighbours: spans [n, 4] int64 and alive [n] int64, both written."""
    frontier, seed = front
    offsets, link_rows, num_base, origin, targets, extra_offsets, extra_rows, _, lost_to, lost_offsets, lost, _, num = (
        lists
    )
    base_cuts, live_cuts = cuts
    ending = ends[0].shape[0] + ends[1].shape[0] > 0
    for i in range(frontier.shape[0]):
        row = frontier[i]
        base_cut, live_cut = base_cuts[seed[i]], live_cuts[seed[i]]
        here = row if row < num_base else origin[row - num_base]
        begin = end = first = last = np.int64(0)
        gone = 0
        if here >= 0:
            begin = offsets[here]
            end = first_from(link_rows, begin, offsets[here + 1], base_cut)
            place = _position(lost_to, here) if lost_to.shape[0] > 0 else -1
            if place >= 0:
                gone = first_from(lost, lost_offsets[place], lost_offsets[place + 1], base_cut) - lost_offsets[place]
        place = _position(targets, row) if targets.shape[0] > 0 else -1
        if place >= 0:
            first, high = extra_offsets[place], extra_offsets[place + 1]
            last = first
            while last < high:  # the first one that is not seen
                middle = (last + high) >> 1
                if _seen(extra_rows[middle], num, base_cut, live_cut):
                    last = middle + 1
                else:
                    high = middle
        spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3] = begin, end, first, last
        alive[i] = end - begin - gone + last - first
        if ending:
            alive[i] = _living(lists, ends, seed[i], spans[i], np.empty(0, np.int64))


@compiled
def _living(lists, ends, seed, span, out):  # type: ignore[no-untyped-def]
    """Count the neighbours of both spans that are neither dead nor ended, and write as many as ``out`` takes, newest
    first."""
    link_rows, extra_rows, live_place, dead, num_base = lists[1], lists[6], lists[7], lists[11], lists[12]
    position, extra = span[1] - 1, span[3] - 1
    num = 0
    while position >= span[0] or extra >= span[2]:
        takes_base = extra < span[2]
        if not takes_base and position >= span[0]:
            other = extra_rows[extra]
            takes_base = link_rows[position] >= (other if other < num_base else live_place[other - num_base])
        if takes_base:
            row = np.int64(link_rows[position])
            position -= 1
            if dead.shape[0] > 0 and dead[row]:
                continue
        else:
            row = extra_rows[extra]
            extra -= 1
        if _ended(row, num_base, ends, seed):
            continue
        if out.shape[0] > 0:
            out[num] = row
        num += 1
        if num == out.shape[0]:
            break
    return num


@compiled
def _fill_last_live(seed, lists, ends, spans, offsets, out):  # type: ignore[no-untyped-def]
    """Take the newest visible neighbours, newest first: out is rows [edges] int64 and seeds [edges] int32."""
    rows, seeds = out
    for i in range(seed.shape[0]):
        if offsets[i + 1] > offsets[i]:
            _living(lists, ends, seed[i], spans[i], rows[offsets[i] : offsets[i + 1]])
            seeds[offsets[i] : offsets[i + 1]] = seed[i]


@compiled
def _fill_uniform_live(front, lists, ends, spans, counts, keys, whole, out):  # type: ignore[no-untyped-def]
    """Draw among the visible neighbours without replacement; all of them, newest first, where at most ``whole``.

    Other arguments as the kernels before.
    """
    frontier, seed = front
    link_rows, extra_rows = lists[1], lists[6]
    offsets, alive = counts
    seed_keys, edge = keys
    rows, seeds = out
    for i in range(frontier.shape[0]):
        chosen = rows[offsets[i] : offsets[i + 1]]
        if chosen.shape[0] == 0:
            continue
        seeds[offsets[i] : offsets[i + 1]] = seed[i]
        if chosen.shape[0] == alive[i] and alive[i] <= whole:
            _living(lists, ends, seed[i], spans[i], chosen)
            continue
        key = fold(fold(seed_keys[seed[i]], edge), np.uint64(frontier[i]))
        choose_uniform(key, alive[i], chosen)
        num_base_list = spans[i, 1] - spans[i, 0]
        if alive[i] == num_base_list + spans[i, 3] - spans[i, 2]:  # nothing to pass over
            for j in range(chosen.shape[0]):
                position = chosen[j]
                if position < num_base_list:
                    chosen[j] = link_rows[spans[i, 0] + position]
                else:
                    chosen[j] = extra_rows[spans[i, 2] + position - num_base_list]
        else:
            living = np.empty(alive[i], np.int64)
            _living(lists, ends, seed[i], spans[i], living)
            for j in range(chosen.shape[0]):
                chosen[j] = living[chosen[j]]
