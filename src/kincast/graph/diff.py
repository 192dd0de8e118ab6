"""Diff: what is different between two versions: schema, rows, and how many neighbours rows have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kincast.graph.snapshot import Snapshot, SnapshotLink
from kincast.schema import Schema


@dataclass(frozen=True, slots=True)
class Degrees:
    """How many neighbours the rows of a link's target have.

    Attributes:
        num_edges: of the link.
        mean: neighbours per row.
        p99: the number that 99 of 100 rows do not exceed.
        max: of all rows.
    """

    num_edges: int
    mean: float
    p99: int
    max: int


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """Two versions beside each other.

    Attributes:
        schema: changes of the schema in words; empty when it is the same.
        rows: table → rows in the first and in the second; None where it has no such table.
        degrees: link → degrees in the first and in the second; None where it has no such link.
    """

    schema: tuple[str, ...]
    rows: dict[str, tuple[int | None, int | None]]
    degrees: dict[str, tuple[Degrees | None, Degrees | None]]


def diff_snapshots(first: Snapshot, second: Snapshot) -> SnapshotDiff:
    """Compare two versions."""
    tables = _both(first.tables, second.tables)
    links = [{str(link.link): link for link in snapshot.links} for snapshot in (first, second)]
    return SnapshotDiff(
        schema=tuple(_schema_changes(first.schema, second.schema)),
        rows={name: (_rows(first, name), _rows(second, name)) for name in tables},
        degrees={name: (_degrees(links[0].get(name)), _degrees(links[1].get(name))) for name in _both(*links)},
    )


def degrees(link: SnapshotLink) -> Degrees:
    """How many neighbours the rows of a link's target have."""
    counts = np.sort(np.diff(link.offsets))
    if not len(counts):
        return Degrees(0, 0.0, 0, 0)
    p99 = int(counts[min(int(np.ceil(0.99 * len(counts))), len(counts)) - 1])
    return Degrees(len(link.rows), float(len(link.rows) / len(counts)), p99, int(counts[-1]))


def _degrees(link: SnapshotLink | None) -> Degrees | None:
    return None if link is None else degrees(link)


def _rows(snapshot: Snapshot, table: str) -> int | None:
    return snapshot.tables[table].num_rows if table in snapshot.tables else None


def _both(first: object, second: object) -> list[str]:
    names = [*first, *second]  # type: ignore[misc]
    return list(dict.fromkeys(names))


def _schema_changes(first: Schema, second: Schema) -> list[str]:
    changes = []
    before, after = ({table.name: table for table in schema} for schema in (first, second))
    for name in _both(before, after):
        if name not in after:
            changes.append(f"table {name} is gone")
        elif name not in before:
            changes.append(f"table {name} is new")
        elif before[name] != after[name]:
            old, new = ({c.name: c for c in tables[name].columns} for tables in (before, after))
            found = [f"column {name}.{c} is gone" for c in old if c not in new]
            found += [f"column {name}.{c} is new" for c in new if c not in old]
            for column in [c for c in old if c in new and old[c] != new[c]]:
                was, now = old[column], new[column]
                found.append(f"column {name}.{column} was {was.type} {was.stored}, is {now.type} {now.stored}")
            changes += found or [f"key, time or order of columns of table {name} changed"]
    changes += [f"link {link} is gone" for link in first.links if link not in second.links]
    changes += [f"link {link} is new" for link in second.links if link not in first.links]
    return changes
