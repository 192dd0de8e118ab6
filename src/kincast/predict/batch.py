"""Batch: predictions and embeddings of all rows that a query asks about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kincast.graph.snapshot import Snapshot
from kincast.predict.answer import Predictions
from kincast.predict.online import Predictor
from kincast.predict.why import reasons
from kincast.progress import Progress, silent
from kincast.project import Project
from kincast.registry.version import Version


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Predictions with the embeddings they were made from.

    Attributes:
        predictions: scores by the user's own keys.
        embeddings: float32 [n, channels], row for row.
        why: [n] the reasons of each in words; None where nobody asked.
    """

    predictions: Predictions
    embeddings: NDArray[np.float32]
    why: list[list[str]] | None = None

    def as_table(self) -> pa.Table:
        """As ``Predictions.as_table``; ``why`` is in the first row of each entity."""
        table = self.predictions.as_table()
        if self.why is None:
            return table
        said: list[list[str] | None] = [None] * len(table)
        for place, lines in zip(self.predictions.first_rows().tolist(), self.why, strict=True):
            if place < len(said):
                said[place] = lines
        return table.append_column("why", pa.array(said, pa.list_(pa.string())))

    def as_records(self) -> pa.Table:
        """As ``Predictions.as_records``, with ``why``."""
        records = self.predictions.as_records()
        return records if self.why is None else records.append_column("why", pa.array(self.why, pa.list_(pa.string())))


def predict_all(
    project: Project,
    version: Version,
    *,
    snapshot: Snapshot,
    as_of_us: int | None = None,
    keys: Sequence[Any] | None = None,
    coverage: float | None = None,
    why: int = 0,
    progress: Progress = silent,
) -> BatchResult:
    """Score every row the query asks about, in the order of the snapshot, or just those keys in their order.

    Args:
        project: its folders.
        version: the trained version.
        snapshot: the rows.
        as_of_us: the instant; when None, the latest in the target's tables, or each row's own time for a static
            target.
        keys: scalars, or tuples for composite keys.
        coverage: share of intervals and sets that are to hold the truth; when None, as the version's settings say.
        why: how many reasons to give for each; of several numbers of a row for the one that ``Predictor.why`` means.
        progress: told after each batch.

    Raises:
        VersionError: the version was trained on another schema.
        KeyNotFoundError: a key that no row has at the instant.
    """
    folder, readahead = project.work / "features", project.features.readahead
    predictor = Predictor.load(version, snapshot, folder, progress, readahead=readahead)
    rows = predictor.entity_rows(as_of_us)[0] if keys is None else predictor.rows_at(keys, as_of_us)
    instants = predictor.instants_of(rows, as_of_us)
    predictions, embeddings = predictor.answer_rows(rows, instants, progress, coverage)
    found = None
    if why:
        seeds = predictor.seeds_of(rows, instants)
        loader = predictor.loader_of(seeds)
        asked = predictor.meant_by(loader.score(predictor.network, predictor.objective, seeds)[0])
        found = []
        for lines in reasons(predictor.explainer, loader, seeds, asked, why):
            found.append(lines)
            progress("say why", len(found), len(rows))
    return BatchResult(predictions, embeddings, found)
