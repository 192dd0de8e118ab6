"""Plan: what training a task will cost, from degrees and a dry run, and which fanouts fit its rows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.errors import ProjectError
from kincast.feature.spec import FeatureSpec
from kincast.graph.snapshot import Snapshot
from kincast.progress import Progress, silent
from kincast.project import TaskSettings
from kincast.query.task import Task, TaskKind
from kincast.sample.batch import Batch
from kincast.sample.edge import EdgeType, edge_types
from kincast.sample.strategy import fanout_table, plan_of, settle_fanouts
from kincast.train.loop import Examples
from kincast.train.prepare import Prepared, training_examples
from kincast.train.run import new_trainer

DRY_SEEDS = 512
DRY_STEPS = 3
BUDGET_ROWS = 2_000  # of a sub-graph, at its 99th percentile, beyond which fanouts of later hops are lowered
INFERRED_LOW, INFERRED_HIGH = 64, 512
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One direction of one link.

    Attributes:
        name: as in ``fanout_overrides``.
        mean, p50, p90, p99, most: rows that one row leads to, over all rows.
        now: fanout per hop of the settings.
        suggested: fanout per hop.
        why: the reason, one sentence.
    """

    name: str
    mean: float
    p50: int
    p90: int
    p99: int
    most: int
    now: tuple[int, ...]
    suggested: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What one set of fanouts costs, measured on a dry run.

    Attributes:
        rows_p50, rows_p99, rows_most: of the sub-graph of a seed.
        edges_p50, edges_p99: of the sub-graph of a seed.
        bytes_per_seed: features of its sub-graph as a batch holds them.
        ram_bytes: batches in flight, weights and optimiser, and all of the mapped files.
        ssd_bytes: snapshot and encoded features.
        sample_s, gather_s, step_s: of one batch, one thread.
        num_batches: of an epoch.
        epoch_s: of an epoch: sampling and gathering run beside the steps.
    """

    rows_p50: int
    rows_p99: int
    rows_most: int
    edges_p50: int
    edges_p99: int
    bytes_per_seed: int
    ram_bytes: int
    ssd_bytes: int
    sample_s: float
    gather_s: float
    step_s: float
    num_batches: int
    epoch_s: float


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Degrees, fanouts and costs of a task.

    Attributes:
        task: name of the task.
        num_labels: training labels.
        batch_size: seeds per step in the dry run.
        links: both directions of every link that the sampler may follow.
        now: cost of the fanouts in the settings.
        suggested: cost of the suggested ones.
    """

    task: str
    num_labels: int
    batch_size: int
    links: tuple[LinkPlan, ...]
    now: Cost
    suggested: Cost

    @property
    def overrides(self) -> dict[str, list[int]]:
        """Suggested ``fanout_overrides``: links whose fanouts differ from those in the settings."""
        return {link.name: list(link.suggested) for link in self.links if link.suggested != link.now}

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "fanout_overrides": self.overrides}


def make_plan(
    name: str, settings: TaskSettings, snapshot: Snapshot, prepared: Prepared, progress: Progress = silent
) -> TrainingPlan:
    """Measure what training would cost with the settings' fanouts and with suggested ones.

    Args:
        name: of the task.
        settings: of the task.
        snapshot: the rows.
        prepared: its labels, features and objective.
        progress: told about each dry run.

    Raises:
        ProjectError: the task reads no trees along every link.
    """
    if prepared.task.kind is TaskKind.KNOWLEDGE:
        what = f"a plan is of neighbourhoods, and {prepared.task.kind.words} reads none"
        raise ProjectError(what, where=f"tasks.{name}", hint="train; an epoch shows what one takes")
    if settings.model.neighbourhood == "shared" or settings.model.through:
        what = "a plan is of trees that follow every link, not of shared rows or rows passed through"
        raise ProjectError(what, where=f"tasks.{name}.model", hint="train; an epoch shows what one takes")
    train = prepared.labels.of(0)
    model = settle_fanouts(settings.model, snapshot, int(train.visible_us.max()))
    settings = settings.model_copy(update={"model": model})
    every = training_examples(prepared, settings)
    size = min(settings.train.batch_size, len(every.seeds), DRY_SEEDS)
    dry = every.take(np.random.default_rng(settings.train.seed).permutation(len(every.seeds))[: size * DRY_STEPS])
    progress("dry run", 0, 2)
    edges = edge_types(snapshot.schema)
    fanout = fanout_table(edges, *plan_of(model))
    now = _cost(settings, snapshot, prepared, dry)
    progress("dry run", 1, 2)
    links = suggest_fanouts(snapshot, prepared.task, edges, fanout)
    wished = {link.name: link.suggested for link in links if link.suggested != link.now}
    better = settings.model.model_copy(update={"fanout_overrides": {**settings.model.fanout_overrides, **wished}})
    changed = settings.model_copy(update={"model": better})
    suggested = now if not wished else _cost(changed, snapshot, prepared, dry)
    progress("dry run", 2, 2)
    return TrainingPlan(name, len(train.rows), size, links, now, suggested)


