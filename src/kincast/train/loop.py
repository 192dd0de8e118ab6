"""Loop: plain PyTorch training with early stopping, the same after a kill as without one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
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
from kincast.model.network import Network, weights_of
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
    remove_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from kincast.train.judge import JointJudge, Judge
from kincast.train.metric import is_better

CLIP_NORM = 1.0
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
        epochs: per epoch: its number, training loss, validation metric, seconds.
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
    """

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
        self.folder, self.fingerprint = folder, fingerprint
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.metric = judge.of_epochs
        self.fit = Fit()
        self.epoch, self.batch, self.loss_sum, self.seconds = 1, 0, 0.0, 0.0

    def run(self, train: Examples, validation: Examples, *, resume: bool = False, progress: Progress = silent) -> Fit:
        """Train until the validation metric has not improved for ``patience`` epochs, or the epochs are over.

        Args:
            train: drawn anew in every epoch.
            validation: decides which epoch is best.
            resume: go on from the folder's checkpoint if it is of the same run.
            progress: told after each batch.

        Raises:
            TrainError: the loss is no longer a number.
            StorageError: the disk refused a checkpoint.
        """
        if resume:
            self._restore()
        else:
            remove_checkpoint(self.folder)
        size = self.settings.batch_size
        num_batches = min(math.ceil(len(self._order(train)) / size), self.settings.max_steps_per_epoch)
        validation = _at_most(validation, MAX_VALIDATION_ROWS, self.settings.seed)
        while self.epoch <= self.settings.max_epochs and not self._has_stalled():
            self._train_epoch(train, num_batches, progress)
            self._end_epoch(num_batches, validation)
            self._save()
        return self.fit

    def _train_epoch(self, train: Examples, num_batches: int, progress: Progress) -> None:
        started = time.monotonic() - self.seconds
        saved = time.monotonic()
        step = f"epoch {self.epoch} of at most {self.settings.max_epochs}"
        for inputs, part in self._batches(train, num_batches):
            self._step(inputs, part, num_batches)
            self.batch += 1
            self.seconds = time.monotonic() - started
            progress(step, self.batch, num_batches)
            if time.monotonic() - saved > SAVE_EVERY_S:
                self._save()
                saved = time.monotonic()

    def loss_of(self, inputs: Inputs, part: Examples) -> Tensor:
        """Mean loss of a batch."""
        objective = self.objective
        weight = None if part.weight is None else torch.from_numpy(part.weight).float()
        target = objective.tensor(part.target)
        return objective.loss(self.network(inputs).outputs, target, weight)

    def _order(self, train: Examples) -> NDArray[np.int64]:
        """Positions of this epoch's rows, in their order; the seed and the epoch alone decide."""
        random = np.random.default_rng((self.settings.seed, self.epoch))
        num = len(train.seeds)
        if self.settings.majority_ratio is not None and not isinstance(train.target, Lists):
            return _balanced(train.target, self.settings.majority_ratio, random)
        if self.settings.weights == "sample" and train.weight is not None:
            return random.choice(num, num, p=train.weight / train.weight.sum())
        return random.permutation(num)

    def _batches(self, train: Examples, num_batches: int) -> Iterator[tuple[Inputs, Examples]]:
        """The rest of this epoch's batches; which rows they hold depends on the seed and the epoch alone."""
        size = self.settings.batch_size
        chosen = train.take(self._order(train)[self.batch * size : num_batches * size])
        if self.settings.weights == "sample":
            chosen = Examples(chosen.seeds, chosen.target)
        done = 0
        for inputs in self.loader.batches(chosen.seeds, size, redraw=self.epoch):
            yield inputs, chosen.take(np.arange(done, done + inputs.num_seeds))
            done += inputs.num_seeds

    def _step(self, inputs: Inputs, part: Examples, num_batches: int) -> None:
        self.network.train()
        number = (self.epoch - 1) * num_batches + self.batch
        torch.manual_seed((self.settings.seed * 1_000_003 + number) % 2**63)  # a resumed run drops out the same
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * _rate(number, num_batches * self.settings.max_epochs)
        loss = self.loss_of(inputs, part)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainError(
                f"the loss is {value} at epoch {self.epoch}, batch {self.batch + 1}",
                hint=f"lower train.learning_rate (now {self.settings.learning_rate})",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.loss_sum += value

    def _end_epoch(self, num_batches: int, validation: Examples) -> None:
        scores, _ = self.validation_loader.score(self.network, self.objective, validation.seeds)
        value = self.judge.value(validation.target, scores)
        best = self.fit.epochs[self.fit.best_epoch - 1][self.metric] if self.fit.best_epoch else float("nan")
        self.fit.epochs.append(
            {
                "epoch": self.epoch,
                "loss": self.loss_sum / max(num_batches, 1),
                self.metric: value,
                "seconds": round(self.seconds, 3),
            }
        )
        if self.fit.best_epoch == 0 or is_better(self.metric, value, best):
            self.fit.best_epoch = self.epoch
            self.fit.weights = {name: torch.from_numpy(array) for name, array in weights_of(self.network).items()}
        self.epoch, self.batch, self.loss_sum, self.seconds = self.epoch + 1, 0, 0.0, 0.0

    def _has_stalled(self) -> bool:
        return self.fit.best_epoch > 0 and self.epoch - 1 - self.fit.best_epoch >= self.settings.patience

    def _save(self) -> None:
        tensors = {f"weights/{name}": torch.from_numpy(array) for name, array in weights_of(self.network).items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.fit.weights.items()}
        tensors |= optimizer_tensors(self.network, self.optimizer)
        state: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "seconds": self.seconds,
            "best_epoch": self.fit.best_epoch,
            "epochs": self.fit.epochs,
        }
        save_checkpoint(self.folder, Checkpoint(tensors, state))

    def _restore(self) -> None:
        checkpoint = load_checkpoint(self.folder)
        if checkpoint is None or checkpoint.state.get("fingerprint") != self.fingerprint:
            return
        tensors, state = checkpoint.tensors, checkpoint.state
        self.network.load_state_dict(_under("weights/", tensors))
        restore_optimizer(self.network, self.optimizer, tensors)
        self.fit = Fit(_under("best/", tensors), state["best_epoch"], state["epochs"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.loss_sum, self.seconds = state["loss_sum"], state["seconds"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _rate(step: int, total: int) -> float:
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
