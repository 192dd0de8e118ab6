"""Answer: ranks of true answers among all rows, and the best answers to questions about a knowledge graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from kincast.model.ranked import Ranked, rank, stacked
from kincast.model.triple import TripleNetwork
from kincast.query.answers import Answers

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]
Scores = NDArray[np.float32]
ScoreAll = Callable[[Int64s], Scores]
"""questions [n] → [n, rows] a score for every row as the answer."""
MAX_BLOCK = 8_000_000
"""Scores that are held at once."""


def score_all(network: TripleNetwork, places: Int64s | None = None) -> ScoreAll:
    """What a network says.

    Args:
        network: of the rows that there were in training.
        places: row → its place among these; the row itself when None.
    """
    width = len(network.relations)

    def score(questions: Int64s) -> Scores:
        rows, codes = np.divmod(questions, width)
        rows = rows if places is None else places[rows]
        with torch.inference_mode():
            scores = network(torch.from_numpy(rows), torch.from_numpy(codes))
        return np.asarray(scores.numpy())

    return score


def blocks(num: int, num_rows: int) -> Iterator[slice]:
    """Questions that are scored at once."""
    size = max(1, min(512, MAX_BLOCK // max(num_rows, 1)))
    return (slice(start, min(start + size, num)) for start in range(0, num, size))


def filtered_ranks(
    score: ScoreAll,
    questions: Int64s,
    answers: Int64s,
    known: Answers,
    num_rows: int,
) -> Floats:
    """[n] rank of each answer among all rows but the other true ones; 1 is best.

    Rows with the same score share the mean of their ranks, so that a constant ranks everything in the middle
    (Bordes et al. 2013 for the filter; Sun et al. 2020, "A re-evaluation of knowledge graph completion methods", on
    ties). What is no number counts as worst.

    Args:
        score: of all rows.
        questions: [n].
        answers: [n] a true answer to each.
        known: all true answers, which do not count against each other.
        num_rows: how many rows there are.
    """
    ranks = np.empty(len(questions))
    for block in blocks(len(questions), num_rows):
        scores = score(questions[block])
        each = np.arange(len(scores))
        true = scores[each, answers[block], None].copy()
        owner, others = known.to(questions[block])
        scores[owner, others] = -np.inf
        scores[each, answers[block]] = -np.inf
        not_better, equal = np.count_nonzero(scores <= true, axis=1), np.count_nonzero(scores == true, axis=1)
        ranks[block] = 1 + num_rows - not_better + equal / 2
    return ranks


def best_answers(
    score: ScoreAll,
    questions: Int64s,
    known: Answers,
    num_rows: int,
    top: int,
    told: Callable[[int], None] = lambda done: None,
) -> Ranked:
    """The best ``top`` rows for each question that are not known to be true already.

    Arguments are as above; ``told`` hears how many questions are done.
    """
    parts = []
    for block in blocks(len(questions), num_rows):
        scores = score(questions[block])
        owner, others = known.to(questions[block])
        scores[owner, others] = -np.inf
        parts.append(rank(scores.astype(np.float64), top))
        told(block.stop)
    return stacked(parts, num_rows, top)
