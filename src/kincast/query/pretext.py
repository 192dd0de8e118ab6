"""Pretext: what can be asked about every row without anybody's labels: what comes next along each of its links."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from kincast.clock import Span
from kincast.errors import ProjectError
from kincast.query.parser import MAX_TARGETS
from kincast.schema import Column, Link, Schema, SemanticType

LOOK_BACK = 4
"""Windows back within which a row has to have had a fact, unless a filter says which rows are meant."""
MAX_HOPS = 2
_MEANS = frozenset({SemanticType.NUMERICAL})
_FIRSTS = frozenset({SemanticType.CATEGORICAL, SemanticType.BOOLEAN})


def pretext_query(
    schema: Schema,
    entity: str,
    windows: Sequence[Span],
    *,
    facts: Collection[str] | None = None,
    hops: int = MAX_HOPS,
    hidden: Collection[tuple[str, str]] = (),
    where: str | None = None,
) -> str:
    """A query of many targets: of every table of facts that leads to the entity, how many rows come next, and which.

    For each window whether there is a fact; for the longest how many there are, the mean of each numerical column and
    the first value of each categorical one. Facts that are fewer links away come first, and there are as many targets
    as one query may have.

    Args:
        schema: tables and links.
        entity: table of the rows.
        windows: from the instant on, each longer than nothing.
        facts: tables that are asked about; by default all whose rows have a time.
        hops: links between a row and its facts at most; more than ``MAX_HOPS`` are not followed.
        hidden: (table, column) pairs that are not asked about.
        where: condition on the rows; by default those with a fact in the last ``LOOK_BACK`` of the longest window.

    Raises:
        ProjectError: no table of facts leads to the entity.
    """
    known = [table.name for table in schema if table.time is not None and (facts is None or table.name in facts)]
    paths = [path for path in _paths(schema, entity, min(hops, MAX_HOPS)) if path[-1].table in known]
    if not paths:
        hint = f"name another entity that facts with a time refer to, in the block pretrain, instead of {entity}"
        raise ProjectError(f"nothing that has a time refers to {entity}", where="pretrain", hint=hint)
    ordered = sorted(windows, key=lambda window: window.approx_us)
    targets = [target for path in paths for target in _targets(schema, path, ordered, hidden)]
    back = ordered[-1] * -LOOK_BACK
    recent = (_aggregate("COUNT", path, "*", f"{back.count}, 0, {back.unit}") + " > 0" for path in paths)
    keys = ", ".join(f"{_name(entity)}.{_name(column)}" for column in schema.table(entity).key)
    keys = f"({keys})" if len(schema.table(entity).key) > 1 else keys
    return f"PREDICT {', '.join(targets[:MAX_TARGETS])} FOR EACH {keys} WHERE {where or ' OR '.join(recent)}"


def _paths(schema: Schema, entity: str, hops: int) -> Iterator[tuple[Link, ...]]:
    """Foreign keys from the entity down to each table of facts, the fewest first; no table is passed twice."""
    paths: list[tuple[Link, ...]] = [()]
    for _ in range(hops):
        ends = [(path, path[-1].table if path else entity, {link.table for link in path} | {entity}) for path in paths]
        paths = [(*path, link) for path, end, met in ends for link in schema.links_to(end) if link.table not in met]
        yield from paths


def _targets(
    schema: Schema, path: tuple[Link, ...], windows: Sequence[Span], hidden: Collection[tuple[str, str]]
) -> Iterator[str]:
    """Everything that is asked about the facts at the end of a path, each in parentheses."""
    for window in windows:
        yield f"({_aggregate('COUNT', path, '*', _ahead(window))} > 0)"
    yield f"({_aggregate('COUNT', path, '*', _ahead(windows[-1]))})"
    for column in _columns(schema, path[-1].table):
        if (path[-1].table, column.name) not in hidden and column.type in _MEANS | _FIRSTS:
            function = "AVG" if column.type in _MEANS else "FIRST"
            yield f"({_aggregate(function, path, _name(column.name), _ahead(windows[-1]))})"


def _columns(schema: Schema, name: str) -> list[Column]:
    """The columns of a table that are neither keys nor times."""
    table = schema.table(name)
    named = {*table.key, table.end_time, *(column for link in schema.links_from(name) for column in link.columns)}
    if table.time is not None:
        named |= {table.time.column, table.time.clock, table.time.via}
    return [column for column in table.columns if column.name not in named]


def _aggregate(function: str, path: tuple[Link, ...], column: str, window: str) -> str:
    via = ", ".join(f"{_name(link.table)}.{_name(link.columns[0])}" for link in path)
    return f"{function}({_name(path[-1].table)}.{column}, {window}) VIA {via}"


def _ahead(window: Span) -> str:
    return f"0, {window.count}, {window.unit}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
