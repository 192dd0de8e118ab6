"""Explain: what a query means in words and SQL, its instants, its labels in each split, and what to think about."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.clock import Span, format_instant
from kincast.project import SplitSettings, TrainSettings
from kincast.query.anchors import Anchors, make_anchors, split_family
from kincast.query.labels import Labels, label_sql, make_labels, static_as_of
from kincast.query.print import print_node, print_query
from kincast.query.split import SPLITS
from kincast.query.task import Task, TaskKind
from kincast.schema import SemanticType, Table
from kincast.source.tables import Tables

FEW_LABELS = 100
RARE = 0.01
MAX_SHOWN_ANCHORS = 3
MAX_SHOWN_CLASSES = 10


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """The labels of one split.

    Attributes:
        name: train, validation or test.
        num_anchors: instants that labels were asked for at; 0 for a static target.
        first: earliest as-of instant of a label, as text.
        last: latest.
        num_rows: labels.
        num_entities: different rows of the entity table among them.
        rate: share of positive labels; None unless binary.
        mean: mean target; None unless a regression or a forecast.
        classes: class → labels that have it, the most frequent first; empty unless there are classes.
        items: mean length of a label's list; None unless labels are lists.
    """

    name: str
    num_anchors: int
    first: str
    last: str
    num_rows: int
    num_entities: int
    rate: float | None = None
    mean: float | None = None
    classes: dict[str, int] = field(default_factory=dict)
    items: float | None = None

    @property
    def words(self) -> str:
        """The labels' values in a few words."""
        if self.rate is not None:
            return f"{self.rate:.1%} positive"
        if self.mean is not None:
            return f"mean {self.mean:.4g}"
        shown = [
            f"{name} {count / self.num_rows:.1%}" for name, count in list(self.classes.items())[:MAX_SHOWN_CLASSES]
        ]
        if self.items is not None:
            shown.insert(0, f"{self.items:.3g} a label")
        return ", ".join(shown)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the labels cost, and how much training reads.

    Attributes:
        label_seconds: time it took to make the labels; None where the user brought them.
        label_bytes: memory they take.
        max_steps: batches that training reads at most.
        max_seeds: labels that training reads at most, each as often as it comes.
    """

    label_seconds: float | None
    label_bytes: int
    max_steps: int
    max_seeds: int

    @property
    def words(self) -> str:
        """All of it in a sentence."""
        took = f"Making the labels took {self.label_seconds:.1f} s; they" if self.label_seconds is not None else "They"
        mib = max(self.label_bytes / 2**20, 0.1)
        reads = f"training reads {self.max_seeds:,} of them at most, in {self.max_steps:,} batches"
        return f"{took} take {mib:,.1f} MiB; {reads}. How long that takes is measured by: kincast plan"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a query means on the data at hand.

    Attributes:
        query: canonical text.
        kind: what is learnt.
        entity: the entity table.
        window: the target's window in words; None for a static target.
        sentences: what is predicted, for whom, under which conditions.
        sql: the label statement; of many anchors only the newest are shown.
        splits: train, validation and test.
        cost: of the labels and of training.
        warnings: what to think about.
        others: the same of each further target.
    """

    query: str
    kind: str
    entity: str
    window: str | None
    sentences: tuple[str, ...]
    sql: str
    splits: tuple[SplitSummary, ...]
    cost: Cost
    warnings: tuple[str, ...]
    others: tuple[Explanation, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        lists = {name: list(values[name]) for name in ("sentences", "splits", "warnings")}
        return {**values, **lists, "others": [other.as_dict() for other in self.others]}

    def as_text(self) -> str:
        """All of it for a terminal."""
        rows = [("split", "windows", "from", "to", "labels", "entities", "values")]
        for part in self.splits:
            windows = str(part.num_anchors or "-")
            counts = f"{part.num_rows:,}", f"{part.num_entities:,}"
            rows.append((part.name, windows, part.first, part.last, *counts, part.words))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        blocks = [self.query, "\n".join(self.sentences), "\n".join(table), self.cost.words]
        if self.warnings:
            blocks.append("\n".join(f"warning: {warning}" for warning in self.warnings))
        blocks.append(f"label SQL:\n{textwrap.indent(self.sql, '  ')}")
        blocks += [other.as_text() for other in self.others]
        return "\n\n".join(blocks)


def explain(
    task: Task,
    tables: Tables,
    split: SplitSettings,
    train: TrainSettings | None = None,
    labels: Labels | None = None,
    *,
    strict: bool = False,
) -> Explanation:
    """Say what a task means on the data at hand, without training.

    Args:
        task: a checked query.
        tables: the rows.
        split: which instants, and which split each belongs to.
        train: how it would be trained; as usual when None.
        labels: the user's own; made here when None.
        strict: whether predictions see no facts at their very instant.

    Raises:
        DataError: the labels cannot be made; see ``make_labels``.
    """
    if task.targets:
        first, *others = (explain(each, tables, split, train, strict=strict) for each in task.targets)
        return replace(first, others=tuple(others))
    anchors = make_anchors(task, tables, split) if labels is None else Anchors((), (), ())
    start = time.perf_counter()
    made = make_labels(task, tables, split) if labels is None else labels
    seconds = time.perf_counter() - start if labels is None else None
    splits = tuple(_summary(made, anchors, number) for number in range(len(SPLITS)))
    return Explanation(
        query=print_query(task.query),
        kind=task.kind.value,
        entity=task.entity,
        window=None if task.window is None else window_words(task.window),
        sentences=tuple(_sentences(task)),
        sql=_shown_sql(task, tables, anchors) if labels is None else "-- the labels are a table of your own",
        splits=splits,
        cost=_cost(made, train or TrainSettings(), seconds),
        warnings=(
            *task.warnings,
            *anchors.notes,
            *_split_warnings(task, split),
            *_warnings(made, splits),
            *_leak_warnings(task, strict=strict),
        ),
    )


def _cost(labels: Labels, train: TrainSettings, seconds: float | None) -> Cost:
    columns: list[NDArray[Any]] = [labels.rows, labels.as_of_us, labels.target, labels.split]
    columns += [labels.lists.offsets, labels.lists.items] if labels.lists is not None else []
    count = len(labels.of(0))
    steps = min(train.max_steps_per_epoch, -(-count // train.batch_size))
    seeds = min(count, steps * train.batch_size)
    size = sum(column.nbytes for column in columns)
    return Cost(seconds, size, steps * train.max_epochs, seeds * train.max_epochs)


def window_words(window: tuple[Span, Span]) -> str:
    """A window in words.

    >>> window_words((Span(0), Span(30)))
    'the 30 days after the anchor'
    """
    start, end = window
    return f"the {end} after the anchor" if start.count == 0 else f"from {start} to {end} after the anchor"


_VALUES = {
    TaskKind.BINARY: "whether",
    TaskKind.MULTICLASS: "which class",
    TaskKind.MULTILABEL: "which classes",
    TaskKind.RANKING: "the most likely classes",
    TaskKind.TEMPORAL_LINK: "the most likely links",
    TaskKind.STATIC_LINK: "the most likely links",
    TaskKind.KNOWLEDGE: "the most likely ends of facts,",
    TaskKind.FORECASTING: "the values, step by step, of",
}


def _sentences(task: Task) -> Iterator[str]:
    query = task.query
    value = _VALUES.get(task.kind, "the value of")
    yield f"{task.kind.words.capitalize()}: {value} {print_node(query.target)}, for each row of {task.entity}"
    if task.window is not None:
        yield f"A label looks at {window_words(task.window)}; a fact counts when start < time <= end."
    elif task.kind is TaskKind.STATIC_LINK:
        yield "A label lists the links of a row; without a time, which links come later is drawn by chance."
    elif task.kind is TaskKind.KNOWLEDGE:
        yield f"A label is a fact: {task.fact} leads from a row of {task.entity} to another; it is asked both ways."
    elif task.entity_table.time is not None:
        yield "A label is a column's value, predicted as of the time of its row."
    else:
        yield f"A label is a column's value; rows of {task.entity} have no time, so they are split by their key."
    if query.where:
        yield f"Only where {print_node(query.where)}."
    if query.assuming:
        assumed = print_node(query.assuming)
        yield f"Assuming {assumed}: for labels it must have happened, for predictions it is taken as true."
    for table, path in task.paths.items():
        yield f"Rows of {table} are reached through {path}."
    for table, column in sorted(task.hidden):
        yield f"{table}.{column} is the target, so it is no feature."


def _shown_sql(task: Task, tables: Tables, anchors: Anchors) -> str:
    shown = anchors.all[-MAX_SHOWN_ANCHORS:]
    sql = label_sql(task, shown, static_as_of(task, tables))
    if len(shown) == len(anchors.all):
        return sql
    return f"-- the newest {len(shown)} of {len(anchors.all):,} anchors\n{sql}"


def _summary(labels: Labels, anchors: Anchors, number: int) -> SplitSummary:
    part = labels.of(number)
    classes: dict[str, int] = {}
    if labels.kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL, TaskKind.RANKING):
        codes = part.target if part.lists is None else part.lists.items
        counts = np.bincount(codes.astype(np.int64), minlength=len(labels.classes))
        classes = {labels.classes[i]: int(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i]}
    listed = part.lists is not None and labels.kind is not TaskKind.FORECASTING
    return SplitSummary(
        name=SPLITS[number],
        num_anchors=_num_anchors(part, anchors, number),
        first=format_instant(int(part.as_of_us.min())),
        last=format_instant(int(part.as_of_us.max())),
        num_rows=len(part),
        num_entities=len(np.unique(part.rows)),
        rate=float(part.target.mean()) if labels.kind is TaskKind.BINARY else None,
        mean=float(part.target.mean()) if labels.kind in (TaskKind.REGRESSION, TaskKind.FORECASTING) else None,
        classes=classes,
        items=float(part.target.mean()) if listed else None,
    )


def _split_warnings(task: Task, split: SplitSettings) -> Iterator[str]:
    family = split_family(task, split)
    if family == "random" and (task.window is not None or task.entity_table.time is not None):
        yield "a random split of rows that have a time lets training see beyond the test: metrics will flatter"
    if family == "temporal" and task.window is not None:
        yield "a temporal split cuts by the number of labels: those whose window crosses a cut are left out"
    if family == "manual" and task.window is not None:
        yield "a split by hand does not keep windows of different splits apart"


def _leak_warnings(task: Task, *, strict: bool) -> Iterator[str]:
    """Ways in which the data may tell a prediction what came after its instant."""
    timeless = [t.name for t in task.schema if t.time is None and t.name != task.entity and _has_facts(task, t)]
    if timeless and any(table.time is not None for table in task.schema):
        names = ", ".join(timeless)
        yield (
            f"rows without a time are seen by every prediction as they are today, whatever changed since: {names}; "
            "give them a time, or ignore the columns that change"
        )
    if task.is_static and task.entity_table.time is not None and not strict:
        yield (
            "facts at the very instant of a row are seen by its prediction: none may have come with the target; "
            "'ties: strict' hides them"
        )


def _has_facts(task: Task, table: Table) -> bool:
    """True for a table with columns that may be features."""
    linked = {name for link in task.schema.links_from(table.name) for name in link.columns}
    unused = (SemanticType.ID, SemanticType.IGNORED)
    return any(c.name not in {*table.key, *linked} and c.type not in unused for c in table.columns)


def _num_anchors(part: Labels, anchors: Anchors, number: int) -> int:
    if anchors.train and not anchors.test:  # the split is not by anchor
        return len(np.unique(part.as_of_us))
    return len((anchors.train, anchors.validation, anchors.test)[number])


def _warnings(labels: Labels, splits: tuple[SplitSummary, ...]) -> Iterator[str]:
    for part in splits:
        if part.num_rows < FEW_LABELS:
            yield f"the {part.name} split has few labels ({part.num_rows}): its metrics will be rough"
        if part.rate in (0.0, 1.0) or (labels.lists is None and len(part.classes) == 1):
            yield f"the {part.name} split has only one class: ranking metrics are undefined there"
    train, _, test = splits
    if train.rate not in (None, 0.0, 1.0) and not RARE <= train.rate <= 1 - RARE:
        yield f"{train.rate:.2%} of the training labels are positive: consider class weights"
    if train.num_anchors == 1:
        yield "there is only one training window: set a shorter step to get more"
    if train.rate is not None and test.rate is not None:
        pooled = (train.rate * train.num_rows + test.rate * test.num_rows) / (train.num_rows + test.num_rows)
        error = (pooled * (1 - pooled) * (1 / train.num_rows + 1 / test.num_rows)) ** 0.5
        if abs(train.rate - test.rate) > max(4 * error, 0.05):
            yield f"the label rate moves from {train.rate:.1%} in train to {test.rate:.1%} in test"
    unseen = [name for name in test.classes if name not in train.classes]
    if unseen:
        yield f"{len(unseen)} classes of the test split are not in train: {', '.join(unseen[:3])}"
    if labels.kind is TaskKind.REGRESSION:
        target = labels.of(0).target
        zeros = float(np.mean(target == 0))
        if zeros > 0.9 or float(np.ptp(target)) == 0.0:
            same = f"{zeros:.0%} of the training targets are 0" if zeros > 0.9 else "all training targets are equal"
            yield f"{same}: consider predicting a condition instead"
