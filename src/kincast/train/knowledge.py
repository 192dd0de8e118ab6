"""Knowledge: facts of several relations learnt and judged: those of training are read, others only filter ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kincast.model.answer import ScoreAll, filtered_ranks, score_all
from kincast.model.triple import TripleNetwork
from kincast.progress import Progress, silent
from kincast.project import TaskSettings
from kincast.query.answers import Answers
from kincast.query.labels import Labels
from kincast.query.split import SPLITS
from kincast.query.triple import both_ways, width_of
from kincast.registry.version import Cohort
from kincast.train.compare import Comparison
from kincast.train.judge import Judge
from kincast.train.loop import Fit
from kincast.train.prepare import Prepared
from kincast.train.triple import TripleTrainer

MOST_JUDGED = 5_000
"""Questions that the best epoch is chosen by, at most."""
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Exam:
    """The facts of a split, asked both ways.

    Attributes:
        questions: [2 n] int64, for tails and then for heads.
        answers: [2 n] int64 rows.
        known: true answers, of the split and earlier ones.
        num_rows: rows that answers are told apart from.
    """

    questions: Int64s
    answers: Int64s
    known: Answers
    num_rows: int

    def ranks(self, score: ScoreAll) -> Floats:
        """[2 n] filtered ranks by scores."""
        return filtered_ranks(score, self.questions, self.answers, self.known, self.num_rows)

    def at_most(self, most: int, seed: int) -> Exam:
        """So many of the questions, drawn where there are more."""
        if len(self.questions) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self.questions), most, replace=False))
        return replace(self, questions=self.questions[chosen], answers=self.answers[chosen])


def exam_of(prepared: Prepared, split: int) -> Exam:
    """The facts of a split: 1 validation, 2 test. Later splits do not filter, or test facts would choose the epoch."""
    labels = prepared.labels
    known = Answers.of(*facts_of(labels.where(labels.split <= split)))
    return Exam(*facts_of(labels.of(split)), known, len(prepared.seen))


def facts_of(labels: Labels) -> tuple[Int64s, Int64s]:
    """[2 n] questions that facts answer and [2 n] their answers, as ``both_ways`` gives them."""
    assert labels.relation is not None
    return both_ways(labels.rows, labels.relation, labels.target.astype(np.int64), len(labels.relations))


def new_network(prepared: Prepared, settings: TaskSettings) -> TripleNetwork:
    """A network with the weights that the run's seed gives."""
    torch.manual_seed(settings.train.seed)
    return TripleNetwork(settings.model, len(prepared.seen), len(prepared.labels.relations))


def fit_knowledge(
    prepared: Prepared,
    settings: TaskSettings,
    folder: Path,
    fingerprint: str,
    *,
    stop: Callable[[Fit], bool] = lambda fit: False,
    resume: bool = False,
    progress: Progress = silent,
) -> Fit:
    """Learn the training facts; the epoch that ranks those of validation best is kept."""
    labels, judge = prepared.labels, prepared.judge
    assert isinstance(judge, Judge)
    network = new_network(prepared, settings)
    exam = exam_of(prepared, 1).at_most(MOST_JUDGED, settings.train.seed)

    def value() -> float:
        return judge.value(exam.answers, exam.ranks(score_all(network)))

    train = Answers.of(*facts_of(labels.of(0)))
    named = (judge.of_epochs, folder, fingerprint)
    trainer = TripleTrainer(network, train, settings.train, settings.model.dropout, value, *named)
    return trainer.run(stop=stop, resume=resume, progress=progress)


def compare_knowledge(prepared: Prepared, settings: TaskSettings, fit: Fit, progress: Progress = silent) -> Comparison:
    """Measure the network of a fit, and what it has to beat, on the facts of validation and test."""
    labels, judge = prepared.labels, prepared.judge
    assert isinstance(judge, Judge)
    network = new_network(prepared, settings)
    rivals = {
        "most frequent": frequency(labels.of(0), len(prepared.seen)),
        "untrained": score_all(new_network(prepared, settings)),
    }
    network.load_state_dict(fit.weights)
    found, ways = Comparison(), []
    for split in (1, 2):
        exam, name = exam_of(prepared, split), SPLITS[split]
        asked = exam.questions // width_of(len(labels.relations))
        progress(f"compare on the {name} facts", 0, 1 + len(rivals))
        ranks = exam.ranks(score_all(network))
        measured = judge.measure(exam.answers, ranks, asked)
        found.metrics[name] = measured.intervals()
        for done, (rival, score) in enumerate(rivals.items(), start=1):
            progress(f"compare on the {name} facts", done, 1 + len(rivals))
            theirs = judge.measure(exam.answers, exam.ranks(score), asked)
            found.baselines.setdefault(rival, {})[name] = theirs.intervals()
            found.margins.setdefault(rival, {})[name] = measured.margins(theirs)
        ways = _ways(judge, exam.answers, ranks, asked)
    return replace(found, cohorts=tuple(ways))


def frequency(train: Labels, num_rows: int) -> ScoreAll:
    """How often each row is the answer to a relation in the training facts, whatever row is asked about."""
    questions, answers = facts_of(train)
    width = width_of(len(train.relations))
    by_code = Answers.of(questions % width, answers)

    def score(asked: Int64s) -> NDArray[np.float32]:
        codes, place = np.unique(asked % width, return_inverse=True)
        counts = np.zeros((len(codes), num_rows), np.float32)
        np.add.at(counts, by_code.to(codes), 1)
        return counts[place]

    return score


def _ways(judge: Judge, answers: Int64s, ranks: Floats, asked: Int64s) -> list[Cohort]:
    """The deciding metric of questions for tails and of questions for heads."""
    half, judge = len(answers) // 2, judge.only(judge.decides)
    found = []
    for name, part in (("tails", slice(None, half)), ("heads", slice(half, None))):
        intervals = judge.measure(answers[part], ranks[part], asked[part]).intervals()
        found.append(Cohort("asked for", name, half, intervals))
    return found
