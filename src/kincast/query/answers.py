"""Answers: which rows answer which questions: lists of numbers by number, sorted, to be looked up many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Questions with their answers.

    Attributes:
        questions: [q] int64 ascending, each once.
        offsets: [q + 1] int64 where the answers of each begin and end.
        answers: [n] int64, those of a question ascending.
    """

    questions: Int64s
    offsets: Int64s
    answers: Int64s

    @staticmethod
    def of(questions: Int64s, answers: Int64s) -> Answers:
        """From pairs [n] in any order; pairs that are there twice stay there twice."""
        order = np.lexsort((answers, questions))
        different, starts = np.unique(questions[order], return_index=True)
        offsets = np.append(starts, len(order)).astype(np.int64)
        return Answers(different, offsets, answers[order].astype(np.int64))

    def __len__(self) -> int:
        return len(self.questions)

    def at(self, places: Int64s) -> tuple[Int64s, Int64s]:
        """[m] which of the questions at those places has each answer, and [m] the answers, question by question."""
        starts, lengths = self.offsets[places], self.offsets[places + 1] - self.offsets[places]
        before = np.concatenate([[0], np.cumsum(lengths)])
        owner = np.repeat(np.arange(len(places)), lengths)
        return owner, self.answers[np.arange(before[-1]) - (before[:-1] - starts)[owner]]

    def to(self, questions: Int64s) -> tuple[Int64s, Int64s]:
        """As ``at``, of any questions [k]; those that are not known have no answer."""
        place = np.searchsorted(self.questions, questions)
        place = np.minimum(place, max(len(self) - 1, 0))
        known = np.flatnonzero(self.questions[place] == questions) if len(self) else np.zeros(0, np.int64)
        owner, answers = self.at(place[known])
        return known[owner], answers
