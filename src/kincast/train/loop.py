"""Loop: plain PyTorch training with early stopping, the same after a kill as without one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kincast.errors import TrainError
from kincast.model.inputs import Inputs
from kincast.model.joint import JointObjective
from kincast.model.link import LinkNetwork
from kincast.model.network import BODY, Network, weights_of
from kincast.model.objective import Objective
from kincast.model.score import InputLoader
from kincast.progress import Progress, silent
from kincast.project import TrainSettings
from kincast.query.encode import Lists
from kincast.sample.batch import Seeds
from kincast.train.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    packed,
    remove_checkpoint,
    restore_optimizer,
    save_checkpoint,
    unpacked,
)
from kincast.train.gradient import PartRunner
from kincast.train.group import Alone, Group
from kincast.train.guard import Guard, RanAwayError
from kincast.train.judge import JointJudge, Judge
from kincast.train.metric import is_better
from kincast.train.precision import products_in

WARM_UP = 0.05  # share of all steps in which the rate rises
MAX_VALIDATION_ROWS = 50_000
SAVE_EVERY_S = 30.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Examples:
    """Seeds with their targets.

    Attributes:
        seeds: rows with their instants.
        target: [n] float64 class codes or values, [n, k] steps or several targets, or [n] lists of codes or rows.
        weight: [n] float64 how much each counts; None where all count alike.
    """

    seeds: Seeds
    target: Floats | Lists
    weight: Floats | None = None

    def take(self, index: NDArray[np.int64]) -> Examples:
        """The examples at those positions, in that order."""
        target = self.target.take(index) if isinstance(self.target, Lists) else self.target[index]
        return Examples(self.seeds.take(index), target, None if self.weight is None else self.weight[index])


@dataclass(slots=True)
class Fit:
    """What training found.

    Attributes:
        weights: of the best epoch.
        best_epoch: 1-based.
        epochs: per epoch: its number, training loss, validation metric, seconds of training, share of them in which
            the trainer waited for batches (``idle``), and how often the rate had been halved by then (``rescues``).
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    epochs: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """One training run.

    Args:
        network: initialised by the run's seed.
        objective: loss and scores.
        judge: which metric decides.
        loaders: seeds to inputs, of training and of validation.
        settings: of the run.
        folder: where the checkpoint lies.
        fingerprint: names the data, plan and code; a checkpoint of another one is not resumed.

    Attributes:
        group: those that train together; the first of them validates and writes the checkpoints.
    """

    group: Group = Alone()
    takes_parts = True

    def __init__(
        self,
        network: Network | LinkNetwork,
        objective: Objective | JointObjective,
        judge: Judge | JointJudge,
        loaders: tuple[InputLoader, InputLoader],
        settings: TrainSettings,
        folder: Path,
        fingerprint: str,
    ) -> None:
        self.network, self.objective, self.judge, self.settings = network, objective, judge, settings
        self.loader, self.validation_loader = loaders
        shared = self.loader.settings.neighbourhood == "shared"  # two halves would each sample nearly all rows
        self.num_parts = settings.num_parts if self.takes_parts and not shared else 1
        self.folder, self.fingerprint = folder, fingerprint
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        trunk = network.trunk if isinstance(network, LinkNetwork) else network
        self.body = [weight for name, weight in trunk.named_parameters() if name.startswith(BODY)]
        self.metric = judge.of_epochs
        self.fit = Fit()
        self.epoch, self.batch, self.loss_sum, self.seconds, self.waited = 1, 0, 0.0, 0.0, 0.0
        self.guard = Guard()
        self.good = _tensors(network)

    def run(
        self,
        train: Examples,
        validation: Examples | None,
        *,
        stop: Callable[[Fit], bool] = lambda fit: False,
        resume: bool = False,
        progress: Progress = silent,
    ) -> Fit:
        """Train until the validation metric has not improved for ``patience`` epochs, or the epochs are over.

        Args:
            train: drawn anew in every epoch.
            validation: decides which epoch is best; without any it is the last.
            stop: asked after each epoch whether to end there.
            resume: go on from the folder's checkpoint if it is of the same run.
            progress: told after each batch.

        Raises:
            TrainError: the loss runs away, also from good weights with an eighth of the rate.
            StorageError: the disk refused a checkpoint.
        """
        if self.group.rank == 0 and resume:
            self._restore(load_checkpoint(self.folder))
        elif self.group.rank == 0:
            remove_checkpoint(self.folder)
        self._agree()
        size = self.settings.batch_size
        num_batches = min(math.ceil(len(self._order(train)) / size), self.settings.max_steps_per_epoch)
        if validation is not None:
            validation = _at_most(validation, MAX_VALIDATION_ROWS, self.settings.seed)
        last = min(self.settings.max_epochs, self.settings.stop_after or self.settings.max_epochs)
        with PartRunner(self.network, self.num_parts, self.group) as self.runner:
            while self.epoch <= last and not self._has_stalled() and not (self.fit.epochs and stop(self.fit)):
                try:
                    with products_in(self.settings.precision):
                        self._train_epoch(train, num_batches, progress)
                except RanAwayError:
                    self._go_back()
                else:
                    if self.group.rank == 0:
                        self._end_epoch(num_batches, validation)
                    self._agree()
                self._save()
        return self.fit

    def _train_epoch(self, train: Examples, num_batches: int, progress: Progress) -> None:
        """The rest of an epoch; raises RanAwayError when the loss runs away."""
        started = time.monotonic() - self.seconds
        saved = time.monotonic()
        step = f"epoch {self.epoch} of at most {self.settings.max_epochs}"
        if self.guard.rescues:
            step += f", at {self.guard.rate:g} of the rate"
        asked = time.monotonic()
        for parts, examples in self._batches(train, num_batches):
            self.waited += time.monotonic() - asked
            self._step(parts, examples, num_batches)
            self.batch += 1
            self.seconds = time.monotonic() - started
            progress(step, self.batch, num_batches)
            if time.monotonic() - saved > SAVE_EVERY_S:
                self._save()
                saved = time.monotonic()
            asked = time.monotonic()

    def loss_of(self, inputs: Inputs, part: Examples) -> Tensor:
        """Mean loss of a batch."""
        return self._loss(self.network(inputs).outputs, part)

    def _loss(self, outputs: Tensor, part: Examples) -> Tensor:
        weight = None if part.weight is None else torch.from_numpy(part.weight).float()
        return self.objective.loss(outputs, self.objective.tensor(part.target), weight)

    def _backward(self, parts: tuple[Inputs, ...], examples: Examples) -> float:
        """Put the gradients of a batch into the weights; its mean loss."""
        if self.num_parts > 1:
            sizes = (len(examples.seeds), self.objective.num_outputs)
            return self.runner.backward(parts, *sizes, lambda outputs: self._loss(outputs, examples))
        loss = self.loss_of(parts[0], examples)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _order(self, train: Examples) -> NDArray[np.int64]:
        """Positions of this epoch's rows, in their order; the seed and the epoch alone decide."""
        random = np.random.default_rng((self.settings.seed, self.epoch))
        num = len(train.seeds)
        if self.settings.majority_ratio is not None and not isinstance(train.target, Lists):
            return _balanced(train.target, self.settings.majority_ratio, random)
        if self.settings.weights == "sample" and train.weight is not None:
            return random.choice(num, num, p=train.weight / train.weight.sum())
        return random.permutation(num)

    def _batches(self, train: Examples, num_batches: int) -> Iterator[tuple[tuple[Inputs, ...], Examples]]:
        """The rest of this epoch's batches; which rows they hold depends on the seed and the epoch alone."""
        size = self.settings.batch_size
        chosen = train.take(self._order(train)[self.batch * size : num_batches * size])
        if self.settings.weights == "sample":
            chosen = Examples(chosen.seeds, chosen.target)
        every = self.loader.parts(chosen.seeds, size, self.num_parts, redraw=self.epoch, own=self.runner.own)
        for number, parts in enumerate(every):
            yield parts, chosen.take(np.arange(number * size, min((number + 1) * size, len(chosen.seeds))))

    def _step(self, parts: tuple[Inputs, ...], examples: Examples, num_batches: int) -> None:
        """One step of the optimiser; RanAwayError, and no weight changed, when the loss has run away."""
        self.network.train()
        number = (self.epoch - 1) * num_batches + self.batch
        torch.manual_seed((self.settings.seed * 1_000_003 + number) % 2**63)  # a resumed run drops out the same
        rate = self.settings.learning_rate * self.guard.rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * rate_at(number, num_batches * self.settings.max_epochs)
        self.optimizer.zero_grad(set_to_none=True)
        value = self._backward(parts, examples)
        if self.epoch <= self.settings.freeze_body_epochs:
            for weight in self.body:
                weight.grad = None  # which the optimiser passes over
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm or math.inf)
        if self.guard.ran_away(value, float(norm)):
            raise RanAwayError
        self.optimizer.step()
        self.loss_sum += value

    def _go_back(self) -> None:
        """Begin the epoch anew from the weights it began with, at half the rate and without the optimiser's memory."""
        if not self.guard.rescue():
            rate = self.settings.learning_rate
            what = f"the loss ran away in epoch {self.epoch}, also at {self.guard.rate * 2:g} of the learning rate"
            raise TrainError(what, hint=f"lower train.learning_rate (now {rate:g}) or train.clip_norm")
        self.network.load_state_dict(self.good)
        self.optimizer.state.clear()
        self.batch, self.loss_sum = 0, 0.0

    def _end_epoch(self, num_batches: int, validation: Examples | None) -> None:
        value = float("nan")
        if validation is not None:
            scores, _ = self.validation_loader.score(self.network, self.objective, validation.seeds)
            value = self.judge.value(validation.target, scores)
        best = self.fit.epochs[self.fit.best_epoch - 1][self.metric] if self.fit.best_epoch else float("nan")
        self.fit.epochs.append(
            {
                "epoch": self.epoch,
                "loss": self.loss_sum / max(num_batches, 1),
                self.metric: value,
                "seconds": round(self.seconds, 3),
                "idle": round(self.waited / max(self.seconds, 1e-9), 3),
                "rescues": self.guard.rescues,
            }
        )
        if validation is None or self.fit.best_epoch == 0 or is_better(self.metric, value, best):
            self.fit.best_epoch = self.epoch
            self.fit.weights = _tensors(self.network)
        self.good = _tensors(self.network)
        self.epoch, self.batch, self.loss_sum, self.seconds, self.waited = self.epoch + 1, 0, 0.0, 0.0, 0.0

    def _has_stalled(self) -> bool:
        return self.fit.best_epoch > 0 and self.epoch - 1 - self.fit.best_epoch >= self.settings.patience

    def _save(self) -> None:
        if self.group.rank == 0:
            save_checkpoint(self.folder, self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        tensors = {f"weights/{name}": tensor for name, tensor in _tensors(self.network).items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.fit.weights.items()}
        tensors |= {f"good/{name}": tensor for name, tensor in self.good.items()}
        tensors |= optimizer_tensors(self.network, self.optimizer)
        state: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "seconds": self.seconds,
            "waited": self.waited,
            "guard": self.guard.as_dict(),
            "best_epoch": self.fit.best_epoch,
            "epochs": self.fit.epochs,
        }
        return Checkpoint(tensors, state)

    def _agree(self) -> None:
        """Make every process of the group stand where the first of them stands."""
        if self.group.size > 1:
            data = self.group.first(packed(self._checkpoint()) if self.group.rank == 0 else b"")
            if self.group.rank > 0 and not self._restore(unpacked(data)):
                what = f"process {self.group.rank} trains something else than the first one"
                raise TrainError(what, hint="all machines need the same folder, snapshot and version of Kincast")

    def _restore(self, checkpoint: Checkpoint | None) -> bool:
        """Go on from a checkpoint; False where it is none or of another run."""
        if checkpoint is None or checkpoint.state.get("fingerprint") != self.fingerprint:
            return False
        tensors, state = checkpoint.tensors, checkpoint.state
        self.network.load_state_dict(_under("weights/", tensors))
        restore_optimizer(self.network, self.optimizer, tensors)
        self.fit = fit_of(checkpoint)
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.loss_sum, self.seconds, self.waited = state["loss_sum"], state["seconds"], state["waited"]
        self.good, self.guard = _under("good/", tensors), Guard(**state["guard"])
        return True


def fit_of(checkpoint: Checkpoint) -> Fit:
    """What training has found by then."""
    return Fit(_under("best/", checkpoint.tensors), checkpoint.state["best_epoch"], checkpoint.state["epochs"])


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights by name."""
    return {name: torch.from_numpy(array) for name, array in weights_of(network).items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def rate_at(step: int, total: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth."""
    warm = max(1, int(WARM_UP * total))
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.475 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _at_most(examples: Examples, most: int, seed: int) -> Examples:
    if len(examples.seeds) <= most:
        return examples
    chosen = np.random.default_rng(seed).choice(len(examples.seeds), most, replace=False)
    return examples.take(np.sort(chosen))


def _balanced(target: Floats, ratio: float, random: np.random.Generator) -> NDArray[np.int64]:
    """[m] positions of all rows but some of the most frequent class, so that it has ``ratio`` rows for each other."""
    codes = target.astype(np.int64)
    major = int(np.bincount(codes).argmax())
    rest, many = np.flatnonzero(codes != major), np.flatnonzero(codes == major)
    kept = random.choice(many, min(len(many), max(1, round(ratio * len(rest)))), replace=False)
    return random.permutation(np.concatenate([rest, kept]))
