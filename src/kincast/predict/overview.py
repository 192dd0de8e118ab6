"""Overview: what moves the predictions of many rows on average: columns and links."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from kincast.model.attribute import DEMAND, IDENTITY
from kincast.predict.find import STEPS, Effort, find
from kincast.predict.online import Predictor
from kincast.progress import Progress, silent
from kincast.sample.batch import Seeds
from kincast.sample.without import LinkCut

BATCH = 16
PAST, ITEM = "past values", "item"
"""Stand where a table's name would: past values of a forecast's target, and the item of a link by itself."""


def overview(predictor: Predictor, seeds: Seeds, progress: Progress = silent) -> dict[str, Any]:
    """Mean sizes of what columns and links add, over some rows, each for the number ``Predictor.why`` means.

    Args:
        predictor: of the version.
        seeds: n of them.
        progress: told of each batch.

    Returns:
        plain JSON values: ``rows``; ``noun``; ``columns``, each with ``table``, ``column`` and the mean ``size`` of
        what it adds over all rows of a neighbourhood, by integrated gradients; ``links``, each with ``link`` and the
        mean ``size`` of the change without it; both largest first.
    """
    seeds = predictor.seeds_of(seeds.rows, seeds.as_of_us)
    loader = predictor.loader_of(seeds)
    scored, _ = loader.score(predictor.network, predictor.objective, seeds)
    asked = predictor.meant_by(scored)
    columns: defaultdict[tuple[str, str], float] = defaultdict(float)
    links: defaultdict[str, float] = defaultdict(float)
    of_item: list[str] = []
    if loader.items is not None:
        own_columns = predictor.explainer.columns[loader.items.table]
        of_item = [*(column.column for column in own_columns), IDENTITY, DEMAND]
    effort = Effort(rows=0, columns=0, steps=STEPS)
    for start in range(0, len(seeds), BATCH):
        here = np.arange(start, min(start + BATCH, len(seeds)))
        for one in find(predictor.explainer, loader, seeds.take(here), asked.aims.take(here), effort):
            for table, own in one.tables.items():
                for column, amount in zip(predictor.explainer.columns[table], own.columns.sum(axis=0), strict=True):
                    columns[table, column.column] += abs(float(amount))
            if one.past is not None:
                columns[PAST, "all lags"] += abs(float(one.past.sum()))
            if one.item is not None:
                for name, amount in zip(of_item, one.item.tolist(), strict=True):
                    columns[ITEM, name] += abs(amount)
            for what, change in one.changes:
                if isinstance(what, LinkCut):
                    links[what.edge] += abs(change)
        progress("say why", start + len(here), len(seeds))
    num = max(len(seeds), 1)
    return {
        "rows": len(seeds),
        "noun": asked.noun,
        "columns": [
            {"table": table, "column": column, "size": size / num}
            for (table, column), size in sorted(columns.items(), key=lambda item: -item[1])
        ],
        "links": [{"link": link, "size": size / num} for link, size in sorted(links.items(), key=lambda i: -i[1])],
    }
