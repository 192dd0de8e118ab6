"""Triple: training of a knowledge graph's vectors: each question against all rows, or against rows drawn for a batch.

The loss is the cross-entropy of every fact's answer among all rows ("1-vs-all", Ruffinelli et al. 2020, "You CAN teach
an old dog new tricks!"). Facts with the same question are learnt together, since they share their scores. Where rows
are drawn, those drawn stand for all others in the sum of the softmax. A batch touches few rows, so only these are
updated, by Adagrad (Duchi et al. 2011).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kincast.errors import TrainError
from kincast.model.network import weights_of
from kincast.model.triple import TripleNetwork
from kincast.progress import Progress, silent
from kincast.project import TrainSettings
from kincast.query.answers import Answers
from kincast.train.checkpoint import Checkpoint, load_checkpoint, remove_checkpoint, save_checkpoint
from kincast.train.loop import Fit, rate_at

MOST_ROWS = 20_000
"""Rows up to which all are candidates where the settings do not say."""
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Step:
    """A batch: the rows it touches, and who asks for what among them.

    Attributes:
        rows: [u] int64 the rows touched, ascending.
        codes: [c] int64 the codes of relations touched, ascending.
        head, code: [b] int64 places of each question's row and relation among these.
        owner, answer: [p] int64 each fact's question and the place of its answer.
        drawn: [m] int64 places of the rows drawn; None where all rows are held against the answers.
        known: pairs [k], [k] of a question and a candidate that answers it, so that it is no wrong one; None with all.
    """

    rows: Tensor
    codes: Tensor
    head: Tensor
    code: Tensor
    owner: Tensor
    answer: Tensor
    drawn: Tensor | None = None
    known: tuple[Tensor, Tensor] | None = None


class TripleTrainer:
    """One training run.

    Args:
        network: initialised by the run's seed.
        answers: the training facts, both ways.
        settings: of the run.
        dropout: share of the numbers of questions dropped.
        value: the validation metric of the network as it is; more is better.
        metric: its name.
        folder: where the checkpoint lies.
        fingerprint: names the data, plan and code; a checkpoint of another one is not resumed.
    """

    def __init__(
        self,
        network: TripleNetwork,
        answers: Answers,
        settings: TrainSettings,
        dropout: float,
        value: Callable[[], float],
        metric: str,
        folder: Path,
        fingerprint: str,
    ) -> None:
        self.network, self.answers, self.settings, self.dropout = network, answers, settings, dropout
        self.value, self.metric, self.folder, self.fingerprint = value, metric, folder, fingerprint
        self.num_rows = len(network.rows)
        usual = "all" if self.num_rows <= MOST_ROWS else "uniform"
        self.draws = (settings.negatives or usual) != "all" and settings.num_negatives < self.num_rows
        self.squares = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
        self.fit = Fit()

    def run(
        self,
        *,
        stop: Callable[[Fit], bool] = lambda fit: False,
        resume: bool = False,
        progress: Progress = silent,
    ) -> Fit:
        """Train until the validation metric has not improved for ``patience`` epochs, or the epochs are over.

        Raises:
            TrainError: the loss is no number.
            StorageError: the disk refused a checkpoint.
        """
        if resume:
            self._restore()
        else:
            remove_checkpoint(self.folder)
        last = min(self.settings.max_epochs, self.settings.stop_after or self.settings.max_epochs)
        while len(self.fit.epochs) < last and not self._has_stalled() and not (self.fit.epochs and stop(self.fit)):
            self._train_epoch(len(self.fit.epochs) + 1, progress)
            self._save()
        return self.fit

    def _train_epoch(self, epoch: int, progress: Progress) -> None:
        started = time.monotonic()
        random = np.random.default_rng((self.settings.seed, epoch))
        torch.manual_seed((self.settings.seed * 1_000_003 + epoch) % 2**63)
        size = self.settings.batch_size
        order = random.permutation(len(self.answers))
        num = min(-(-len(order) // size), self.settings.max_steps_per_epoch)
        total, losses = num * self.settings.max_epochs, 0.0
        for batch in range(num):
            places = order[batch * size : (batch + 1) * size]
            rate = self.settings.learning_rate * rate_at((epoch - 1) * num + batch, total)
            losses += self._step(self._draw(places, random), rate)
            progress(f"epoch {epoch} of at most {self.settings.max_epochs}", batch + 1, num)
        if not np.isfinite(losses):
            rate = self.settings.learning_rate
            raise TrainError(f"the loss ran away in epoch {epoch}", hint=f"lower train.learning_rate (now {rate:g})")
        seconds = time.monotonic() - started
        value = self.value()
        best = self.fit.epochs[self.fit.best_epoch - 1][self.metric] if self.fit.best_epoch else -np.inf
        words = {"epoch": epoch, "loss": losses / num, self.metric: value}
        self.fit.epochs.append({**words, "seconds": round(seconds, 3), "idle": 0.0, "rescues": 0})
        if value > best:
            self.fit.best_epoch = epoch
            self.fit.weights = {name: torch.from_numpy(array) for name, array in weights_of(self.network).items()}

    def _draw(self, places: Int64s, random: np.random.Generator) -> Step:
        """The batch of the questions at those places."""
        rows, codes = np.divmod(self.answers.questions[places], len(self.network.relations))
        owner, answers = self.answers.at(places)
        touched, code = np.unique(codes, return_inverse=True)
        drawn, known = None, None
        if self.draws:
            sample = np.sort(random.choice(self.num_rows, self.settings.num_negatives, replace=False))
            column = np.searchsorted(sample, answers)
            hit = sample[np.minimum(column, len(sample) - 1)] == answers
            known = torch.from_numpy(owner[hit]), torch.from_numpy(column[hit])
            used, place = np.unique(np.concatenate([sample, rows, answers]), return_inverse=True)
            among, rows, answers = np.split(place, [len(sample), len(sample) + len(rows)])
            drawn = torch.from_numpy(among)
        else:
            used = np.arange(self.num_rows)
        return Step(
            rows=torch.from_numpy(used),
            codes=torch.from_numpy(touched),
            head=torch.from_numpy(rows),
            code=torch.from_numpy(code),
            owner=torch.from_numpy(owner),
            answer=torch.from_numpy(answers),
            drawn=drawn,
            known=known,
        )

    def _step(self, step: Step, rate: float) -> float:
        """One step of the optimiser; the mean loss of a fact."""
        network = self.network
        with torch.no_grad():
            rows, relations = network.rows[step.rows], network.relations[step.codes]
        rows.requires_grad_()
        relations.requires_grad_()
        head, relation, answers = rows[step.head], relations[step.code], rows[step.answer]
        asked = network.asked(functional.dropout(head, self.dropout), functional.dropout(relation, self.dropout))
        each = network.score_each(asked[step.owner], answers)
        wrong = network.scores(asked, rows if step.drawn is None else rows[step.drawn])
        counts = torch.bincount(step.owner, minlength=len(asked)).float()
        loss = (counts * self._log_sum(step, each, wrong, counts)).sum() - each.sum()
        cubes = network.cubes(answers).sum() + counts @ (network.cubes(head) + network.cubes(relation))
        mean = (loss + self.settings.n3 * cubes) / counts.sum()
        mean.backward()  # type: ignore[no-untyped-call]
        self._update("rows", step.rows, rows.grad, rate)
        self._update("relations", step.codes, relations.grad, rate)
        return float(loss.detach() / counts.sum())

    def _log_sum(self, step: Step, each: Tensor, wrong: Tensor, counts: Tensor) -> Tensor:
        """[b] logarithm of the sum of the exponentials of all rows' scores, or an estimate from those drawn.

        log(Σ own answers + (rows - own answers) / drawn · Σ drawn)
        """
        if step.drawn is None or step.known is None:
            return torch.logsumexp(wrong, 1)
        wrong = wrong.index_put(step.known, torch.tensor(-torch.inf))
        top = each.detach().max()
        own = torch.zeros_like(counts).index_add(0, step.owner, (each - top).exp()).clamp(min=1e-30).log() + top
        shares = (self.num_rows - counts).clamp(min=1) / wrong.shape[1]
        return torch.logaddexp(own, torch.logsumexp(wrong, 1) + shares.log())

    def _update(self, name: str, places: Tensor, gradient: Tensor | None, rate: float) -> None:
        """Adagrad on some rows of the weights."""
        assert gradient is not None
        weights: Tensor = getattr(self.network, name)
        with torch.no_grad():
            squares = self.squares[name][places] + gradient**2
            self.squares[name][places] = squares
            weights[places] -= rate * gradient / (squares.sqrt() + 1e-10)

    def _has_stalled(self) -> bool:
        return self.fit.best_epoch > 0 and len(self.fit.epochs) - self.fit.best_epoch >= self.settings.patience

    def _save(self) -> None:
        tensors = {f"weights/{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.fit.weights.items()}
        tensors |= {f"squares/{name}": tensor for name, tensor in self.squares.items()}
        state = {"fingerprint": self.fingerprint, "best_epoch": self.fit.best_epoch, "epochs": self.fit.epochs}
        save_checkpoint(self.folder, Checkpoint(tensors, state))

    def _restore(self) -> None:
        checkpoint = load_checkpoint(self.folder)
        if checkpoint is None or checkpoint.state.get("fingerprint") != self.fingerprint:
            return
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "squares": {}}
        for name, tensor in checkpoint.tensors.items():
            part, _, own = name.partition("/")
            parts[part][own] = tensor
        self.network.load_state_dict(parts["weights"])
        self.squares = parts["squares"]
        self.fit = Fit(parts["best"], checkpoint.state["best_epoch"], checkpoint.state["epochs"])