def suggest_fanouts(
    snapshot: Snapshot, task: Task, edges: Sequence[EdgeType], fanout: NDArray[np.int64]
) -> tuple[LinkPlan, ...]:
    """Fanouts from degrees.

    The facts that the target counts carry most of the signal: at the first hop they get 8 times the square root of
    their mean number, between 64 and 512. No link gets more than its 99th percentile, which would stay empty. Where
    the hops together would exceed ``BUDGET_ROWS``, those of later hops are halved until they fit.

    Args:
        snapshot: the rows.
        task: its entity and facts.
        edges: [num_edges] both directions of every link.
        fanout: [num_edges, num_hops] of the settings.
    """
    degrees = [_degrees(snapshot, edge) for edge in edges]
    wanted = np.array(fanout)
    reasons = [_first_wish(task, edge, degrees[i], wanted[i]) for i, edge in enumerate(edges)]
    halved = _fit_budget(task.entity, edges, degrees, wanted)
    plans = []
    for i, edge in enumerate(edges):
        found = degrees[i]
        why = reasons[i]
        if i in halved:
            why += f"; halved at hop {halved[i]}, so that a sub-graph stays near {BUDGET_ROWS:,} rows"
        p50, p90, p99 = (
            (math.ceil(value) for value in np.quantile(found, (0.5, 0.9, 0.99))) if len(found) else (0, 0, 0)
        )
        mean, most = (float(found.mean()), int(found.max())) if len(found) else (0.0, 0)
        now, suggested = (tuple(int(k) for k in row) for row in (fanout[i], wanted[i]))
        plans.append(LinkPlan(edge.name, round(mean, 2), p50, p90, p99, most, now, suggested, why))
    return tuple(plans)


def _degrees(snapshot: Snapshot, edge: EdgeType) -> NDArray[np.int64]:
    """[rows of edge.table] how many rows each leads to."""
    link = snapshot.links[edge.link]
    if edge.reverse:
        return np.diff(link.offsets)
    return (link.forward >= 0).astype(np.int64)


def _first_wish(task: Task, edge: EdgeType, degrees: NDArray[np.int64], wanted: NDArray[np.int64]) -> str:
    """Put the wish for one edge type into its row of fanouts and say why."""
    if not edge.reverse:
        return "a foreign key leads to one row at most"
    if not wanted.any() or not len(degrees):
        return "skipped by the settings"
    p90, p99 = (math.ceil(value) for value in np.quantile(degrees, (0.9, 0.99)))
    why = f"nine in ten rows have {p90:,} or fewer"
    if edge.table == task.entity and edge.other in task.fact_tables:
        inferred = math.ceil(8 * math.sqrt(float(degrees.mean())))
        wanted[0] = min(max(inferred, INFERRED_LOW), INFERRED_HIGH)
        why = f"the target's own facts: 8 times the square root of their mean number is {inferred:,}"
    for hop in range(len(wanted)):
        if wanted[hop] > max(p99, 1):
            wanted[hop] = max(p99, 1)
            why += f"; no more than the 99th percentile, {p99:,}" if "99th" not in why else ""
        elif wanted[hop] < 0 and p99 > INFERRED_HIGH:
            wanted[hop] = INFERRED_HIGH
            why += f"; 'all' would take up to {int(degrees.max()):,}"
    return why


