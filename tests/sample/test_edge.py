"""Names and order of edge types."""

from __future__ import annotations

from kincast.sample.edge import edge_types
from kincast.sample.strategy import fanout_table
from kincast.schema import Column, Link, Schema, SemanticType, Table


def table(name: str, *columns: str, key: tuple[str, ...]) -> Table:
    return Table(name, tuple(Column(column, SemanticType.ID, "BIGINT") for column in columns), key)


SCHEMA = Schema(
    (
        table("posts", "id", "parent_id", key=("id",)),
        table("games", "date", "home", "away", key=("date", "home")),
        table("goals", "date", "home", "minute", key=()),
    ),
    (
        Link("posts", ("parent_id",), "posts", ("id",)),
        Link("goals", ("date", "home"), "games", ("date", "home")),
    ),
)


def test_both_directions_of_every_link_in_order() -> None:
    edges = edge_types(SCHEMA)
    assert [(e.name, e.table, e.other, e.link, e.reverse) for e in edges] == [
        ("posts.parent_id->posts.id", "posts", "posts", 0, False),
        ("posts.id->posts.parent_id", "posts", "posts", 0, True),
        ("goals.(date, home)->games.(date, home)", "goals", "games", 1, False),
        ("games.(date, home)->goals.(date, home)", "games", "goals", 1, True),
    ]


def test_fanouts_with_overrides_by_name() -> None:
    overrides = {"games.(date,home) -> goals.(date,home)": [-1, 0]}
    assert fanout_table(edge_types(SCHEMA), [8, 4], overrides).tolist() == [[8, 4], [8, 4], [8, 4], [-1, 0]]
