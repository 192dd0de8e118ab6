"""Verdict: what a change of the database's tables means for the stream of their rows: accepted, or quarantined."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from kincast.schema import Schema, Table
from kincast.source.postgres import Place


@dataclass(frozen=True, slots=True)
class Look:
    """The catalogue at one moment.

    Attributes:
        schema: tables and columns as the source shows them.
        places: table → where it lies.
        identities: number of a table → numbers of the columns that name a changed row.
        published: quoted name of a table → whether all its changes are sent, or new rows only.
    """

    schema: Schema
    places: dict[str, Place]
    identities: dict[int, frozenset[int]]
    published: dict[str, bool]


def names_changed_rows(card: Table, look: Look) -> bool:
    """True when PostgreSQL sends the card's key with every changed row of the table."""
    place = look.places.get(card.name)
    if place is None:
        return False
    numbers = {place.numbers.get(name) for name in card.key}
    return bool(card.key) and numbers <= look.identities.get(place.oid, frozenset())


def problem(card: Table, look: Look, before: Look | None) -> str | None:
    """Why changes of a table can no longer be taken as its card says; None when they can.

    Args:
        card: the table as the user knows it.
        look: the catalogue now.
        before: the catalogue at an earlier look, which tells renamed things from dropped ones.
    """
    if not look.schema.has_table(card.name):
        return _gone(card, look, before)
    place, now = look.places[card.name], look.schema.table(card.name)
    if place.sql not in look.published:
        return "its changes are no longer published"
    old = before.places.get(card.name) if before else None
    if old is not None and old.oid != place.oid:
        return "the table was dropped and made again"
    for column in card.columns:
        name = column.name
        if not now.has_column(name):
            known = old.numbers.get(name) if old else None
            new = next((shown for shown, number in place.numbers.items() if number == known), None)
            return f"column {name} was renamed to {new}" if new else f"column {name} is gone"
        if now.column(name).stored != column.stored:
            return f"column {name} is now {now.column(name).stored}, the card says {column.stored}"
        if old is not None and old.numbers.get(name) != place.numbers[name]:
            return f"column {name} was dropped and made again"
        if name in place.generated and not card.key:
            return f"column {name} is computed by the database, which sends no such values of tables without a key"
    if look.published[place.sql] and card.key and not names_changed_rows(card, look):
        return f"its key {', '.join(card.key)} no longer comes with changed rows"
    if before and before.schema.has_table(card.name) and before.schema.table(card.name).key != now.key:
        return f"its primary key is now {', '.join(now.key)}" if now.key else "its primary key is gone"
    return None


def notes(schema: Schema, before: Look, look: Look, quarantined: Container[str]) -> Iterator[str]:
    """Sentences about changes that are accepted.

    Args:
        schema: the card.
        before: the catalogue at an earlier look.
        look: the catalogue now.
        quarantined: tables of which nothing is accepted any more.
    """
    for table in look.schema:
        if not before.schema.has_table(table.name):
            if not schema.has_table(table.name):
                yield f"accepted: there is a new table {table.name}; schema.yaml decides whether it is used"
            continue
        if not schema.has_table(table.name) or table.name in quarantined:
            continue
        old, card = before.schema.table(table.name), schema.table(table.name)
        for column in table.columns:
            if not old.has_column(column.name) and not card.has_column(column.name):
                new = f"accepted: {table.name} has a new column {column.name} ({column.stored})"
                yield f"{new}; schema.yaml decides whether it is used"
        for column in old.columns:
            if not table.has_column(column.name) and not card.has_column(column.name):
                yield f"accepted: {table.name} lost the column {column.name}, which the card leaves out"


def _gone(card: Table, look: Look, before: Look | None) -> str:
    old = before.places.get(card.name) if before else None
    new = next((name for name, place in look.places.items() if old and place.oid == old.oid), None)
    return f"the table is now called {new}" if new else "the table is gone, or may no longer be read"
