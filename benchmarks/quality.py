"""Quality: clock and processor seconds until the validation metric that RelBench's reference model reaches.

Two Formula 1 tasks (rolling) and churn in the demo's shop. The reference is a heterogeneous GraphSAGE of PyTorch
Geometric's layers, as RelBench trains it: HeteroConv of SAGEConv with sums, two layers, layer norm. It has our width,
our encoder of a table's columns, our loader (``Batch.to_pyg``), our optimiser and our steps, so that only the layers
differ, and all threads that torch takes by itself. Its goal is the best metric of its epochs; we are timed until we are
at least as good: the network, and, in a race of their own, the models on aggregates that it is blended with, from
labels to scores. Validation is not timed. The network is trained without dropout, as the reference is. On a busy
machine only seconds of processor time can be compared, and those not well.

    python benchmarks/quality.py
    python benchmarks/quality.py --tasks dnf-rolling --seeds 3
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, LayerNorm, SAGEConv

from kincast.card import read_card
from kincast.graph.build import build_snapshot
from kincast.graph.snapshot import Snapshot
from kincast.model.encode import TableEncoder
from kincast.model.inputs import Inputs
from kincast.model.network import Scores
from kincast.model.score import InputLoader
from kincast.model.threads import limit_threads
from kincast.project import Project, TaskSettings, read_project
from kincast.sample.batch import Batch
from kincast.sample.edge import edge_types
from kincast.sample.hetero import relation
from kincast.source.infer import infer_schema
from kincast.source.open import open_source
from kincast.train.boost import fit_trees
from kincast.train.judge import Judge
from kincast.train.linear import fit_linear
from kincast.train.loop import Examples, Trainer
from kincast.train.metric import is_better
from kincast.train.prepare import Prepared, examples, new_aggregator, new_loader, prepare, settled, training_examples
from kincast.train.run import new_trainer

HERE = Path(__file__).resolve().parent
SHOP = HERE.parent / "examples" / "shop"
TASKS = {"dnf-rolling": HERE / "f1", "top3-rolling": HERE / "f1", "churn": SHOP}
WORDS = (
    "clock seconds of the network to the reference's best",
    "processor seconds of the same",
    "clock seconds of the first of network, linear model and LightGBM",
)


@dataclass(frozen=True, slots=True)
class PygInputs:
    """What the reference reads: our features and PyG's graph.

    Attributes:
        inputs: of the trees.
        graph: their edges.
    """

    inputs: Inputs
    graph: HeteroData

    @property
    def num_seeds(self) -> int:
        """How many."""
        return self.inputs.num_seeds


class PygLoader(InputLoader):
    """Our loader, with PyG's graph beside each batch."""

    def _shared_inputs_of(self, batch: Batch) -> Any:
        return PygInputs(self.inputs_of(batch), batch.to_pyg())


class Reference(nn.Module):
    """RelBench's GraphSAGE over our encoders."""

    def __init__(self, snapshot: Snapshot, prepared: Prepared, settings: TaskSettings) -> None:
        super().__init__()
        width, schema = settings.model.channels, snapshot.schema
        self.tables = [table.name for table in schema]
        kinds = self.kinds = [(edge.other, relation(edge), edge.table) for edge in edge_types(schema)]
        self.encoders = nn.ModuleDict(
            {name: TableEncoder(prepared.features.spec.table(name), width) for name in self.tables}
        )
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for _ in range(settings.model.num_hops):
            convs = {kind: SAGEConv((width, width), width, aggr="sum") for kind in kinds}
            self.convs.append(HeteroConv(convs, aggr="sum"))
            self.norms.append(nn.ModuleDict({name: LayerNorm(width, mode="node") for name in self.tables}))
        self.head = nn.Linear(width, prepared.objective.num_outputs)

    def forward(self, batch: PygInputs) -> Scores:
        """Scores of the batch's seeds."""
        hidden: dict[str, Tensor] = {name: self.encoders[name](table) for name, table in batch.inputs.tables.items()}
        none = torch.zeros(2, 0, dtype=torch.int64)  # as PyG's own loader has it for types without an edge
        edges = {kind: batch.graph.edge_index_dict.get(kind, none) for kind in self.kinds}
        for conv, norms in zip(self.convs, self.norms, strict=True):
            heard = conv(hidden, edges)
            hidden = {name: norms[name](rows).relu() for name, rows in heard.items()}
        embeddings = hidden[batch.inputs.seed_table][: batch.num_seeds]
        return Scores(self.head(embeddings), embeddings)


