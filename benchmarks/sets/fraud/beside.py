"""Card precision@100 as the fraud handbook defines it: of a day's hundred likeliest cards, how many had one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kincast.graph.snapshot import Snapshot
from kincast.predict.online import Predictor
from kincast.project import Project
from kincast.registry.version import Version

TOP = 100


def measures(project: Project, version: Version, snapshot: Snapshot) -> dict[str, float]:
    """Of a version, on the test transactions."""
    labels = pq.read_table(project.folder / ".kincast" / "labels.parquet", filters=[("split", "=", "test")])
    predictor = Predictor.load(version, snapshot, project.work / "features")
    rows = predictor.rows_at(labels["TRANSACTION_ID"].to_pylist(), None)
    scores, _ = predictor.score_rows(rows, predictor.instants_of(rows, None))
    cards = snapshot.columns("transactions", ["CUSTOMER_ID"])["CUSTOMER_ID"].to_numpy()[rows]
    days = labels["as_of"].to_numpy().astype("datetime64[D]")
    return {f"card precision@{TOP}": card_precision(days, cards, labels["target"].to_numpy(), scores)}


def card_precision(days: NDArray[Any], cards: NDArray[Any], fraud: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    """The mean over days; a card that was found on a day is looked at no more on the next ones.

    Args:
        days, cards, fraud, scores: [n] of transactions.
    """
    found: set[int] = set()
    shares = []
    for day in np.unique(days):
        of_day = (days == day) & ~np.isin(cards, list(found))
        own, card = np.unique(cards[of_day], return_inverse=True)
        highest, compromised = np.zeros(len(own)), np.zeros(len(own), bool)
        np.maximum.at(highest, card, scores[of_day])
        np.logical_or.at(compromised, card, fraud[of_day])
        top = np.argsort(-highest, kind="stable")[:TOP]
        found.update(own[top[compromised[top]]].tolist())
        shares.append(compromised[top].sum() / TOP)
    return float(np.mean(shares))
