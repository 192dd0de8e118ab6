"""Ranks of true answers, against a plain count."""

from __future__ import annotations

import numpy as np
import pytest

from kincast.model.answer import best_answers, filtered_ranks
from kincast.query.answers import Answers

ROWS = 30


def reference(
    scores: np.ndarray, questions: np.ndarray, answers: np.ndarray, known: set[tuple[int, int]]
) -> list[float]:
    """Rank of each answer: one, and one for each better rival, and a half for each equal one."""
    ranks = []
    for question, answer in zip(questions.tolist(), answers.tolist(), strict=True):
        rivals = [row for row in range(ROWS) if row != answer and (question, row) not in known]
        own = scores[question, answer]
        ranks.append(
            1 + sum(scores[question, r] > own for r in rivals) + sum(scores[question, r] == own for r in rivals) / 2
        )
    return ranks


def test_ranks_are_those_of_a_plain_count() -> None:
    random = np.random.default_rng(0)
    scores = random.integers(0, 6, (50, ROWS)).astype(np.float32)  # many ties
    questions, answers = random.integers(0, 50, 400), random.integers(0, ROWS, 400)
    known = Answers.of(questions, answers)
    pairs = set(zip(questions.tolist(), answers.tolist(), strict=True))
    found = filtered_ranks(lambda asked: scores[asked], questions, answers, known, ROWS)
    np.testing.assert_allclose(found, reference(scores, questions, answers, pairs))


@pytest.mark.parametrize(("value", "rank"), [(0.0, (ROWS - 1) / 2 + 1), (np.nan, ROWS)])
def test_a_constant_ranks_in_the_middle_and_what_is_no_number_last(value: float, rank: float) -> None:
    questions = np.arange(8)
    known = Answers.of(questions, questions)
    ranks = filtered_ranks(
        lambda asked: np.full((len(asked), ROWS), value, np.float32), questions, questions, known, ROWS
    )
    np.testing.assert_allclose(ranks, rank, atol=1)


def test_what_is_known_is_no_answer() -> None:
    scores = np.tile(np.arange(5, dtype=np.float32), (2, 1))
    known = Answers.of(np.array([0, 0, 1]), np.array([4, 2, 0]))
    found = best_answers(lambda asked: scores[asked], np.array([0, 1]), known, 5, 3)
    assert found.items.tolist() == [[3, 1, 0], [4, 3, 2]]
    none = best_answers(lambda asked: scores[asked], np.zeros(0, np.int64), known, 5, 3)
    assert none.items.shape == (0, 3)
