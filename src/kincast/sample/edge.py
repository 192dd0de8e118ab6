"""Edge: the two directions in which a link is followed, their names, and fanouts per direction and hop."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.errors import ProjectError
from kincast.schema import Link, Schema


@dataclass(frozen=True, slots=True)
class EdgeType:
    """One direction of one link.

    Attributes:
        table: the table expanded from.
        other: the table of the neighbours.
        link: index into ``Schema.links`` and ``Snapshot.links``.
        reverse: False follows the foreign key to the one row it names; True finds the rows that refer to this one.
        name: ``orders.customer_id->customers.customer_id`` follows the foreign key of orders;
            ``customers.customer_id->orders.customer_id`` finds a customer's orders.
    """

    table: str
    other: str
    link: int
    reverse: bool
    name: str


def edge_types(schema: Schema) -> tuple[EdgeType, ...]:
    """Both directions of every link: for each link of the schema, in order, first along the foreign key, then back."""
    edges = []
    for index, link in enumerate(schema.links):
        src, dst = _ends(link)
        edges.append(EdgeType(link.table, link.target, index, False, f"{src}->{dst}"))
        edges.append(EdgeType(link.target, link.table, index, True, f"{dst}->{src}"))
    return tuple(edges)


def _ends(link: Link) -> tuple[str, str]:
    src, dst = link.name.split(" -> ")
    return src, dst


def fanout_table(
    edges: Sequence[EdgeType], fanout: Sequence[int], overrides: Mapping[str, Sequence[int]]
) -> NDArray[np.int64]:
    """How many neighbours each edge type takes at each hop: [num_edges, num_hops] int64; -1 all, 0 none.

    Args:
        edges: of the schema.
        fanout: the number for every hop.
        overrides: edge name → its own number for every hop; blanks in a name do not matter.

    Raises:
        ProjectError: an unknown name, a wrong number of hops, or a fanout below -1.
    """
    if not fanout:
        raise ProjectError("the fanout is empty", where="fanout", hint="give one number per hop, such as [16, 16]")
    _check_hops("fanout", fanout, len(fanout))
    table = np.tile(np.asarray(fanout, np.int64), (len(edges), 1))
    index = {edge.name.replace(" ", ""): i for i, edge in enumerate(edges)}
    for name, hops in overrides.items():
        where = f"fanout of {name}"
        place = index.get(name.replace(" ", ""))
        if place is None:
            names = [edge.name for edge in edges]
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'no links'}"
            raise ProjectError("there is no such link", where=where, hint=hint)
        _check_hops(where, hops, len(fanout))
        table[place] = hops
    return table


def _check_hops(where: str, hops: Sequence[int], num_hops: int) -> None:
    if len(hops) != num_hops:
        raise ProjectError(
            f"{len(hops)} numbers for {num_hops} hops", where=where, hint="give one number per hop; 0 skips a hop"
        )
    if any(hop < -1 for hop in hops):
        raise ProjectError("a fanout is below -1", where=where, hint="-1 takes all, 0 none, k > 0 at most k")
