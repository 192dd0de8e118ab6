"""Oracle: the slow, obvious twin of ``Sampler.sample``: no kernels, no cut-offs, one row at a time; for tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import numpy as np

from kincast.sample.batch import Batch, Block, Seeds
from kincast.sample.choose import PATIENCE, REST
from kincast.sample.edge import EdgeType
from kincast.sample.random import GAMMA
from kincast.sample.sampler import Sampler

_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """A row at the other end of an edge: when the edge began, its weight, and its place in the link's arrays."""

    row: int
    time_us: int | None
    weight: float
    place: int


@dataclass(slots=True)
class _List:
    """What one frontier row finds along one edge type, oldest first, and how many it may take."""

    row: int
    tree: int
    visible: list[_Neighbour]
    taken: int


def sample_slowly(sampler: Sampler, seeds: Seeds) -> Batch:
    """What ``sampler.sample(seeds)`` must return, found by looking at every row's own time."""
    rows: dict[str, list[int]] = {name: [] for name in sampler.snapshot.tables}
    seed: dict[str, list[int]] = {name: [] for name in sampler.snapshot.tables}
    rows[seeds.table] = seeds.rows.tolist()
    seed[seeds.table] = list(range(len(seeds)))
    ends = {name: [0, len(local)] for name, local in rows.items()}
    blocks = []
    for hop in range(1, sampler.num_hops + 1):
        lists = [_lists(sampler, seeds, hop, index, (rows, seed, ends)) for index in range(len(sampler.edges))]
        if sampler.max_rows_per_seed is not None:
            for tree in range(len(seeds)):
                size = sum(of_tree == tree for local in seed.values() for of_tree in local)
                _shorten([each for along in lists for each in along if each.tree == tree], size, sampler)
        for index, along in enumerate(lists):
            edge = sampler.edges[index]
            start, stop = ends[edge.table][-2:]
            src_start, places = len(rows[edge.other]), []
            offsets = [0]
            for each in along:
                for neighbour in _take(sampler, seeds, hop, index, each):
                    rows[edge.other].append(neighbour.row)
                    seed[edge.other].append(each.tree)
                    places.append(neighbour.place)
                offsets.append(len(places))
            if places:
                num_visible = np.array([len(each.visible) for each in along], np.int64)
                kept = np.array(places, np.int64) if sampler.keep_places else None
                sizes = (hop, edge, start, stop - start, src_start)
                blocks.append(Block(*sizes, np.array(offsets, np.int64), num_visible, kept))
        for name, local_rows in rows.items():
            ends[name].append(len(local_rows))
    return Batch(
        seeds=seeds,
        num_hops=sampler.num_hops,
        rows={name: np.array(values, np.int64) for name, values in rows.items()},
        seed={name: np.array(values, np.int32) for name, values in seed.items()},
        hop_offsets={name: np.array(values, np.int64) for name, values in ends.items()},
        blocks=tuple(blocks),
    )


def _first_version(sampler: Sampler, table: str, row: int) -> int:
    versions = sampler.snapshot.tables[table].versions
    return row if versions is None else int(versions.forward[row])


def _versions(sampler: Sampler, table: str, first: int) -> list[int]:
    if sampler.snapshot.tables[table].versions is None:
        return [first]
    return [
        row for row in range(sampler.snapshot.tables[table].num_rows) if _first_version(sampler, table, row) == first
    ]


def exists(sampler: Sampler, table: str, row: int, visible_us: int) -> bool:
    """The rule of time, as it is written down: begun by the instant (before it, when strict) and not ended by then."""
    times = sampler.snapshot.tables[table]
    begun = times.time_us is None or _begun(sampler, int(times.time_us[row]), visible_us)
    return bool(begun and (times.end_us is None or times.end_us[row] > visible_us))


def _begun(sampler: Sampler, time_us: int, instant: int) -> bool:
    return time_us < instant if sampler.strict else time_us <= instant


def _lists(
    sampler: Sampler,
    seeds: Seeds,
    hop: int,
    index: int,
    grown: tuple[dict[str, list[int]], dict[str, list[int]], dict[str, list[int]]],
) -> list[_List]:
    rows, seed, ends = grown
    edge, sampling, fanout = sampler.edges[index], sampler.samplings[index], int(sampler.fanout[index, hop - 1])
    found = []
    for local in range(*ends[edge.table][-2:]):
        row, tree = rows[edge.table][local], seed[edge.table][local]
        row = _first_version(sampler, edge.table, row) if edge.reverse else row
        visible = [
            neighbour
            for neighbour in _neighbours(sampler, index, row)
            if _is_visible(sampler, edge, neighbour, int(seeds.visible[tree]))
            and not _is_old(sampler, neighbour, int(seeds.as_of_us[tree]), sampling.window_us)
            and not (edge.reverse and sampling.strategy == "weighted" and neighbour.weight == 0)
        ]
        taken = len(visible) if fanout < 0 else min(fanout, len(visible))
        if edge.reverse and sampling.replace and fanout > 0 and visible:
            taken = fanout
        found.append(_List(row, tree, visible, taken))
    return found


