"""Find: for each seed, what of the rows that were read moved its number, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kincast.model.aim import Aims, Score
from kincast.model.attribute import Attribution, Averages, Columns, attribute, average_rows
from kincast.model.inputs import Inputs
from kincast.model.score import InputLoader
from kincast.predict.change import Averaged, Change, PastCut, scores_with
from kincast.sample.batch import Batch, Seeds
from kincast.sample.without import LinkCut, RowCut

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
STEPS, MOST_STEPS = 64, 1_024
"""Of the integral, at first and at most: four times as many until the amounts add up."""
TOLERANCE = 0.005
"""What the amounts may miss of what they are to add up to, as a share of the sum of their sizes."""


class Explainer:
    """What explaining needs of a version; safe to share between threads.

    Args:
        score: gives the numbers.
        columns: of every table.
        usual: inputs of some usual rows, whose averages amounts are measured from; called once.
    """

    def __init__(self, score: Score, columns: Columns, usual: Callable[[], Iterable[Inputs]]) -> None:
        self.score, self.columns, self._usual = score, columns, usual

    @cached_property
    def averages(self) -> Averages:
        """The average of the rows that are read."""
        return average_rows(self.score, self.columns, self._usual())


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is looked at for one seed.

    Attributes:
        rows: linked rows that are taken out one by one, those with the largest amounts first.
        columns: columns of the seed's own row that are set to their average one by one.
        links: edge types, the first ones along which rows were found, that are taken out one by one.
        steps: of the integral at most.
    """

    rows: int = 256
    columns: int = 64
    links: int = 64
    steps: int = MOST_STEPS


@dataclass(frozen=True, slots=True)
class TableAmounts:
    """Amounts of the rows of one table, of one seed.

    Attributes:
        rows: [k] int64 snapshot rows, each once.
        columns: [k, columns] what each column of each adds, by integrated gradients.
        with_linked: [k] what each adds with all that was reached through it, where it was met first to last.
    """

    rows: Int64s
    columns: Floats
    with_linked: Floats


@dataclass(frozen=True, slots=True)
class Found:
    """What moved the number of one seed.

    Attributes:
        score: the number.
        average: the number for the same neighbourhood with average rows in all places.
        tables: table → amounts; they add up to the score minus the average, with those of past and item.
        links: edge types along which something was found, and how many rows.
        changes: what was taken out or set to average, and the score minus that without it.
        past: [lags] amounts of past values; None without.
        item: [columns + 2] amounts of the item; None but for links.
    """

    score: float
    average: float
    tables: dict[str, TableAmounts]
    links: dict[str, int]
    changes: list[tuple[Change, float]]
    past: Floats | None
    item: Floats | None

    @property
    def total(self) -> float:
        """The sum of all amounts."""
        tables = sum(float(table.columns.sum()) for table in self.tables.values())
        return tables + sum(float(more.sum()) for more in (self.past, self.item) if more is not None)

    @property
    def num_rows(self) -> int:
        """How many rows were read, the seed's own included."""
        return sum(len(table.rows) for table in self.tables.values())


def find(explainer: Explainer, loader: InputLoader, seeds: Seeds, aims: Aims, effort: Effort) -> list[Found]:
    """What moved the number of each seed.

    Args:
        explainer: of the version.
        loader: samples rows and reads them.
        seeds: a batch of them.
        aims: which number of each.
        effort: how much is looked at.
    """
    batch = loader.trees(None).sample(seeds)
    inputs = loader.inputs_of(batch)
    found = _attributed(explainer, loader, batch, inputs, aims, effort.steps)
    amounts = _by_seed(batch, found)
    links = _links(batch)
    changes = [
        _candidates(seeds, place, amounts[place], links[place], effort, has_past=found.past is not None)
        for place in range(len(seeds))
    ]
    flat = [(place, change) for place, some in enumerate(changes) for change in (None, *some)]
    owners = np.array([place for place, _ in flat], np.int64)
    scores = scores_with(
        explainer.score,
        loader,
        seeds.take(owners),
        aims.take(owners),
        [[] if change is None else [change] for _, change in flat],
        explainer.columns,
        explainer.averages,
    )
    result, start = [], 0
    for place, some in enumerate(changes):
        score, own = scores[start], scores[start + 1 : start + 1 + len(some)]
        start += 1 + len(some)
        result.append(
            Found(
                float(score),
                float(found.average[place]),
                amounts[place],
                links[place],
                list(zip(some, (score - own).tolist(), strict=True)),
                None if found.past is None else found.past[place],
                None if found.item is None else found.item[place],
            )
        )
    return result