class TimedTrainer(Trainer):
    """A training that notes, after each epoch, the seconds of training so far."""

    def _train_epoch(self, *arguments: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        super()._train_epoch(*arguments)
        before = self.spent[-1] if self.spent else (0.0, 0.0)
        self.spent.append((before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu))

    def timed(self, train: Examples, validation: Examples) -> list[tuple[float, float, float]]:
        """Validation metric, clock and processor seconds after each epoch."""
        self.spent: list[tuple[float, float]] = []
        epochs = self.run(train, validation).epochs
        return [(epoch[self.metric], *spent) for epoch, spent in zip(epochs, self.spent, strict=True)]


class PygTrainer(TimedTrainer):
    """The same for the reference, whose batches are whole."""

    takes_parts = False


def compare(project: Project, name: str, snapshot: Snapshot, options: argparse.Namespace) -> None:
    """Train both with every seed and print a line for each seed."""
    _, settings = project.task(name)
    prepared = prepare(project, name, snapshot)
    settings = settled(settings, snapshot, prepared)
    train, validation = training_examples(prepared, settings), examples(prepared.labels.of(1))
    print(f"\n{name}: {len(train.seeds):,} training rows, {prepared.judge.decides} on {len(validation.seeds):,}")
    ratios = []
    for seed in range(options.seeds):
        plan = settings.train.model_copy(update={"seed": seed})
        own = settings.model_copy(update={"train": plan})
        with tempfile.TemporaryDirectory() as folder:
            torch.set_num_threads(os.cpu_count() or 1)
            theirs = reference(snapshot, prepared, own, Path(folder)).timed(train, validation)
            limit_threads()
            trainer = new_trainer(snapshot, prepared, own, Path(folder))
            trainer.__class__ = TimedTrainer
            assert isinstance(trainer, TimedTrainer)
            ours = trainer.timed(train, validation)
        metric = trainer.metric
        goal = theirs[0]
        for epoch in theirs:
            goal = epoch if is_better(metric, epoch[0], goal[0]) else goal
        there = next((epoch for epoch in ours if epoch[0] == goal[0] or is_better(metric, epoch[0], goal[0])), None)
        tables = on_aggregates(snapshot, prepared, own, seed)
        table = next((one for one in tables.values() if is_better(metric, one[0], goal[0])), None)
        best = ours[0]
        for epoch in ours:
            best = epoch if is_better(metric, epoch[0], best[0]) else best
        print(
            f"  seed {seed}: reference {metric} {goal[0]:.4f} after {goal[2]:.1f} CPU-s, {goal[1]:.1f} s; "
            + (f"ours {there[0]:.4f} after {there[2]:.2f} CPU-s, {there[1]:.2f} s" if there else "ours NOT REACHED")
            + f"; our best {best[0]:.4f}; a whole epoch {theirs[-1][2] / len(theirs):.2f} and "
            f"{ours[-1][2] / len(ours):.2f} CPU-s",
            flush=True,
        )
        for model, (value, wall, cpu) in tables.items():
            print(f"          {model} {value:.4f} after {cpu:.2f} CPU-s, {wall:.2f} s", flush=True)
        ratios.append([goal[1] / there[1] if there else 0.0, goal[2] / there[2] if there else 0.0])
        ratios[-1].append(goal[1] / min(one[1] for one in (there, table) if one) if there or table else 0.0)
    for words, column in zip(WORDS, zip(*ratios, strict=True), strict=True):
        print(
            f"  reference / ours, {words}: {', '.join(f'{ratio:.1f}' if ratio else 'not reached' for ratio in column)}"
        )


def on_aggregates(
    snapshot: Snapshot, prepared: Prepared, settings: TaskSettings, seed: int
) -> dict[str, tuple[float, float, float]]:
    """Validation metric, clock and processor seconds of the models on aggregates, the aggregates included."""
    assert isinstance(prepared.judge, Judge)
    labels = prepared.labels.where(prepared.labels.split < 2)
    held = labels.split == 1
    wall, cpu = time.perf_counter(), time.process_time()
    aggregates = new_aggregator(snapshot, prepared, settings).of(examples(labels).seeds, os.cpu_count() or 1)
    made = time.perf_counter() - wall, time.process_time() - cpu
    found = {}
    for name, fit in (
        ("linear model", lambda: fit_linear(labels, aggregates, prepared.judge, seed=seed)[0]),
        ("LightGBM", lambda: fit_trees(labels, aggregates, seed=seed)),
    ):
        wall, cpu = time.perf_counter() - made[0], time.process_time() - made[1]
        model = fit()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        found[name] = (prepared.judge.value(labels.target[held], model.score(aggregates.values[held])), *spent)
    return found


def reference(snapshot: Snapshot, prepared: Prepared, settings: TaskSettings, folder: Path) -> PygTrainer:
    """What trains the reference."""
    torch.manual_seed(settings.train.seed)
    loaders = []
    for split in (0, 1):
        loader = new_loader(snapshot, prepared, settings, split)
        loader.__class__ = PygLoader
        loaders.append(loader)
    network: Any = Reference(snapshot, prepared, settings)
    rest = (prepared.objective, prepared.judge, (loaders[0], loaders[1]), settings.train, folder, "")
    return PygTrainer(network, *rest)


@contextmanager
def opened(folder: Path, epochs: int) -> Iterator[tuple[Project, Snapshot]]:
    """A project in a folder of its own, with the plan of the comparison, and its snapshot."""
    project = read_project(folder)
    if folder == SHOP:
        project = project.model_copy(update={"source": str(SHOP)})
    source = open_source(project.source, folder)
    card = project.card_path
    schema = read_card(card) if card.exists() else infer_schema(source).schema
    tasks = {}
    for name, task in project.tasks.items():
        model = task.model.model_copy(update={"dropout": 0.0})
        train = task.train.model_copy(update={"max_epochs": epochs, "patience": epochs})
        tasks[name] = task.model_copy(update={"model": model, "train": train})
    with tempfile.TemporaryDirectory() as name:
        project = project.model_copy(update={"folder": Path(name), "tasks": tasks})
        yield project, build_snapshot(source, schema, project.snapshots)


def main() -> None:
    """Print both for every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    limit_threads()
    print(f"load {np.round(os.getloadavg(), 1).tolist()}, {torch.get_num_threads()} torch threads")
    for name in options.tasks.split(","):
        with opened(TASKS[name], options.epochs) as (project, snapshot):
            compare(project, name, snapshot, options)
    print(f"load {np.round(os.getloadavg(), 1).tolist()}")


if __name__ == "__main__":
    main()
