"""Change: what a number is if something that was read is not there, or is average: exact, by scoring again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kincast.model.aim import Aims, Score
from kincast.model.attribute import Averages, Columns
from kincast.model.inputs import Inputs, TableInputs
from kincast.model.score import InputLoader
from kincast.sample.batch import Batch, Seeds
from kincast.sample.without import Cut, LinkCut, RowCut, without

Floats = NDArray[np.float64]
MOST_ROWS = 65_536
"""Sampled rows that are scored at once, about."""


@dataclass(frozen=True, slots=True)
class Averaged:
    """A column of a row, wherever the row was met, is what it is in an average row.

    Attributes:
        table: its table.
        row: snapshot row.
        column: place among the columns of the table.
    """

    table: str
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class PastCut:
    """No past value of a forecast's target is known."""


Change = Cut | Averaged | PastCut


def scores_with(
    score: Score,
    loader: InputLoader,
    seeds: Seeds,
    aims: Aims,
    changes: Sequence[Sequence[Change]],
    columns: Columns,
    averages: Averages,
) -> Floats:
    """The number of each seed with some changes.

    Args:
        score: gives the number.
        loader: samples the rows and reads them.
        seeds: n of them; the same one may come often.
        aims: which number of each.
        changes: [n] what is changed for each.
        columns: of every table.
        averages: for changes to average.

    Returns:
        [n] float64.
    """
    found, start, size = [np.zeros(0)], 0, 16
    while start < len(seeds):
        here = np.arange(start, min(start + size, len(seeds)))
        batch = loader.trees(None).sample(seeds.take(here))
        own = [changes[place] for place in here.tolist()]
        cuts = [[change for change in some if isinstance(change, RowCut | LinkCut)] for some in own]
        num_rows = sum(map(len, batch.rows.values()))
        batch = without(batch, cuts)
        with torch.inference_mode():
            inputs = _changed(score, batch, loader.inputs_of(batch), own, columns, averages)
            found.append(score(inputs, batch.seeds, aims.take(here)).numpy())
        start += len(here)
        size = max(1, MOST_ROWS * len(here) // max(num_rows, 1))
    return np.concatenate(found)


def _changed(
    score: Score,
    batch: Batch,
    inputs: Inputs,
    changes: Sequence[Sequence[Change]],
    columns: Columns,
    averages: Averages,
) -> Inputs:
    """The inputs with columns at their averages and past values forgotten."""
    rows: defaultdict[tuple[str, int], list[NDArray[np.int64]]] = defaultdict(list)  # (table, column) → local rows
    forgotten = []
    for seed, some in enumerate(changes):
        for change in some:
            if isinstance(change, PastCut):
                forgotten.append(seed)
            elif isinstance(change, Averaged):
                local = (batch.seed[change.table] == seed) & (batch.rows[change.table] == change.row)
                rows[change.table, change.column].append(np.flatnonzero(local))
    past = inputs.past
    if past is not None and forgotten:
        past = past.index_fill(0, torch.tensor(forgotten), torch.nan)
    tables = dict(inputs.tables)
    for (name, place), found in rows.items():
        table, encoder, local = tables[name], score.network.encoder_of(name), torch.from_numpy(np.concatenate(found))
        mixed = encoder.mix(table) if table.mixed is None else table.mixed
        own = TableInputs(table.numeric[local], table.codes[local], table.ages[local])
        move = averages.parts[name][place] - encoder.part(own, columns[name][place])
        tables[name] = replace(table, mixed=mixed.index_add(0, local, move))
    return replace(inputs, tables=tables, past=past)
