"""Triple: scores of facts of a knowledge graph: vectors of rows and of relations, and nothing else of the graph.

A scorer turns a row and a relation into a vector that is multiplied with the vectors of all rows, so that a question is
scored against every answer by one product. Each direction of a relation has a vector of its own ("reciprocal
relations", Lacroix et al. 2018).

* DistMult: Yang et al. 2015, "Embedding entities and relations for learning and inference in knowledge bases".
* ComplEx: Trouillon et al. 2016, "Complex embeddings for simple link prediction".
* RotatE: Sun et al. 2019, "RotatE: knowledge graph embedding by relational rotation in complex space"; here with
  squared distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kincast.project import ModelSettings
from kincast.query.triple import width_of

Twist = Callable[[Tensor, Tensor], Tensor]
"""(rows [n, width], relations [n, width]) → what is asked for [n, width]."""
START = 0.01
"""Standard deviation of the first weights."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """What a fact's score is.

    Attributes:
        twist: a row by a relation.
        is_complex: widths are those of real and imaginary parts.
        is_distance: minus the squared distance, not the product.
    """

    twist: Twist
    is_complex: bool
    is_distance: bool = False


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    half = values.shape[1] // 2
    return values[:, :half], values[:, half:]


def _times(rows: Tensor, relations: Tensor) -> Tensor:
    """Complex numbers multiplied, number by number."""
    (a, b), (c, d) = _halves(rows), _halves(relations)
    return torch.cat([a * c - b * d, a * d + b * c], 1)


def _turned(rows: Tensor, relations: Tensor) -> Tensor:
    """Complex numbers turned by the angles of others."""
    c, d = _halves(relations)
    length = (c * c + d * d + 1e-18).sqrt()
    return _times(rows, torch.cat([c / length, d / length], 1))


SCORERS = {
    "complex": Scorer(_times, is_complex=True),
    "distmult": Scorer(torch.mul, is_complex=False),
    "rotate": Scorer(_turned, is_complex=True, is_distance=True),
}


class TripleNetwork(nn.Module):
    """Vectors of the rows and relations that there were in training.

    Args:
        settings: scorer and width.
        num_seen: rows.
        num_relations: names of relations in training facts.

    Attributes:
        rows: [num_seen, width].
        relations: [codes, width] of both directions; those of unknown relations are zero and stay so.
    """

    def __init__(self, settings: ModelSettings, num_seen: int, num_relations: int) -> None:
        super().__init__()
        self.scorer = SCORERS[settings.scorer]
        width = settings.output_channels
        self.rows = nn.Parameter(torch.randn(num_seen, width) * START)
        spread = 1.0 if self.scorer.is_distance else START  # of a rotation only the angle counts
        relations = torch.randn(width_of(num_relations), width) * spread
        relations[num_relations :: num_relations + 1] = 0
        self.relations = nn.Parameter(relations)

    def asked(self, rows: Tensor, relations: Tensor) -> Tensor:
        """[n, width] what answers are held against; vectors of rows and relations [n, width]."""
        return self.scorer.twist(rows, relations)

    def scores(self, asked: Tensor, answers: Tensor) -> Tensor:
        """[n, m] scores of all answers [m, width]."""
        product = asked @ answers.T
        return 2 * product - (answers**2).sum(1) if self.scorer.is_distance else product

    def score_each(self, asked: Tensor, answers: Tensor) -> Tensor:
        """[n] scores of one answer each [n, width]."""
        product = (asked * answers).sum(1)
        return 2 * product - (answers**2).sum(1) if self.scorer.is_distance else product

    def cubes(self, vectors: Tensor) -> Tensor:
        """[n] sums of the cubed lengths of their numbers: the N3 norm of Lacroix et al. 2018."""
        if not self.scorer.is_complex:
            return (vectors * vectors * vectors.abs()).sum(1)
        a, b = _halves(vectors)
        squares = a * a + b * b + 1e-18
        return (squares * squares.sqrt()).sum(1)

    def forward(self, rows: Tensor, relations: Tensor) -> Tensor:
        """[n, num_seen] scores of every row as the answer to questions: places of rows [n], codes of relations [n]."""
        return self.scores(self.asked(self.rows[rows], self.relations[relations]), self.rows)
