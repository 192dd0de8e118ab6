"""Hop: all edge types of one hop in two compiled calls, so that batches cost what their loads cost and little more.

A kernel takes arrays of one type each, and every link has arrays of its own, of 32 or of 64 bits. So that one call can
serve any graph, the edge types are rows of a table of numbers, with the addresses of their arrays among them;
``edge_table`` makes it, and whoever holds it keeps the arrays.

After a change of ``kernels.py`` or ``limit.py``, touch this file and ``tree.py``: Numba looks at neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from kincast.compile import address, compiled, pointer
from kincast.graph.snapshot import SnapshotTable
from kincast.sample.kernels import (
    ALL,
    count_ending,
    count_reverse,
    cut_rows,
    fill_drawn,
    fill_drawn_ending,
    fill_last,
    fill_last_ending,
    follow,
    follow_versions,
)
from kincast.sample.lists import NeighbourLists

_COLUMNS = (
    "kind", "wide", "wide_marks", "num_dst", "num_edges", "offsets", "rows", "marks", "sums", "ends", "num_ends",
    "forward", "num_forward", "drawn", "replace", "heads", "wide_heads", "num_heads",
)  # fmt: skip
(
    _KIND, _WIDE, _WIDE_MARKS, _NUM_DST, _NUM_EDGES, _OFFSETS, _ROWS, _MARKS, _SUMS, _ENDS, _NUM_ENDS,
    _FORWARD, _NUM_FORWARD, _DRAWN, _REPLACE, _HEADS, _WIDE_HEADS, _NUM_HEADS,
) = range(len(_COLUMNS))  # fmt: skip
_FOLLOW, _FOLLOW_VERSIONS, _REVERSE = 0, 1, 2
OF_ROWS, TIMELESS, INSTANTS = 0, 1, 2
_FIRST_US, _LAST_US = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_EDGE, _START, _NUM, _CUT, _FLOOR, _OUT = range(6)
"""Columns of the steps: edge type; where its frontier starts and how many rows it has; the limits of its seeds, -1 for
no floor; where its neighbours are written."""

Table = tuple[NDArray[np.int64], list[Any]]
"""The edge types [num_edges, columns], and the arrays they point at."""


def edge_table(edges: Sequence[dict[str, Any]]) -> Table:
    """The table of edge types.

    Args:
        edges: of each ``table`` and ``other``, the ``SnapshotTable`` expanded and that of the neighbours; and either
            ``forward``, rows of the target, or ``lists``, its ``NeighbourLists``, with ``drawn`` and ``replace``.
    """
    table = np.zeros((len(edges), len(_COLUMNS)), np.int64)
    kept: list[Any] = []

    def put(row: int, column: int, array: Any, count: int | None = None) -> None:
        own = np.ascontiguousarray(array)
        kept.append(own)
        table[row, column] = address(own)
        if count is not None:
            table[row, count] = len(own)

    for row, edge in enumerate(edges):
        other: SnapshotTable = edge["other"]
        if other.end_us is not None:
            put(row, _ENDS, other.end_us, _NUM_ENDS)
        if "forward" in edge:
            forward = edge["forward"]
            put(row, _FORWARD, forward, _NUM_FORWARD)
            table[row, _WIDE] = forward.dtype == np.int64
            if other.versions is not None:
                table[row, _KIND] = _FOLLOW_VERSIONS
                put(row, _OFFSETS, other.versions.offsets, _NUM_DST)
                put(row, _ROWS, other.versions.rows, _NUM_EDGES)
                table[row, _WIDE_MARKS] = other.versions.rows.dtype == np.int64
            continue
        lists: NeighbourLists = edge["lists"]
        table[row, [_KIND, _DRAWN, _REPLACE]] = _REVERSE, edge["drawn"], edge["replace"]
        table[row, _WIDE], table[row, _WIDE_MARKS] = lists.rows.dtype == np.int64, lists.marks.dtype == np.int64
        put(row, _OFFSETS, lists.offsets, _NUM_DST)
        put(row, _ROWS, lists.rows, _NUM_EDGES)
        put(row, _MARKS, lists.marks)
        if edge["table"].versions is not None:  # what refers to a version refers to its key, so to the first of them
            heads = edge["table"].versions.forward
            put(row, _HEADS, heads, _NUM_HEADS)
            table[row, _WIDE_HEADS] = heads.dtype == np.int64
        if len(lists.sums):
            put(row, _SUMS, lists.sums)
    return table, kept


def is_plain(table: NDArray[np.int64]) -> bool:
    """Whether a table of edge types has rows of 32 bits only, and no ends, versions, weights or times of edges."""
    return not table[:, [_WIDE, _WIDE_MARKS, _NUM_ENDS, _SUMS, _NUM_HEADS]].any() and bool(
        (table[:, _KIND] != _FOLLOW_VERSIONS).all()
    )


@compiled
def _narrow(place, count):  # type: ignore[no-untyped-def]
    return carray(pointer(place), (count,), np.int32)


@compiled
def _long(place, count):  # type: ignore[no-untyped-def]
    return carray(pointer(place), (count,), np.int64)


@compiled
def _real(place, count):  # type: ignore[no-untyped-def]
    return carray(pointer(place), (count,), np.float64)


@compiled
def find_limit(about, visible_us, as_of_us, strict, cuts):  # type: ignore[no-untyped-def]
    """The first row, or the first instant, that each seed does not see, or, back in time, still sees.

    Args:
        about: [4] int64: whether rows of a table with a time are looked at (``OF_ROWS``), those of one without
            (``TIMELESS``), or instants (``INSTANTS``); the address of the times; how many rows; and how far back, -1
            for what is not seen.
        visible_us, as_of_us: [n] int64 of the seeds.
        strict: whether facts at that very instant are hidden.
        cuts: [n] int64, written.
    """
    kind, times, num_rows, window_us = about[0], about[1], about[2], about[3]
    instants = visible_us
    if window_us >= 0:
        instants = np.empty(as_of_us.shape[0], np.int64)
        for i in range(as_of_us.shape[0]):
            instants[i] = max(as_of_us[i], _FIRST_US + window_us) - window_us
    if kind == OF_ROWS:
        cut_rows(_long(times, num_rows), instants, strict, cuts)
    elif kind == TIMELESS:
        cuts[:] = 0 if window_us >= 0 else num_rows
    else:
        for i in range(instants.shape[0]):
            cuts[i] = instants[i] if strict else min(instants[i], _LAST_US - 1) + 1


@compiled
def _heads(own, part):  # type: ignore[no-untyped-def]
    """The frontier of a step, versions standing for the first of their key."""
    rows, seed = part
    if own[_NUM_HEADS] == 0:
        return part
    heads = np.empty(rows.shape[0], np.int64)
    if own[_WIDE_HEADS]:
        wide = _long(own[_HEADS], own[_NUM_HEADS])
        for i in range(rows.shape[0]):
            heads[i] = wide[rows[i]]
    else:
        narrow = _narrow(own[_HEADS], own[_NUM_HEADS])
        for i in range(rows.shape[0]):
            heads[i] = narrow[rows[i]]
    return heads, seed


@compiled
def count_hop(table, fanout, steps, front, limits, scratch, offsets, every):  # type: ignore[no-untyped-def]
    """Find the visible neighbours of every step's frontier, and how many of them are taken.

    Args:
        table: [num_edges, columns] int64 of ``edge_table``.
        fanout: [num_edges] int64 of this hop; -1 all.
        steps: [k, 6] int64.
        front: rows [num] int64 and seed [num] int32 of all frontiers.
        limits: [num_limits, num_seeds] int64, and visible_us [num_seeds] int64.
        scratch: begin, stop, alive and num_visible, [sum of the steps' rows] int64 each, written: the visible
            positions and, where rows end, how many of them have not; along a foreign key begin is the row found, or -1.
        offsets: [sum of the steps' rows + k] int64, written: one after another, each beginning with 0.
        every: None where ``is_plain``, which leaves most of the loops out when this is compiled; else True.
    """
    limits, visible_us = limits
    begins, stops, alives, num_visible = scratch
    place = 0
    for k in range(steps.shape[0]):
        edge, num = steps[k, _EDGE], steps[k, _NUM]
        own = table[edge]
        first = steps[k, _START]
        part = (front[0][first : first + num], front[1][first : first + num])
        if every is not None:
            part = _heads(own, part)
        floors = limits[0, :0] if steps[k, _FLOOR] < 0 else limits[steps[k, _FLOOR], :]
        bounds = (limits[steps[k, _CUT], :], floors)
        ends = (_long(own[_ENDS], own[_NUM_ENDS]), visible_us)
        begin, stop, alive = begins[place : place + num], stops[place : place + num], alives[place : place + num]
        visible, offset = num_visible[place : place + num], offsets[place + k : place + k + num + 1]
        take = (ALL if fanout[edge] < 0 else fanout[edge], own[_REPLACE] > 0 and fanout[edge] > 0)
        if every is None:
            _count_plainly(own, part, bounds, ends, take, (begin, stop), offset)
        else:
            _count_step(own, part, bounds, ends, take, (begin, stop, alive), offset)
        for i in range(num):
            if own[_KIND] != _REVERSE:
                visible[i] = begin[i] >= 0
            else:
                visible[i] = alive[i] if own[_NUM_ENDS] else stop[i] - begin[i]
        place += num


@compiled
def _count_plainly(own, part, bounds, ends, take, prefix, offset):  # type: ignore[no-untyped-def]
    """Count a step of a plain graph; arguments as ``count_hop`` makes them."""
    if own[_KIND] == _FOLLOW:
        follow(part, _narrow(own[_FORWARD], own[_NUM_FORWARD]), bounds, ends, prefix[0], offset)
    else:
        lists = (_long(own[_OFFSETS], own[_NUM_DST]), _narrow(own[_MARKS], own[_NUM_EDGES]))
        count_reverse(part, lists, bounds, take, prefix, offset)


@compiled
def _count_step(own, part, bounds, ends, take, found, offset):  # type: ignore[no-untyped-def]
    """Count a step of any graph; arguments as ``count_hop`` makes them."""
    begin, stop, alive = found
    lists = _long(own[_OFFSETS], own[_NUM_DST])
    if own[_KIND] == _FOLLOW:
        if own[_WIDE]:
            follow(part, _long(own[_FORWARD], own[_NUM_FORWARD]), bounds, ends, begin, offset)
        else:
            follow(part, _narrow(own[_FORWARD], own[_NUM_FORWARD]), bounds, ends, begin, offset)
    elif own[_KIND] == _FOLLOW_VERSIONS:
        if own[_WIDE_MARKS]:
            versions = (lists, _long(own[_ROWS], own[_NUM_EDGES]))
            follow_versions(part, _long(own[_FORWARD], own[_NUM_FORWARD]), versions, bounds, ends, begin, offset)
        else:
            narrow = (lists, _narrow(own[_ROWS], own[_NUM_EDGES]))
            follow_versions(part, _narrow(own[_FORWARD], own[_NUM_FORWARD]), narrow, bounds, ends, begin, offset)
    else:
        if own[_WIDE_MARKS]:
            count_reverse(part, (lists, _long(own[_MARKS], own[_NUM_EDGES])), bounds, take, (begin, stop), offset)
        else:
            count_reverse(part, (lists, _narrow(own[_MARKS], own[_NUM_EDGES])), bounds, take, (begin, stop), offset)
        if own[_NUM_ENDS] and own[_WIDE]:
            count_ending(part[1], _long(own[_ROWS], own[_NUM_EDGES]), ends, take, (begin, stop), alive, offset)
        elif own[_NUM_ENDS]:
            count_ending(part[1], _narrow(own[_ROWS], own[_NUM_EDGES]), ends, take, (begin, stop), alive, offset)


@compiled
def fill_hop(edges, steps, front, seeds, scratch, offsets, out, every):  # type: ignore[no-untyped-def]
    """Write the neighbours that ``count_hop`` found.

    Args:
        edges: table and fanout of ``count_hop``, and [num_edges] int64 neighbours that every later hop takes too.
        steps, front, offsets, every: as ``count_hop``; offsets may have been lowered since.
        seeds: visible_us [num_seeds] int64; keys of the seeds [num_seeds] and of the edge types [num_edges] uint64.
        scratch: begin, stop and alive of ``count_hop``.
        out: rows int64, seeds int32 and places int64, written; places empty when nobody asks.
    """
    table, fanout, wholes = edges
    visible_us, seed_keys, edge_keys = seeds
    begins, stops, alives = scratch
    out_rows, out_seeds, out_places = out
    place = 0
    for k in range(steps.shape[0]):
        edge, num, first = steps[k, _EDGE], steps[k, _NUM], steps[k, _START]
        own = table[edge]
        part = (front[0][first : first + num], front[1][first : first + num])
        found = (begins[place : place + num], stops[place : place + num], alives[place : place + num])
        offset = offsets[place + k : place + k + num + 1]
        place += num
        low, high = steps[k, _OUT], steps[k, _OUT] + offset[num]
        places = out_places[low:high] if out_places.shape[0] > 0 else out_places
        written = (out_rows[low:high], out_seeds[low:high], places)
        keys, rule = (seed_keys, edge_keys[edge]), (wholes[edge], own[_REPLACE] > 0 and fanout[edge] > 0)
        if own[_KIND] != _REVERSE:
            _fill_found(part, found[0], offset, written)
        elif every is None:
            _fill_plainly(own, part, found, offset, keys, rule, written)
        else:
            _fill_step(own, _heads(own, part), visible_us, found, offset, (keys, rule), written)


@compiled
def _fill_plainly(own, part, found, offset, keys, rule, written):  # type: ignore[no-untyped-def]
    """Fill a backward step of a plain graph; arguments as ``fill_hop`` makes them."""
    rows = _narrow(own[_ROWS], own[_NUM_EDGES])
    if own[_DRAWN]:
        lists = (_long(own[_OFFSETS], own[_NUM_DST]), rows, _real(own[_SUMS], 0))
        fill_drawn(part, lists, (found[0], found[1]), offset, keys, rule, written, None)
    else:
        fill_last(part[1], rows, found[1], offset, written)


@compiled
def _fill_step(own, part, visible_us, found, offset, drawing, written):  # type: ignore[no-untyped-def]
    """Fill a backward step of any graph; arguments as ``fill_hop`` makes them."""
    if own[_WIDE]:
        _fill_rows(own, part, _long(own[_ROWS], own[_NUM_EDGES]), visible_us, found, offset, (drawing, written))
    else:
        _fill_rows(own, part, _narrow(own[_ROWS], own[_NUM_EDGES]), visible_us, found, offset, (drawing, written))


@compiled
def _fill_rows(own, part, rows, visible_us, found, offset, others):  # type: ignore[no-untyped-def]
    (keys, rule), written = others
    ends = (_long(own[_ENDS], own[_NUM_ENDS]), visible_us)
    lists = (_long(own[_OFFSETS], own[_NUM_DST]), rows, _real(own[_SUMS], own[_NUM_EDGES] if own[_SUMS] else 0))
    if own[_DRAWN] and own[_NUM_ENDS]:
        fill_drawn_ending(part, lists, ends, found, offset, keys, rule, written)
    elif own[_DRAWN]:
        fill_drawn(part, lists, (found[0], found[1]), offset, keys, rule, written, True)
    elif own[_NUM_ENDS]:
        fill_last_ending(part[1], rows, ends, found[1], offset, written)
    else:
        fill_last(part[1], rows, found[1], offset, written)


@compiled
def _fill_found(front, found, offsets, out):  # type: ignore[no-untyped-def]
    """Write the rows that foreign keys name, as far as ``offsets`` has room; an edge's place is the row that names."""
    frontier, seed = front
    rows, seeds, places = out
    for i in range(frontier.shape[0]):
        if offsets[i + 1] > offsets[i]:
            rows[offsets[i]] = found[i]
            seeds[offsets[i]] = seed[i]
            if places.shape[0] > 0:
                places[offsets[i]] = frontier[i]
