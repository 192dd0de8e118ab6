"""Compile: query text → checked task, by a pipeline of plain functions."""

from __future__ import annotations

from kincast.clock import DAY_US, Span
from kincast.errors import QueryError
from kincast.query.check import Draft, check
from kincast.query.kinds import Form, Row, find_kind, form_of
from kincast.query.parser import parse
from kincast.query.resolve import resolve
from kincast.query.task import Task
from kincast.query.tree import ColumnRef, aggregates, operands
from kincast.schema import Schema


def compile_task(text: str, schema: Schema) -> Task:
    """Read and check a query.

    Args:
        text: the query as written.
        schema: of the database it is about.

    Raises:
        QueryError: the query does not follow the grammar, names what is not there, breaks a rule, or asks for a kind
            of task that cannot be trained yet.
    """
    draft = draft_of(text, schema)
    warnings = check(draft)
    row = find_kind(draft.query.target, draft.query.modifier, schema)
    if row is None:
        raise draft.error("this target cannot be predicted", draft.query.target.at)
    if not row.trainable:
        raise _not_yet(draft, row)
    return Task(
        text=text,
        query=draft.query,
        schema=schema,
        kind=row.kind,
        entity=draft.entity.name,
        window=_window(draft),
        hidden=_hidden(draft),
        fact_tables=tuple(dict.fromkeys(node.fact for node in aggregates(draft.query.target))),
        history=_history(draft),
        warnings=warnings,
    )


def draft_of(text: str, schema: Schema) -> Draft:
    """Read a query and bind its names, without checking it.

    Raises:
        QueryError: the query does not follow the grammar or names what is not there.
    """
    query, entity = resolve(parse(text), schema, text)
    return Draft(text, query, schema, entity)


def _not_yet(draft: Draft, row: Row) -> QueryError:
    query = draft.query
    at = query.modifier.at if query.modifier and form_of(query.modifier) is not Form.PLAIN else query.target.at
    return draft.error(f"{row.kind.words} is not supported yet", at)


def _window(draft: Draft) -> tuple[Span, Span] | None:
    """Earliest start and latest end of everything a label looks at; the end is never before the anchor."""
    query = draft.query
    if draft.is_static:
        return None
    outer = [node.window for node in aggregates(query.target, nested=False) if node.window]
    every = [node.window for part in (query.target, query.assuming) for node in aggregates(part) if node.window]
    start = min((Span(w.start or 0, w.unit) for w in outer), key=_length)
    end = max((w.end_span for w in every), key=_length)
    return start, end


def _history(draft: Draft) -> Span | None:
    """The farthest that a window with a start reaches back from the anchor."""
    starts = [node.window.start_span for node in draft.all_aggregates() if node.window]
    back = [-start for start in starts if start is not None and start.count < 0]
    return max(back, key=_length, default=None)


def _hidden(draft: Draft) -> frozenset[tuple[str, str]]:
    columns = [operand.column for operand in operands(draft.query.target) if isinstance(operand, ColumnRef)]
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
