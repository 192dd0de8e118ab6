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
def _part(own, front, first, num):  # type: ignore[no-untyped-def]
    """The frontier of a step, versions standing for the first of their key."""
    rows, seed = front[0][first : first + num], front[1][first : first + num]
    if own[_NUM_HEADS] == 0:
        return rows, seed
    heads = np.empty(num, np.int64)
    if own[_WIDE_HEADS]:
        wide = _long(own[_HEADS], own[_NUM_HEADS])
        for i in range(num):
            heads[i] = wide[rows[i]]
    else:
        narrow = _narrow(own[_HEADS], own[_NUM_HEADS])
        for i in range(num):
            heads[i] = narrow[rows[i]]
    return heads, seed


@compiled
def count_hop(table, fanout, steps, front, limits, visible_us, scratch, offsets):  # type: ignore[no-untyped-def]
    """Find the visible neighbours of every step's frontier, and how many of them are taken.

    Args:
        table: [num_edges, columns] int64 of ``edge_table``.
        fanout: [num_edges] int64 of this hop; -1 all.
        steps: [k, 6] int64.
        front: rows [num] int64 and seed [num] int32 of all frontiers.
        limits: [num_limits, num_seeds] int64.
        visible_us: [num_seeds] int64.
        scratch: begin, stop, alive and num_visible, [sum of the steps' rows] int64 each, written: the visible
            positions and, where rows end, how many of them have not; along a foreign key begin is the row found, or -1.
        offsets: [sum of the steps' rows + k] int64, written: one after another, each beginning with 0.
    """
    begins, stops, alives, num_visible = scratch
    place = 0
    for k in range(steps.shape[0]):
        edge, num = steps[k, _EDGE], steps[k, _NUM]
        own = table[edge]
        part = _part(own, front, steps[k, _START], num)
        floors = limits[0, :0] if steps[k, _FLOOR] < 0 else limits[steps[k, _FLOOR], :]
        bounds = (limits[steps[k, _CUT], :], floors)
        ends = (_long(own[_ENDS], own[_NUM_ENDS]), visible_us)
        begin, stop, alive = begins[place : place + num], stops[place : place + num], alives[place : place + num]
        visible, offset = num_visible[place : place + num], offsets[place + k : place + k + num + 1]
        if own[_KIND] == _FOLLOW:
            if own[_WIDE]:
                follow(part, _long(own[_FORWARD], own[_NUM_FORWARD]), bounds, ends, begin, offset)
            else:
                follow(part, _narrow(own[_FORWARD], own[_NUM_FORWARD]), bounds, ends, begin, offset)
        elif own[_KIND] == _FOLLOW_VERSIONS:
            lists = _long(own[_OFFSETS], own[_NUM_DST])
            if own[_WIDE_MARKS]:
                versions = (lists, _long(own[_ROWS], own[_NUM_EDGES]))
                follow_versions(part, _long(own[_FORWARD], own[_NUM_FORWARD]), versions, bounds, ends, begin, offset)
            else:
                narrow = (lists, _narrow(own[_ROWS], own[_NUM_EDGES]))
                follow_versions(part, _narrow(own[_FORWARD], own[_NUM_FORWARD]), narrow, bounds, ends, begin, offset)
        else:
            take = (ALL if fanout[edge] < 0 else fanout[edge], own[_REPLACE] > 0 and fanout[edge] > 0)
            lists, prefix = _long(own[_OFFSETS], own[_NUM_DST]), (begin, stop)
            if own[_WIDE_MARKS]:
                count_reverse(part, (lists, _long(own[_MARKS], own[_NUM_EDGES])), bounds, take, prefix, offset)
            else:
                count_reverse(part, (lists, _narrow(own[_MARKS], own[_NUM_EDGES])), bounds, take, prefix, offset)
            if own[_NUM_ENDS] and own[_WIDE]:
                count_ending(part[1], _long(own[_ROWS], own[_NUM_EDGES]), ends, take, prefix, alive, offset)
            elif own[_NUM_ENDS]:
                count_ending(part[1], _narrow(own[_ROWS], own[_NUM_EDGES]), ends, take, prefix, alive, offset)
        if own[_KIND] != _REVERSE:
            for i in range(num):
                visible[i] = begin[i] >= 0
        elif own[_NUM_ENDS]:
            visible[:] = alive
        else:
            for i in range(num):
                visible[i] = stop[i] - begin[i]
        place += num


@compiled
def fill_hop(table, takes, steps, front, seeds, scratch, offsets, out):  # type: ignore[no-untyped-def]
    """Write the neighbours that ``count_hop`` found.

    Args:
        table, steps, front, offsets: as ``count_hop``; offsets may have been lowered since.
        takes: fanout of this hop and neighbours that every later hop takes too, [num_edges] int64 each.
        seeds: visible_us [num_seeds] int64; keys of the seeds [num_seeds] and of the edge types [num_edges] uint64.
        scratch: begin, stop and alive of ``count_hop``.
        out: rows int64, seeds int32 and places int64, written; places empty when nobody asks.
    """
    fanout, wholes = takes
    visible_us, seed_keys, edge_keys = seeds
    begins, stops, alives = scratch
    out_rows, out_seeds, out_places = out
    place = 0
    for k in range(steps.shape[0]):
        edge, num = steps[k, _EDGE], steps[k, _NUM]
        own = table[edge]
        part = _part(own, front, steps[k, _START], num)
        begin, stop, alive = begins[place : place + num], stops[place : place + num], alives[place : place + num]
        offset = offsets[place + k : place + k + num + 1]
        place += num
        low, high = steps[k, _OUT], steps[k, _OUT] + offset[num]
        places = out_places[low:high] if out_places.shape[0] > 0 else out_places
        written = (out_rows[low:high], out_seeds[low:high], places)
        if own[_KIND] != _REVERSE:
            _fill_found(part, begin, offset, written)
            continue
        ends = (_long(own[_ENDS], own[_NUM_ENDS]), visible_us)
        if own[_DRAWN]:
            sums = _real(own[_SUMS], own[_NUM_EDGES] if own[_SUMS] else 0)
            lists = _long(own[_OFFSETS], own[_NUM_DST])
            drawn_by, rule = (seed_keys, edge_keys[edge]), (wholes[edge], own[_REPLACE] > 0 and fanout[edge] > 0)
            if own[_WIDE]:
                wide = (lists, _long(own[_ROWS], own[_NUM_EDGES]), sums)
                if own[_NUM_ENDS]:
                    fill_drawn_ending(part, wide, ends, (begin, stop, alive), offset, drawn_by, rule, written)
                else:
                    fill_drawn(part, wide, (begin, stop), offset, drawn_by, rule, written)
            else:
                narrow = (lists, _narrow(own[_ROWS], own[_NUM_EDGES]), sums)
                if own[_NUM_ENDS]:
                    fill_drawn_ending(part, narrow, ends, (begin, stop, alive), offset, drawn_by, rule, written)
                else:
                    fill_drawn(part, narrow, (begin, stop), offset, drawn_by, rule, written)
        elif own[_WIDE]:
            if own[_NUM_ENDS]:
                fill_last_ending(part[1], _long(own[_ROWS], own[_NUM_EDGES]), ends, stop, offset, written)
            else:
                fill_last(part[1], _long(own[_ROWS], own[_NUM_EDGES]), stop, offset, written)
        elif own[_NUM_ENDS]:
            fill_last_ending(part[1], _narrow(own[_ROWS], own[_NUM_EDGES]), ends, stop, offset, written)
        else:
            fill_last(part[1], _narrow(own[_ROWS], own[_NUM_EDGES]), stop, offset, written)


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
