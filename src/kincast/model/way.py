"""Way: how the rows that an aggregate sums up are reached from a seed, one link after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kincast.sample.edge import EdgeType, edge_types
from kincast.schema import Schema

MAX_WAYS = 32
"""Of one entity: a wide schema has hundreds, and the farther ones say less."""


@dataclass(frozen=True, slots=True)
class Way:
    """Edges followed from a seed. Before the last edge, the newest row alone goes on, unless the way is ``fanned``.

    Attributes:
        edges: their names; none for the seed's own row.
        table: whose rows are reached.
        many: whether they may be several, which are summed up.
        fanned: all rows before the last edge go on.
        far: what is reached is not the seed's own, and is summed up briefly.
        name: in words, as names of aggregates begin.
    """

    edges: tuple[str, ...]
    table: str
    many: bool
    fanned: bool
    far: bool
    name: str


def ways_of(schema: Schema, entity: str) -> tuple[Way, ...]:
    """The ways from rows of a table, near ones first.

    The row itself; the rows it refers to; the rows that refer to it; those that refer to what it refers to, such as
    the other payments to the same shop; what the newest of the rows that refer to it refers to, such as a driver's
    present team, and, where that is nothing that happens at one instant, all rows that refer to it too; and the rows
    that refer to those that refer to the seed.
    """
    edges = edge_types(schema)
    lasting = frozenset(table.name for table in schema if table.time is None)
    return tuple(_ways(edges, entity, lasting))[:MAX_WAYS]


def _ways(edges: tuple[EdgeType, ...], entity: str, lasting: frozenset[str]) -> Iterator[Way]:
    forth = [edge for edge in edges if edge.table == entity and not edge.reverse]
    back = [edge for edge in edges if edge.table == entity and edge.reverse]
    yield Way((), entity, many=False, fanned=False, far=False, name="")
    for edge in forth:
        yield Way((edge.name,), edge.other, many=False, fanned=False, far=False, name=_column(edge))
    for edge in back:
        yield Way((edge.name,), edge.other, many=True, fanned=False, far=False, name=_rows(edge))
    for first in forth:
        for edge in _backwards(edges, first):
            name = f"{_rows(edge)} of {_column(first)}"
            yield Way((first.name, edge.name), edge.other, many=True, fanned=False, far=True, name=name)
    for first in back:
        for middle in edges:
            if middle.table != first.other or middle.reverse or middle.link == first.link:
                continue
            newest = f"newest {_rows(first)}: {_column(middle)}"
            yield Way((first.name, middle.name), middle.other, many=False, fanned=False, far=True, name=newest)
            for edge in _backwards(edges, middle):
                if edge.other == first.other and middle.other in lasting:
                    path = (first.name, middle.name, edge.name)
                    yield Way(path, edge.other, many=True, fanned=False, far=True, name=f"{newest}: {_rows(edge)}")
    for first in back:
        for edge in _backwards(edges, first):
            if edge.link != first.link:
                name = f"{_rows(edge)} of {_rows(first)}"
                yield Way((first.name, edge.name), edge.other, many=True, fanned=True, far=False, name=name)


def _backwards(edges: tuple[EdgeType, ...], first: EdgeType) -> list[EdgeType]:
    """Edges to the rows that refer to where another one leads."""
    return [edge for edge in edges if edge.reverse and edge.table == first.other]


def _column(edge: EdgeType) -> str:
    """The foreign key of an edge along it: its column."""
    return edge.name.split("->")[0].split(".", 1)[1]


def _rows(edge: EdgeType) -> str:
    """The rows of an edge against the foreign key: ``results by driverId``."""
    table, column = edge.name.split("->")[1].split(".", 1)
    return f"{table} by {column}"