def _attributed(
    explainer: Explainer, loader: InputLoader, batch: Batch, inputs: Inputs, aims: Aims, most: int
) -> Attribution:
    """Amounts by as many steps as they need to add up, and not more than ``most``."""
    steps = min(STEPS, most)
    while True:
        parts = (aims, explainer.columns, explainer.averages)
        found = attribute(explainer.score, loader, batch, inputs, *parts, steps)
        missed, sizes = found.missed(batch)
        if steps >= most or (missed <= TOLERANCE * sizes).all():
            return found
        steps = min(4 * steps, most)


def _by_seed(batch: Batch, found: Attribution) -> list[dict[str, TableAmounts]]:
    """Amounts of each seed, by table and row."""
    deep = {name: amounts.sum(axis=1) for name, amounts in found.tables.items()}
    for block in reversed(batch.blocks):
        frontier, neighbours = batch.hop(block)
        parents = np.repeat(np.arange(block.num_dst), np.diff(block.offsets))
        sums = np.bincount(parents, deep[block.edge.other][neighbours], block.num_dst)
        deep[block.edge.table][frontier] += sums
    result: list[dict[str, TableAmounts]] = [{} for _ in range(len(batch.seeds))]
    for name, amounts in found.tables.items():
        order = np.argsort(batch.seed[name], kind="stable")
        ends = np.searchsorted(batch.seed[name][order], np.arange(len(batch.seeds) + 1))
        for place, own in enumerate(result):
            local = order[ends[place] : ends[place + 1]]
            if len(local):
                rows, of = np.unique(batch.rows[name][local], return_inverse=True)
                columns = np.zeros((len(rows), amounts.shape[1]))
                np.add.at(columns, of, amounts[local])
                with_linked = np.zeros(len(rows))
                np.add.at(with_linked, of, deep[name][local])
                own[name] = TableAmounts(rows, columns, with_linked)
    return result


def _links(batch: Batch) -> list[dict[str, int]]:
    """Edge types along which each seed found rows, nearest first, and how many rows, each once."""
    met: list[dict[str, set[int]]] = [{} for _ in range(len(batch.seeds))]
    for block in batch.blocks:
        _, found = batch.hop(block)
        rows, seeds = batch.rows[block.edge.other][found], batch.seed[block.edge.other][found]
        for seed in np.unique(seeds).tolist():
            met[seed].setdefault(block.edge.name, set()).update(rows[seeds == seed].tolist())
    return [{name: len(rows) for name, rows in own.items()} for own in met]


def _candidates(
    seeds: Seeds, place: int, amounts: dict[str, TableAmounts], links: dict[str, int], effort: Effort, *, has_past: bool
) -> list[Change]:
    """What is taken out or set to average for one seed: links, linked rows, own columns, the past."""
    row = int(seeds.rows[place])
    changes: list[Change] = [LinkCut(name) for name in list(links)[: effort.links]]
    linked = [
        (-abs(size), name, int(other))
        for name, own in amounts.items()
        for size, other in zip(own.with_linked.tolist(), own.rows.tolist(), strict=True)
        if (name, other) != (seeds.table, row)
    ]
    changes += [RowCut(name, other) for _, name, other in sorted(linked)[: effort.rows]]
    table = amounts[seeds.table]
    own = np.abs(table.columns[np.searchsorted(table.rows, row)])
    best = np.argsort(-own, kind="stable")[: effort.columns]
    changes += [Averaged(seeds.table, row, column) for column in best.tolist()]
    return [*changes, PastCut()] if has_past else changes


def largest(changes: Sequence[tuple[Change, float]], most: int) -> list[tuple[Change, float]]:
    """The changes that matter most, at most so many; those that change nothing are left out."""
    return [pair for pair in sorted(changes, key=lambda pair: -abs(pair[1])) if pair[1] != 0.0][:most]