def _fit_budget(
    entity: str, edges: Sequence[EdgeType], degrees: Sequence[NDArray[np.int64]], wanted: NDArray[np.int64]
) -> dict[int, int]:
    """Halve the largest fanout of the last hop that may be until the expected sub-graph fits; edge → hop."""
    halved: dict[int, int] = {}
    while _expected_rows(entity, edges, degrees, wanted) > BUDGET_ROWS:
        places = [
            (hop, wanted[i, hop], i)
            for i, edge in enumerate(edges)
            if edge.reverse
            for hop in range(1, wanted.shape[1])
            if wanted[i, hop] > 2
        ]
        if not places:
            return halved
        hop, _, i = max(places)
        wanted[i, hop] = max(2, wanted[i, hop] // 2)
        halved[i] = hop + 1
    return halved


def _expected_rows(
    entity: str, edges: Sequence[EdgeType], degrees: Sequence[NDArray[np.int64]], wanted: NDArray[np.int64]
) -> float:
    """Rows of the tree of a seed with many facts: its first hop at the 99th percentile, later ones at their mean.

    A row is reached along an edge in proportion to its own degree, so later means are those of reached rows.
    """
    front = {entity: 1.0}
    total = 1.0
    for hop in range(wanted.shape[1]):
        found: dict[str, float] = {}
        for i, edge in enumerate(edges):
            k = wanted[i, hop]
            if not front.get(edge.table) or k == 0 or not len(degrees[i]):
                continue
            taken = np.minimum(degrees[i], k) if k > 0 else degrees[i]
            each = float(np.quantile(taken, 0.99)) if hop == 0 else float(taken.mean())
            found[edge.other] = found.get(edge.other, 0.0) + front[edge.table] * each
        total += sum(found.values())
        front = found
    return total


def _cost(settings: TaskSettings, snapshot: Snapshot, prepared: Prepared, dry: Examples) -> Cost:
    """Sample, gather and step a few batches and count what they hold."""
    train = settings.train
    trainer = new_trainer(snapshot, prepared, settings)
    sampler = trainer.loader.trees(1)
    history = trainer.loader.history
    spec = prepared.features.spec if history is None else history.spec.features(prepared.features.spec)
    network, optimizer = trainer.network, trainer.optimizer
    num = len(dry.seeds)
    size = num // DRY_STEPS or num
    seconds = np.zeros((0, 3))
    sizes: list[tuple[Floats, Floats]] = []
    num_bytes = 0
    for start in range(0, size * (num // size), size):
        part = dry.take(np.arange(start, start + size))
        begun = time.perf_counter()
        batch = sampler.sample(part.seeds)
        sampled = time.perf_counter()
        inputs = trainer.loader.inputs_of(batch)
        gathered = time.perf_counter()
        loss = trainer.loss_of(inputs, part)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        done = time.perf_counter()
        seconds = np.vstack([seconds, [sampled - begun, gathered - sampled, done - gathered]])
        sizes.append(_sizes(batch))
        num_bytes = max(num_bytes, _batch_bytes(batch, spec) // max(size, 1))
    sample_s, gather_s, step_s = seconds.min(axis=0)  # the first batch warms up
    rows, edges = (np.concatenate(found) for found in zip(*sizes, strict=True))
    num_labels = int((prepared.labels.split == 0).sum())
    num_batches = min(math.ceil(num_labels / train.batch_size), train.max_steps_per_epoch)
    scale = min(train.batch_size, num_labels) / size
    ssd = _folder_bytes(snapshot.folder) + _folder_bytes(prepared.features.folder)
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    threads = train.num_threads or 1
    in_flight = int(num_bytes * min(train.batch_size, num_labels) * (threads + 2))
    (rows_p50, rows_p99), (edges_p50, edges_p99) = (np.quantile(found, (0.5, 0.99)) for found in (rows, edges))
    return Cost(
        rows_p50=int(rows_p50),
        rows_p99=int(rows_p99),
        rows_most=int(rows.max()),
        edges_p50=int(edges_p50),
        edges_p99=int(edges_p99),
        bytes_per_seed=num_bytes,
        ram_bytes=ssd + in_flight + 4 * weights,
        ssd_bytes=ssd,
        sample_s=round(float(sample_s * scale), 5),
        gather_s=round(float(gather_s * scale), 5),
        step_s=round(float(step_s * scale), 5),
        num_batches=num_batches,
        epoch_s=round(float(num_batches * scale * max(step_s, (sample_s + gather_s) / threads)), 3),
    )


def _sizes(batch: Batch) -> tuple[Floats, Floats]:
    """Rows and edges of the tree of each seed."""
    rows = np.zeros(len(batch.seeds))
    for seed in batch.seed.values():
        rows += np.bincount(seed, minlength=len(batch.seeds))
    return rows, rows - 1  # a tree


def _batch_bytes(batch: Batch, spec: FeatureSpec) -> int:
    """Bytes of the features of all rows of a batch."""
    total = 0
    for name, rows in batch.rows.items():
        own = spec.table(name)
        width = 4 * own.numeric_width + 8 * len(own.categorical) + 4 * (1 + len(own.instants))  # as the model reads
        total += len(rows) * (width + 12)  # its row and its seed
    return total


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
