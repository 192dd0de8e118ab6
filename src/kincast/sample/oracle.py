"""Oracle: the slow, obvious twin of ``Sampler.sample``: no kernels, no cut-offs, one row at a time; for tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kincast.sample.batch import Batch, Block, Seeds
from kincast.sample.edge import EdgeType
from kincast.sample.random import GAMMA
from kincast.sample.sampler import Sampler, edge_key

_MASK = 2**64 - 1


def sample_slowly(sampler: Sampler, seeds: Seeds) -> Batch:
    """What ``sampler.sample(seeds)`` must return, found by looking at every row's own time."""
    rows: dict[str, list[int]] = {name: [] for name in sampler.snapshot.tables}
    seed: dict[str, list[int]] = {name: [] for name in sampler.snapshot.tables}
    rows[seeds.table] = seeds.rows.tolist()
    seed[seeds.table] = list(range(len(seeds)))
    ends = {name: [0, len(local)] for name, local in rows.items()}
    keys = sampler.seed_keys(seeds).tolist()
    blocks = []
    for hop in range(1, sampler.num_hops + 1):
        for index, edge in enumerate(sampler.edges):
            fanout = int(sampler.fanout[index, hop - 1])
            start, stop = ends[edge.table][-2:]
            src_start = len(rows[edge.other])
            offsets, num_visible = [0], []
            for local in range(start, stop):
                row, tree = rows[edge.table][local], seed[edge.table][local]
                row = _first_version(sampler, edge.table, row) if edge.reverse else row
                key = _fold(_fold(keys[tree], edge_key(hop, index)), row)
                visible = _visible(sampler, edge, row, int(seeds.visible[tree]))
                num_visible.append(len(visible))
                for neighbour in _take(visible, fanout, sampler.strategy, key):
                    rows[edge.other].append(neighbour)
                    seed[edge.other].append(tree)
                offsets.append(len(rows[edge.other]) - src_start)
            if offsets[-1]:
                found = (np.array(offsets, np.int64), np.array(num_visible, np.int64))
                blocks.append(Block(hop, edge, start, stop - start, src_start, *found))
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


def _visible(sampler: Sampler, edge: EdgeType, row: int, visible_us: int) -> list[int]:
    """Neighbours of a row that exist at that instant, oldest first."""
    return [
        neighbour for neighbour in _neighbours(sampler, edge, row) if exists(sampler, edge.other, neighbour, visible_us)
    ]


def _neighbours(sampler: Sampler, edge: EdgeType, row: int) -> Iterator[int]:
    forward = sampler.snapshot.links[edge.link].forward
    if edge.reverse:
        yield from np.flatnonzero(forward == row).tolist()
    elif forward[row] >= 0:
        first = int(forward[row])
        num_rows = sampler.snapshot.tables[edge.other].num_rows
        yield from (other for other in range(num_rows) if _first_version(sampler, edge.other, other) == first)


def _first_version(sampler: Sampler, table: str, row: int) -> int:
    versions = sampler.snapshot.tables[table].versions
    return row if versions is None else int(versions.forward[row])


def exists(sampler: Sampler, table: str, row: int, visible_us: int) -> bool:
    """The rule of time, as it is written down: begun by the instant (before it, when strict) and not ended by then."""
    times = sampler.snapshot.tables[table]
    begun = True
    if times.time_us is not None:
        begun = times.time_us[row] < visible_us if sampler.strict else times.time_us[row] <= visible_us
    return bool(begun and (times.end_us is None or times.end_us[row] > visible_us))


def _take(visible: list[int], fanout: int, strategy: str, key: int) -> list[int]:
    if fanout == 0:
        return []
    if fanout < 0 or fanout >= len(visible):
        return visible[::-1]
    if strategy == "last":
        return visible[-fanout:][::-1]
    taken: list[int] = []  # Floyd's algorithm
    for j in range(fanout):
        bound = len(visible) - fanout + j
        position = _draw(key, j, bound + 1)
        taken.append(bound if position in taken else position)
    return [visible[position] for position in taken]


def _mix(bits: int) -> int:
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _MASK
    return bits ^ (bits >> 31)


def _fold(key: int, value: int) -> int:
    return _mix((key ^ (value & _MASK)) + int(GAMMA) & _MASK)


def _draw(key: int, counter: int, below: int) -> int:
    return int((_mix(key + (counter + 1) * int(GAMMA) & _MASK) >> 11) * 2.0**-53 * below)
