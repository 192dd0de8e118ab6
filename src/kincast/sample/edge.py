"""Edge: the two directions in which a link is followed, and their names."""

from __future__ import annotations

from dataclasses import dataclass

from kincast.schema import Link, Schema


@dataclass(frozen=True, slots=True)
class EdgeType:
    """One direction of one link.

    Attributes:
        table: the table expanded from.
        other: the table of the neighbours.
        link: index into the links of the graph, for a snapshot ``Schema.links`` and ``Snapshot.links``.
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
