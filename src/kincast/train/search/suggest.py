"""Suggest: a model plan for a task, from its kind, its labels and the degrees of its links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kincast.errors import ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.model.objective import LINKS, LOSSES
from kincast.project import SplitSettings
from kincast.query.labels import Labels, target_labels, task_labels
from kincast.query.several import side_by_side
from kincast.query.task import Task, TaskKind, top_of
from kincast.sample.edge import edge_types
from kincast.sample.strategy import INFERRED, fanout_table
from kincast.train.judge import SKILL
from kincast.train.metric import metrics_of
from kincast.train.plan import suggest_fanouts
from kincast.train.search.mode import EFFORTS, RunMode
from kincast.train.search.plan import ModelPlan
from kincast.train.search.read import edit_plan

CLASSES = (TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.MULTILABEL)
MIN_TRIALS = 2
NUM_HOPS = 2
MIN_STEPS = 30  # of an epoch
BATCH_SIZES = (512, 1024)
LEAST_BATCH = 64
RATES = (0.003, 0.0001, 0.0003, 0.001, 0.01, 0.05)
WIDTHS = (64, 128, 256)
LABELS_OF_WIDTH = {128: 20_000, 256: 100_000}
"""Training labels from which a width is tried."""
FEW_LABELS = 20_000
RARE = 0.02  # share of the rarer class below which the other is drawn less often
Said = Iterator[tuple[str, Any, str]]
"""Parameter, value and reason."""


def suggest_model_plan(
    task: Task, snapshot: Snapshot, run_mode: RunMode | str = RunMode.NORMAL, *, labels: Labels | None = None
) -> ModelPlan:
    """A plan to search: lists are tried, the rest is fixed, and the reason for each stands beside it.

    Args:
        task: what is predicted.
        snapshot: its rows.
        run_mode: ``debug``, ``fast``, ``normal`` or ``best``.
        labels: of the task; those of the usual split by default.

    Raises:
        DataError: the rows do not give labels to learn from.
        ValueError: there is no such mode.
    """
    mode = RunMode(run_mode.lower()) if isinstance(run_mode, str) else run_mode
    if labels is None:
        labels = _usual_labels(task, snapshot)
    if task.kind is TaskKind.KNOWLEDGE:
        hint = "name values of train.learning_rate, train.n3 and model.output_channels in a plan of your own"
        raise ProjectError(f"no plan is suggested for {task.kind.words}", where=task.query_line, hint=hint)
    train = labels.of(0)
    plan, reasons = ModelPlan(), {}
    for part in (_job, _neighbors, _optimization, _model):
        for name, value, reason in part(task, snapshot, train, mode):
            if value is not None:
                plan = edit_plan(plan, {name: value})
            reasons[name] = reason
    return replace(plan, reasons=reasons)


def _usual_labels(task: Task, snapshot: Snapshot) -> Labels:
    with snapshot.open_tables() as tables:
        if task.targets:
            return side_by_side(target_labels(task, tables, SplitSettings()), task.query_line)
        return task_labels(task, tables, SplitSettings())


def _job(task: Task, snapshot: Snapshot, train: Labels, mode: RunMode) -> Said:
    effort = EFFORTS[mode]
    classes = task.kind in CLASSES and not task.targets
    trials = max(effort.trials // 2, MIN_TRIALS) if classes else effort.trials
    why = f"{mode.value} mode" + (", half as many for classes" if trials < effort.trials else "")
    yield "training_job.num_experiments", trials, why
    metrics = metrics_of(task.kind, steps=task.steps, top=top_of(task))
    tuned = SKILL if task.targets else next(iter(metrics))
    yield "training_job.tune_metric", tuned, f"the usual one for {task.kind.words}"
    timeless = task.kind is TaskKind.STATIC_LINK
    why = "which links are hidden depends on the split" if timeless else f"{mode.value} mode"
    yield "training_job.refit_trainval", effort.refit and not timeless, why


def _neighbors(task: Task, snapshot: Snapshot, train: Labels, mode: RunMode) -> Said:
    effort = EFFORTS[mode]
    usual = effort.fanout
    edges = edge_types(snapshot.schema)
    found = suggest_fanouts(snapshot, task, edges, fanout_table(edges, [usual] * NUM_HOPS, {}))
    own = {edge.name for edge in edges if edge.reverse and edge.table == task.entity and edge.other in task.fact_tables}
    hops: dict[str, dict[str, int | str]] = {f"hop{hop + 1}": {"default": usual} for hop in range(NUM_HOPS)}
    reasons = {"hop1.default": f"{mode.value} mode"}
    for link in found:
        numbers: list[int | str] = list(link.suggested)
        why = link.why
        if link.name in own and effort.inferred:
            numbers[0] = INFERRED
        elif link.name in own:
            numbers[0] = min(link.suggested[0], 2 * usual)
            why = f"the target's own facts: twice the usual in {mode.value} mode, 'inferred' in normal mode"
        for hop, number in enumerate(numbers):
            if number != usual:
                hops[f"hop{hop + 1}"][link.name] = number
                reasons[f"hop{hop + 1}.{link.name}"] = why
    yield "neighbor_sampling.num_neighbors", hops, ""
    for place, reason in reasons.items():
        yield f"neighbor_sampling.num_neighbors.{place}", None, reason


def _optimization(task: Task, snapshot: Snapshot, train: Labels, mode: RunMode) -> Said:
    effort, num = EFFORTS[mode], len(train)
    yield "optimization.max_epochs", effort.epochs, f"{mode.value} mode"
    yield "optimization.max_steps_per_epoch", effort.steps, f"{mode.value} mode"
    sizes, why = _batch_sizes(num)
    if mode is RunMode.DEBUG:
        sizes, why = [16], "debug mode"
    yield "optimization.batch_size", sizes, why
    yield "optimization.base_lr", list(RATES), "the first is tried first"
    yield "optimization.weight_decay", [1e-4, 0.0, 1e-2], "of AdamW, apart from the gradient and so larger than Adam's"
    yield "optimization.early_stopping.patience", 3, "epochs without a better validation metric"
    if not task.targets:
        yield "optimization.loss", LOSSES[task.kind][0], f"the usual one for {task.kind.words}"
    if task.kind is TaskKind.BINARY and not task.targets:
        share = float(train.target.mean()) if num else 0.0
        rare = min(share, 1 - share)
        why = f"{share:.1%} of {num:,} training labels are positive"
        yield "optimization.majority_sampling_ratio", [None, 10.0] if rare < RARE else [None], why


def _batch_sizes(num: int) -> tuple[list[int], str]:
    """Sizes to try with so many labels, and why."""
    fitting = [size for size in BATCH_SIZES if num >= MIN_STEPS * size]
    if len(fitting) == len(BATCH_SIZES):
        return fitting, f"{num:,} training labels"
    size = BATCH_SIZES[-2] if fitting else max(LEAST_BATCH, 2 ** int(np.log2(max(num / MIN_STEPS, 1))))
    return [size], f"{num:,} training labels: {-(-num // size)} steps of an epoch"


def _model(task: Task, snapshot: Snapshot, train: Labels, mode: RunMode) -> Said:
    num = len(train)
    widths = [width for width in WIDTHS if num >= LABELS_OF_WIDTH.get(width, 0)]
    left = ", ".join(f"{width} from {LABELS_OF_WIDTH[width]:,} on" for width in WIDTHS if width not in widths)
    yield "model_architecture.model.channels", widths, f"{num:,} training labels" + (f"; {left}" if left else "")
    yield "model_architecture.model.aggregation", [["sum", "mean", "max"]], "they tell apart what each alone cannot"
    few = num < FEW_LABELS
    why = f"fewer than {FEW_LABELS:,} training labels are soon learnt by heart" if few else f"{num:,} training labels"
    yield "model_architecture.model.dropout", [0.2, 0.0] if few else [0.0], why
    if task.kind in LINKS:
        yield "model_architecture.module", ["context", "two_tower"], "with the entity's own neighbourhood and without"
        modes = ["fusion", "feature"]
        yield "model_architecture.target_embedding_mode", modes, "with a vector for each item and without"
        yield "model_architecture.output_embedding_dim", 32, "width of the vectors of both sides"
    if task.kind is TaskKind.FORECASTING:
        yield "model_architecture.year_over_year", [False, True], "with the values of the year before and without"
