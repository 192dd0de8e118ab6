"""Compile: query text → checked task, by a pipeline of plain functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from kincast.clock import DAY_US, Span
from kincast.query.check import Draft, check
from kincast.query.expand import expand
from kincast.query.kinds import find_kind
from kincast.query.named import Texts
from kincast.query.parser import parse
from kincast.query.print import print_query
from kincast.query.resolve import resolve
from kincast.query.task import Task
from kincast.query.tree import ColumnRef, Target, Window, aggregates, leaves
from kincast.schema import Schema


def compile_task(text: str, schema: Schema, targets: Mapping[str, str] = MappingProxyType({})) -> Task:
    """Read and check a query.

    Args:
        text: the query as written.
        schema: of the database it is about.
        targets: name → text of the targets that the project file names.

    Raises:
        QueryError: the query, or a target it names, does not follow the grammar, names what is not there, or breaks
            a rule.
    """
    draft = draft_of(text, schema, targets)
    warnings = check(draft)
    named = any(leaf.at.origin for target in draft.query.targets for leaf in leaves(target))
    written = print_query(draft.query) if named else text
    tasks = [_task(draft, target, warnings) for target in draft.query.targets]
    first = dataclasses.replace(tasks[0], text=written, query=draft.query)
    if len(tasks) == 1:
        return first
    return dataclasses.replace(first, targets=tuple(tasks), hidden=frozenset().union(*(task.hidden for task in tasks)))


def draft_of(text: str, schema: Schema, targets: Mapping[str, str] = MappingProxyType({})) -> Draft:
    """Read a query and bind its names, without checking it.

    Raises:
        QueryError: the query does not follow the grammar or names what is not there.
    """
    texts = Texts(text, targets)
    query, entity = resolve(expand(parse(text), texts), schema, texts)
    return Draft(texts, query, schema, entity)


def _task(draft: Draft, target: Target, warnings: tuple[str, ...]) -> Task:
    """The task of one target; instants, windows and fact tables are those of all targets together."""
    query = dataclasses.replace(draft.query, target=target, more=())
    row = find_kind(target, query.modifier, draft.schema)
    if row is None:
        raise draft.error("this target cannot be predicted", target.at)
    window = _window(draft)
    facts = (node.fact for every in draft.query.targets for node in aggregates(every) if window)
    return Task(
        text=print_query(query),
        query=query,
        schema=draft.schema,
        kind=row.kind,
        entity=draft.entity.name,
        window=window,
        hidden=_hidden(target),
        fact_tables=tuple(dict.fromkeys(facts)),
        history=_history(draft),
        warnings=warnings,
    )


def _window(draft: Draft) -> tuple[Span, Span] | None:
    """Earliest start and latest end of everything a label looks at; the end is never before the anchor."""
    query = draft.query
    outer = [node.window for part in query.targets for node in aggregates(part, nested=False) if node.window]
    if not outer:
        return None
    inner = [node.window for part in query.targets for node in aggregates(part) if node.window]
    assumed = [node.window for node in aggregates(query.assuming) if node.window]
    steps = query.modifier.forecast if query.modifier and query.modifier.forecast else 1
    ends = [_last_end(window.end_span, outer[0], steps) for window in inner] + [w.end_span for w in assumed]
    start = min((w.start_span for w in outer if w.start_span and w.start_span.count >= 0), key=_length)
    return start, max(ends, key=_length)


def _last_end(end: Span, window: Window, steps: int) -> Span:
    """Where the last step of a forecast ends, rounded up where the units do not fit together."""
    length = Span(window.end - (window.start or 0), window.unit)
    if steps == 1:
        return end
    if end.unit == length.unit:
        return Span(end.count + (steps - 1) * length.count, end.unit)
    slack = 3 * DAY_US if length.is_calendar or end.is_calendar else 0
    return Span(-(-(end.approx_us + (steps - 1) * length.approx_us + slack) // DAY_US), "days")


def _history(draft: Draft) -> Span | None:
    """The farthest that a window with a start reaches back from the anchor."""
    starts = [node.window.start_span for node in draft.all_aggregates() if node.window]
    back = [-start for start in starts if start is not None and start.count < 0]
    return max(back, key=_length, default=None)


def _hidden(target: Target) -> frozenset[tuple[str, str]]:
    columns = [leaf.column for leaf in leaves(target) if isinstance(leaf, ColumnRef)]
    return frozenset((bound.table, bound.column.name) for bound in columns)


def _length(span: Span) -> int:
    return span.approx_us


def length_of(window: tuple[Span, Span]) -> Span:
    """The length of a window from its start to its end; rounded up to days where the units do not fit together."""
    start, end = window
    if start.count == 0:
        return end
    if start.is_calendar and end.is_calendar:
        return Span(end.months - start.months, "months")
    if start.unit == end.unit:
        return Span(end.count - start.count, end.unit)
    return Span(max(1, -(-(end.approx_us - start.approx_us) // DAY_US)), "days")
