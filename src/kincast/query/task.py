"""Task: a checked query: what is predicted, for whom, over which window."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kincast.clock import Span
from kincast.query.tree import Aggregate, Query, aggregates
from kincast.schema import Schema, Table


class TaskKind(StrEnum):
    """What is learnt; the value is the name users see."""

    BINARY = "binary_classification"
    MULTICLASS = "multiclass_classification"
    REGRESSION = "regression"
    MULTILABEL = "multilabel_classification"
    RANKING = "multilabel_ranking"
    FORECASTING = "forecasting"
    TEMPORAL_LINK = "temporal_link_prediction"
    STATIC_LINK = "static_link_prediction"
    KNOWLEDGE = "knowledge_graph_completion"

    @property
    def words(self) -> str:
        """The name with blanks."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class Task:
    """A query that has passed every check.

    Attributes:
        text: the query as written, with the targets of the project file in place of their names.
        query: its tree, with every name resolved.
        schema: what it was resolved against.
        kind: what is learnt.
        entity: table of the rows predicted for.
        window: start and end of the target relative to the anchor; None for static targets. The end covers what
            ASSUMING and filters inside the target look at too: only then is a label known.
        hidden: (table, column) that must not be features, because they are the target.
        fact_tables: tables whose time range bounds the anchors; empty for static targets.
        history: how far back from an anchor the filters look, by the longest window that has a start; None without.
        warnings: what a user should think about.
        targets: one task for each of several targets, all with the same instants and filters; empty for a single one.
            The kind of the whole is that of the first.
    """

    text: str
    query: Query
    schema: Schema
    kind: TaskKind
    entity: str
    window: tuple[Span, Span] | None
    hidden: frozenset[tuple[str, str]] = frozenset()
    fact_tables: tuple[str, ...] = ()
    history: Span | None = None
    warnings: tuple[str, ...] = ()
    targets: tuple[Task, ...] = ()

    @property
    def is_static(self) -> bool:
        """True when the target is a column or a link without a time, and not what happens in a window."""
        return self.window is None

    @property
    def steps(self) -> int:
        """Windows in a row that a forecast covers; 1 for every other kind."""
        modifier = self.query.modifier
        return modifier.forecast if modifier is not None and modifier.forecast is not None else 1

    @property
    def step_length(self) -> Span | None:
        """From one step of a forecast to the next; None for every other kind."""
        target = self.query.target
        if self.kind is not TaskKind.FORECASTING or not isinstance(target, Aggregate) or target.window is None:
            return None
        return Span(target.window.end - (target.window.start or 0), target.window.unit)

    @property
    def item_table(self) -> str | None:
        """Table of the rows that a link leads to; None unless links are predicted."""
        target = self.query.target
        kinds = (TaskKind.TEMPORAL_LINK, TaskKind.STATIC_LINK, TaskKind.KNOWLEDGE)
        if self.kind not in kinds or not isinstance(target, Aggregate):
            return None
        links = self.schema.links_from(target.fact)
        return next(link.target for link in links if target.column.column.column.name in link.columns)

    @property
    def fact(self) -> str:
        """The fact table of a single aggregate; empty for other targets."""
        target = self.query.target
        return target.fact if isinstance(target, Aggregate) else ""

    @property
    def relation(self) -> str:
        """Column of the fact table that names the relation of a fact; empty unless a knowledge graph is completed."""
        target = self.query.target
        return target.by.column.column.name if isinstance(target, Aggregate) and target.by is not None else ""

    @property
    def query_line(self) -> str:
        """The query as written, on one line, for messages."""
        return " ".join(self.text.split())

    @property
    def entity_table(self) -> Table:
        """The entity's table."""
        return self.schema.table(self.entity)

    @property
    def paths(self) -> dict[str, str]:
        """How each fact table of several hops is reached: table → its foreign keys in words."""
        found: dict[str, str] = {}
        for part in self.query.parts:
            for aggregate in aggregates(part):
                if len(aggregate.path) > 1:
                    found[aggregate.fact] = path_words(aggregate)
        return found


def path_words(aggregate: Aggregate) -> str:
    """The foreign keys from the entity down to the fact table, such as ``orders.customer_id, tickets.order_id``."""
    return ", ".join(f"{link.table}.{'+'.join(link.columns)}" for link in aggregate.path)


def top_of(task: Task) -> int:
    """Length of the lists that a query asks for; 10 where it says none."""
    modifier = task.query.modifier
    return modifier.top if modifier is not None and modifier.top is not None else 10
