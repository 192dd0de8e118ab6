"""Attribute: integrated gradients: how much each column of each sampled row adds to a number, against an average row.

Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks" (arXiv:1703.01365). The first step of every
encoder is a sum over columns, so the path from average rows to the rows themselves is straight in that sum too, and one
gradient for each row serves all of its columns. The amounts add up to the number minus that of average rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kincast.model.aim import Aims, ItemTerms, LinkScore, Score
from kincast.model.column import ColumnInputs
from kincast.model.encode import TableEncoder
from kincast.model.inputs import Inputs, TableInputs
from kincast.model.score import InputLoader
from kincast.sample.batch import Batch, Seeds

Floats = NDArray[np.float64]
Leaves = dict[tuple[str, str], Tensor]
Columns = Mapping[str, tuple[ColumnInputs, ...]]
"""Table → its columns."""

IDENTITY, DEMAND = "which item it is", "demand"
"""What an item is beside its columns."""

MOST_ITEMS, MOST_ROWS = 1_024, 32_768
"""Items that an average is taken over, and sampled rows that gradients are taken of at once."""

TABLE, PAST, ITEM = "table", "past", "item"


@dataclass(frozen=True, slots=True)
class Averages:
    """What the columns of an average row add to the sum of its encoder.

    Attributes:
        parts: table → [columns, channels].
        item: [columns, channels] of an average item, by the encoder of items; None but for links.
    """

    parts: Mapping[str, Tensor]
    item: Tensor | None = None


def average_rows(score: Score, columns: Columns, batches: Iterable[Inputs]) -> Averages:
    """The average of the rows that are read of some seeds; of a table none is read of, zeros.

    Args:
        score: its encoders, and its items.
        columns: of every table.
        batches: of the seeds.
    """
    encoders = score.network.encoder_of
    sums = {name: torch.zeros(len(own), encoders(name).channels) for name, own in columns.items()}
    counts = dict.fromkeys(columns, 0)
    with torch.no_grad():
        for inputs in batches:
            for name, table in inputs.tables.items():
                sums[name] += _summed(encoders(name), table, columns[name])
                counts[name] += len(table.ages)
        item = None
        if isinstance(score, LinkScore):
            items = score.items
            rows = np.unique(np.linspace(0, items.num_items - 1, min(items.num_items, MOST_ITEMS)).astype(np.int64))
            item = _summed(score.links.encoder, items.inputs(rows), columns[items.table]) / max(len(rows), 1)
    return Averages({name: total / max(counts[name], 1) for name, total in sums.items()}, item)


def _summed(encoder: TableEncoder, table: TableInputs, columns: Sequence[ColumnInputs]) -> Tensor:
    """[columns, channels] what each column of all rows adds."""
    parts = [encoder.part(table, column).sum(dim=0) for column in columns]
    return torch.stack(parts) if parts else torch.zeros(0, encoder.channels)


@dataclass(frozen=True, slots=True)
class Attribution:
    """By how much what was read moved the number of each seed.

    Attributes:
        score: [n] the number.
        average: [n] the number for the same neighbourhood with average rows in all places.
        tables: table → [rows, columns] amounts of the local rows.
        past: [n, lags] of past values, against the usual value; None where none are read.
        item: [n, columns + 2] of the item's columns, then of ``IDENTITY`` and ``DEMAND``; None but for links.
    """

    score: Floats
    average: Floats
    tables: dict[str, Floats]
    past: Floats | None = None
    item: Floats | None = None

    def missed(self, batch: Batch) -> tuple[Floats, Floats]:
        """[n] by how much the amounts of each seed miss what they are to add up to, and the sum of their sizes."""
        sums, sizes = self.average - self.score, np.zeros(len(batch.seeds))
        for name, amounts in self.tables.items():
            sums += np.bincount(batch.seed[name], amounts.sum(axis=1), len(sums))
            sizes += np.bincount(batch.seed[name], np.abs(amounts).sum(axis=1), len(sums))
        for more in (self.past, self.item):
            if more is not None:
                sums += more.sum(axis=1)
                sizes += np.abs(more).sum(axis=1)
        return np.abs(sums), sizes


def attribute(
    score: Score,
    loader: InputLoader,
    batch: Batch,
    inputs: Inputs,
    aims: Aims,
    columns: Columns,
    averages: Averages,
    steps: int,
) -> Attribution:
    """Integrated gradients of the number of each seed, by the midpoint rule.

    Args:
        score: gives the number.
        loader: samples the rows again, many steps at once.
        batch: of n seeds.
        inputs: the same as a network reads it.
        aims: which number of each.
        columns: of every table.
        averages: where the paths begin.
        steps: of the rule.
    """
    with torch.no_grad():
        terms = score.terms(batch.seeds, aims) if isinstance(score, LinkScore) else None
        starts, ends = _ends(score, inputs, batch.seeds, terms, averages)
    totals = {name: torch.zeros_like(end) for name, end in ends.items()}
    at_once = max(1, min(steps, MOST_ROWS // max(sum(map(len, batch.rows.values())), 1)))
    middles = (torch.arange(steps) + 0.5) / steps
    for shares in torch.split(middles, at_once):
        tiled = _Tiled.of(loader, batch, len(shares))
        leaves = tiled.leaves(starts, ends, shares)
        number = _number(score, tiled.inputs, tiled.seeds, aims.take(tiled.seed), leaves).sum()
        found = torch.autograd.grad(number, list(leaves.values()), allow_unused=True)
        for leaf, gradient in zip(leaves, found, strict=True):
            if gradient is not None:
                totals[leaf].index_add_(0, tiled.place(leaf), gradient / steps)
    with torch.no_grad():
        last, first = (_number(score, inputs, batch.seeds, aims, leaves).numpy() for leaves in (ends, starts))
        tables = {}
        for name, table in inputs.tables.items():
            tables[name] = np.zeros((len(table.ages), len(columns[name])))
            if (TABLE, name) in totals:
                encoder, gradient = score.network.encoder_of(name), totals[TABLE, name]
                tables[name] = _by_column(encoder, table, columns[name], averages.parts[name], gradient)
        past = None
        if (PAST, "") in totals:
            past = _moved(starts, ends, totals, (PAST, "")).nan_to_num().double().numpy()
        item = None
        if terms is not None and isinstance(score, LinkScore):
            item = _of_item(score, terms, columns, averages, (starts, ends, totals))
        return Attribution(last, first, tables, past, item)


@dataclass(frozen=True, slots=True)
class _Tiled:
    """A batch several times over, one behind the other.

    Attributes:
        seeds: of all tiles.
        inputs: of all tiles.
        seed: [tiles * n] int64 seed of the batch that each is.
        rows: table → [m] int64 local row of the batch that each local row is.
        tile: table → [m] int64 which tile it is of.
    """

    seeds: Seeds
    inputs: Inputs
    seed: NDArray[np.int64]
    rows: Mapping[str, Tensor]
    tile: Mapping[str, Tensor]

    @staticmethod
    def of(loader: InputLoader, batch: Batch, tiles: int) -> _Tiled:
        """The batch so many times; a tree is the same wherever it is sampled."""
        num = len(batch.seeds)
        seed = np.tile(np.arange(num), tiles)
        many = loader.trees(None).sample(batch.seeds.take(seed))
        rows, tile = {}, {}
        for name, owner in many.seed.items():
            place = np.empty(len(owner), np.int64)
            place[np.argsort(owner, kind="stable")] = np.tile(np.argsort(batch.seed[name], kind="stable"), tiles)
            rows[name], tile[name] = torch.from_numpy(place), torch.from_numpy(owner.astype(np.int64) // num)
        return _Tiled(many.seeds, loader.inputs_of(many), seed, rows, tile)

    def place(self, name: tuple[str, str]) -> Tensor:
        """Where the rows of a leaf come from."""
        return self.rows[name[1]] if name[0] == TABLE else torch.from_numpy(self.seed)

    def leaves(self, starts: Leaves, ends: Leaves, shares: Tensor) -> Leaves:
        """Each tile at its share of the paths."""
        of_seeds = torch.arange(len(shares)).repeat_interleave(len(self.seed) // len(shares))
        leaves = {}
        for name, end in ends.items():
            place = self.place(name)
            share = shares[self.tile[name[1]] if name[0] == TABLE else of_seeds].unsqueeze(1)
            leaves[name] = torch.lerp(starts[name][place], end[place], share).requires_grad_()
        return leaves


def _ends(
    score: Score, inputs: Inputs, seeds: Seeds, terms: ItemTerms | None, averages: Averages
) -> tuple[Leaves, Leaves]:
    """Where the paths begin and end."""
    network = score.network
    starts, ends = {}, {}
    for name, table in inputs.tables.items():
        if len(table.ages):
            encoder = network.encoder_of(name)
            ends[TABLE, name] = encoder.mix(table)
            starts[TABLE, name] = _average(encoder, averages.parts[name]).expand_as(ends[TABLE, name])
    if network.past is not None and inputs.past is not None:
        usual = torch.full_like(inputs.past, network.past.objective.usual)
        ends[PAST, ""], starts[PAST, ""] = inputs.past, torch.where(torch.isnan(inputs.past), inputs.past, usual)
    if terms is not None and isinstance(score, LinkScore):
        ends[ITEM, DEMAND], starts[ITEM, DEMAND] = terms.state, score.average_state(seeds)
        if terms.identity is not None:
            known = score.links.lookup.weight[1:]
            ends[ITEM, IDENTITY], starts[ITEM, IDENTITY] = terms.identity, known.mean(0).expand_as(terms.identity)
        if terms.inputs is not None and averages.item is not None:
            encoder = score.links.encoder
            ends[ITEM, ""] = encoder.mix(terms.inputs)
            starts[ITEM, ""] = _average(encoder, averages.item).expand_as(ends[ITEM, ""])
    return starts, ends


def _average(encoder: TableEncoder, parts: Tensor) -> Tensor:
    """[channels] the sum of an average row."""
    return encoder.constant() + parts.sum(dim=0)


def _number(score: Score, inputs: Inputs, seeds: Seeds, aims: Aims, leaves: Leaves) -> Tensor:
    """[n] the number at some place of the paths."""
    tables = {
        name: replace(table, mixed=leaves[TABLE, name]) if (TABLE, name) in leaves else table
        for name, table in inputs.tables.items()
    }
    here = replace(inputs, tables=tables, past=leaves.get((PAST, ""), inputs.past))
    if not isinstance(score, LinkScore):
        return score(here, seeds, aims)
    terms = score.terms(seeds, aims)
    item = terms.inputs
    if item is not None:
        item = replace(item, mixed=leaves[ITEM, ""])
    return score.of(here, aims, ItemTerms(leaves.get((ITEM, IDENTITY)), item, leaves[ITEM, DEMAND]))


def _by_column(
    encoder: TableEncoder, table: TableInputs, columns: Sequence[ColumnInputs], averages: Tensor, gradient: Tensor
) -> Floats:
    """[n, columns] amounts of rows with mean gradients [n, channels]."""
    amounts = np.zeros((len(gradient), len(columns)))
    for place, column in enumerate(columns):
        moved = (encoder.part(table, column) - averages[place]) * gradient
        amounts[:, place] = moved.double().sum(dim=1).numpy()
    return amounts


def _moved(starts: Leaves, ends: Leaves, totals: Leaves, name: tuple[str, str]) -> Tensor:
    return (ends[name] - starts[name]) * totals[name]


def _of_item(
    score: LinkScore, terms: ItemTerms, columns: Columns, averages: Averages, path: tuple[Leaves, Leaves, Leaves]
) -> Floats:
    """[n, columns + 2] amounts of the items."""
    own = columns[score.items.table]
    amounts = np.zeros((len(terms.state), len(own) + 2))
    if terms.inputs is not None and averages.item is not None:
        amounts[:, :-2] = _by_column(score.links.encoder, terms.inputs, own, averages.item, path[2][ITEM, ""])
    for place, name in ((-2, IDENTITY), (-1, DEMAND)):
        if (ITEM, name) in path[2]:
            amounts[:, place] = _moved(*path, (ITEM, name)).double().sum(dim=1).numpy()
    return amounts
