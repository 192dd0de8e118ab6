"""Deletion: whether reasons are faithful: rows taken out in the order of their reasons, against chance.

Petsiuk, Das and Saenko 2018, "RISE: Randomized input sampling for explanation of black-box models"
(arXiv:1806.07421), measure explanations of pictures so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.model.aim import Aims
from kincast.model.score import InputLoader
from kincast.predict.change import scores_with
from kincast.predict.find import Effort, Explainer, Found, find
from kincast.sample.batch import Seeds
from kincast.sample.without import RowCut

Floats = NDArray[np.float64]
SHARES = tuple(step / 10 for step in range(11))
"""Of the linked rows that are taken out, one point of a curve for each."""
ORDERS = ("changes", "amounts", "random", "reverse")
"""By exact changes; by integrated gradients; by chance; by exact changes, those that lower the number most first."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Numbers of seeds while their linked rows are taken out, those that raise the number most first.

    Attributes:
        scores: order → [n, shares] the number of each seed.
    """

    scores: dict[str, Floats]

    def area(self, order: str) -> Floats:
        """[n] by how much the number falls below its beginning, on average over the shares."""
        curve = self.scores[order]
        return np.asarray((curve[:, :1] - curve).mean(axis=1))

    def lead(self, order: str) -> Floats:
        """[n] area between the curve by chance and that of an order: above 0 where the order is better."""
        return self.area(order) - self.area("random")


def deletion_curves(explainer: Explainer, loader: InputLoader, seeds: Seeds, aims: Aims, draw: int) -> Curves:
    """The curves of seeds that have at least two linked rows, in their order.

    Args:
        explainer: of the version.
        loader: samples rows and reads them.
        seeds: n of them.
        aims: which number of each.
        draw: of the order by chance.
    """
    random = np.random.default_rng(draw)
    found: dict[str, list[Floats]] = {order: [] for order in ORDERS}
    for place in range(len(seeds)):
        here = np.array([place])
        (one,) = find(explainer, loader, seeds.take(here), aims.take(here), Effort(columns=0, links=0))
        rows = [(what, change) for what, change in one.changes if isinstance(what, RowCut)]
        if len(rows) < 2:
            continue
        cuts, counts = [], np.rint(np.array(SHARES) * len(rows)).astype(int)
        for ranks in _ranks(one, rows, random):
            ordered = [rows[i][0] for i in np.argsort(-ranks, kind="stable")]
            cuts += [ordered[:count] for count in counts]
        many = np.full(len(cuts), place)
        parts = (seeds.take(many), aims.take(many), cuts, explainer.columns, explainer.averages)
        scores = scores_with(explainer.score, loader, *parts).reshape(len(ORDERS), -1)
        for order, curve in zip(ORDERS, scores, strict=True):
            found[order].append(curve)
    return Curves({order: np.array(curves).reshape(-1, len(SHARES)) for order, curves in found.items()})


def _ranks(found: Found, rows: list[tuple[RowCut, float]], random: np.random.Generator) -> list[Floats]:
    """What rows are taken out by, in the order of ``ORDERS``: the largest first."""
    changes = np.array([change for _, change in rows])
    amounts = []
    for what, _ in rows:
        table = found.tables[what.table]
        amounts.append(table.with_linked[np.searchsorted(table.rows, what.row)])
    return [changes, np.array(amounts), random.random(len(rows)), -changes]
