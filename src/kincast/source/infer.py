"""Inference: keys, links, times and meanings of a database that does not declare them, each with its evidence."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kincast.card import column_place, end_place, key_place, link_place, time_place
from kincast.errors import StorageError
from kincast.progress import Progress, silent
from kincast.schema import Link, Schema, SemanticType, Table
from kincast.source.base import Source
from kincast.source.infer_key import infer_key
from kincast.source.infer_later import MAX_LATER, later_share
from kincast.source.infer_link import infer_links
from kincast.source.infer_time import infer_times
from kincast.source.infer_type import infer_time_format, infer_type
from kincast.source.profile import Bench


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a database looks like, and why.

    Attributes:
        schema: tables with keys, times and meanings, and links.
        evidence: place in the card → sentence; see ``kincast.card``.
    """

    schema: Schema
    evidence: Mapping[str, str]


def infer_schema(source: Source, progress: Progress = silent) -> Inferred:
    """Find out what a database looks like from its catalogue, names and values.

    What the catalogue declares is taken as it is. Everything else is measured on the rows (the first 5 million of a
    table): keys by uniqueness and name, links by name, type and values found, times by name and by whether facts come
    before them.

    Args:
        source: the database.
        progress: told about each table.

    Raises:
        SourceError: the database cannot be read.
        StorageError: there is no room for the temporary copy that is measured.
    """
    declared = source.inspect()
    try:
        folder = tempfile.TemporaryDirectory(prefix="kincast-")
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=tempfile.gettempdir()) from None
    with folder as name, Bench(source, declared, Path(name), progress) as bench:
        return _infer(bench, declared)


def _infer(bench: Bench, declared: Schema) -> Inferred:
    evidence: dict[str, str] = {}
    formats = {}
    for number, profiles in enumerate(bench.columns):
        for index, profile in enumerate(profiles):
            profiles[index], said = infer_time_format(bench, profile)
            formats[number, index] = said
    keys = []
    for number, table in enumerate(bench.tables):
        key, evidence[key_place(table.name)] = infer_key(bench, number)
        keys.append(key)
    links = infer_links(bench, keys, declared.links)
    evidence |= {link_place(link): said for link, said in links.items()}
    targets = {(link.table, link.columns[0]): link.target for link in links if len(link.columns) == 1}
    for number, table in enumerate(bench.tables):
        for index, profile in enumerate(bench.columns[number]):
            refined, said = infer_type(
                bench, profile, key=keys[number] == (profile.name,), link=targets.get((table.name, profile.name))
            )
            bench.columns[number][index] = refined
            form = formats[number, index]
            evidence[column_place(table.name, profile.name)] = f"{form}; {said}" if form else said
    tables = _timed(bench, keys, tuple(links), evidence)
    return Inferred(Schema(tables, _in_order(tables, links)), evidence)


def _timed(
    bench: Bench, keys: list[tuple[str, ...]], links: tuple[Link, ...], evidence: dict[str, str]
) -> tuple[Table, ...]:
    """The tables with their times; adds the evidence for them."""
    tables = []
    for number, found in enumerate(infer_times(bench, links)):
        table = bench.tables[number]
        # Stored types as the source has them; the bench's copies are typed already.
        stored = {column.name: column.stored for column in table.columns}
        for place, profile in enumerate(bench.columns[number]):
            share = later_share(bench, number, profile, found)
            if share > MAX_LATER:
                bench.columns[number][place] = profile.with_type(SemanticType.IGNORED)
                evidence[column_place(table.name, profile.name)] = (
                    f"{share:.0%} are later than their row, so written afterwards; timestamp if they are plans"
                )
        columns = tuple(replace(p.column, stored=stored[p.name]) for p in bench.columns[number])
        tables.append(Table(table.name, columns, keys[number], found.time, found.end_time))
        if found.said:
            evidence[time_place(table.name)] = found.said
        if found.end_said:
            evidence[end_place(table.name)] = found.end_said
    return tuple(tables)


def _in_order(tables: tuple[Table, ...], links: dict[Link, str]) -> tuple[Link, ...]:
    """Links in the order of tables and columns."""
    place = {
        (table.name, column.name): (number, index)
        for number, table in enumerate(tables)
        for index, column in enumerate(table.columns)
    }
    return tuple(sorted(links, key=lambda link: (place[link.table, link.columns[0]], len(link.columns), link.target)))