def _neighbours(sampler: Sampler, index: int, row: int) -> list[_Neighbour]:
    """All neighbours of a row, oldest first."""
    edge, column = sampler.edges[index], sampler.samplings[index].column
    link, table = sampler.snapshot.links[edge.link], sampler.snapshot.tables[edge.other]
    row_times = table.time_us

    def time_of(neighbour: int) -> int | None:
        return None if row_times is None else int(row_times[neighbour])

    if not edge.reverse:
        target = int(link.forward[row])
        targets = [] if target < 0 else _versions(sampler, edge.other, target)
        return [_Neighbour(version, time_of(version), 1.0, row) for version in targets]
    weights = getattr(link, "weight", None)
    if column is not None:
        weights = np.nan_to_num(sampler.snapshot.columns(edge.other, [column]).column(column).to_numpy())  # type: ignore[attr-defined]
        weights = weights[link.rows]
    found = []
    for place in range(int(link.offsets[row]), int(link.offsets[row + 1])):
        neighbour = int(link.rows[place])
        time = time_of(neighbour) if link.time_us is None else int(link.time_us[place])
        found.append(_Neighbour(neighbour, time, 1.0 if weights is None else float(weights[place]), place))
    return found


def _is_visible(sampler: Sampler, edge: EdgeType, neighbour: _Neighbour, visible_us: int) -> bool:
    link, table = sampler.snapshot.links[edge.link], sampler.snapshot.tables[edge.other]
    if not edge.reverse or link.time_us is None:
        return exists(sampler, edge.other, neighbour.row, visible_us)
    begun = neighbour.time_us is not None and _begun(sampler, neighbour.time_us, visible_us)
    return begun and (table.end_us is None or bool(table.end_us[neighbour.row] > visible_us))


def _is_old(sampler: Sampler, neighbour: _Neighbour, as_of_us: int, window_us: int | None) -> bool:
    """Windows are half-open: what would not be visible at the window's start is in it."""
    if window_us is None or neighbour.time_us is None:
        return False
    return _begun(sampler, neighbour.time_us, as_of_us - window_us)


def _shorten(lists: list[_List], size: int, sampler: Sampler) -> None:
    """Cut the lists of one tree to the greatest common length that fits; the first of those cut get one more."""
    left = (sampler.max_rows_per_seed or size) - size
    length = next(c for c in count(max((each.taken for each in lists), default=0), -1) if _fits(lists, c, left))
    left -= sum(min(each.taken, length) for each in lists)
    for each in lists:
        if each.taken > length:
            each.taken = length + (left > 0)
            left -= left > 0


def _fits(lists: list[_List], length: int, left: int) -> bool:
    return sum(min(each.taken, length) for each in lists) <= left


def _take(sampler: Sampler, seeds: Seeds, hop: int, index: int, each: _List) -> list[_Neighbour]:
    visible, sampling, edge = each.visible, sampler.samplings[index], sampler.edges[index]
    fanout = int(sampler.fanout[index, hop - 1])
    edge_key = index if sampler.keyed_by == "row" else hop << 32 | index
    key = _fold(_fold(int(sampler.seed_keys(seeds)[each.tree]), edge_key), each.row)
    weights = None
    if sampling.strategy == "weighted":
        weights = [neighbour.weight for neighbour in visible]
    elif sampling.strategy == "recency" and visible and visible[-1].time_us is not None:
        newest = visible[-1].time_us
        weights = [0.5 ** ((newest - (n.time_us or 0)) / (sampling.half_life_us or 1)) for n in visible]
    if edge.reverse and sampling.replace and fanout > 0:
        return [
            visible[_draw(key, j, len(visible)) if weights is None else _draw_weighted(key, j, weights)]
            for j in range(each.taken)
        ]
    later = [taken for taken in sampler.fanout[index, hop:].tolist() if taken > 0]
    whole = each.taken == len(visible) <= min(later, default=len(visible))
    if whole or sampling.strategy in ("last", "all") or not edge.reverse:
        return visible[::-1][: each.taken]
    order = _shuffled(key, len(visible)) if weights is None else _weighted_order(key, weights)
    return [visible[position] for position in order[: each.taken]]


def _shuffled(key: int, num: int) -> list[int]:
    order = list(range(num))
    for j in range(num):
        other = j + _draw(key, j, num - j)
        order[j], order[other] = order[other], order[j]
    return order


def _weighted_order(key: int, weights: list[float]) -> list[int]:
    order: list[int] = []
    counter = 0
    while len(order) < len(weights) and counter < 4 * len(order) + PATIENCE:
        position = _draw_weighted(key, counter, weights)
        counter += 1
        if position not in order:
            order.append(position)
    rest_key = _fold(key, int(REST))
    left = [position for position in range(len(weights)) if position not in order]
    waits = {p: -math.log(1.0 - _unit(rest_key, p) * (1.0 - 2.0**-53)) / weights[p] for p in left}
    return order + sorted(left, key=waits.__getitem__)


def _draw_weighted(key: int, counter: int, weights: list[float]) -> int:
    target = (1.0 - _unit(key, counter)) * math.fsum(weights)
    return next((i for i in range(len(weights)) if math.fsum(weights[: i + 1]) >= target), len(weights) - 1)


def _mix(bits: int) -> int:
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _MASK
    return bits ^ (bits >> 31)


def _fold(key: int, value: int) -> int:
    return _mix((key ^ (value & _MASK)) + int(GAMMA) & _MASK)


def _unit(key: int, counter: int) -> float:
    return (_mix(key + (counter + 1) * int(GAMMA) & _MASK) >> 11) * 2.0**-53


def _draw(key: int, counter: int, below: int) -> int:
    return int(_unit(key, counter) * below)
