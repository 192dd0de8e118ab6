"""Negative: items a seed had no link to, drawn as they stood at its instant: uniform, by popularity, within the batch.

An item may be drawn for a seed when it exists at the seed's instant, is not in the seed's label list and, unless that
is switched off, no fact of the seed names it within the label window, whether or not the query's filter kept that fact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kincast.clock import Span, add, format_instant
from kincast.errors import DataError, ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.query.encode import Lists
from kincast.query.task import Task, TaskKind
from kincast.query.tree import Aggregate
from kincast.sample import kernels
from kincast.sample.batch import Int64s, Seeds
from kincast.sample.random import fold_all
from kincast.sample.reject import draw_items, weigh

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NO_ROWS = np.empty(0, np.int64)
_NO_FACTS = (_NO_ROWS, _NO_ROWS, _NO_ROWS, _NO_ROWS)
_TAG = 0x4E454741544956  # tells these draws from those of neighbours


@dataclass(frozen=True, slots=True)
class ItemPath:
    """How the seeds of a link task lead to items: entity ← … ← fact → item.

    Attributes:
        path: indices into ``Schema.links``, from the one that names the entity down to one of the fact table.
        item: index into ``Schema.links`` of the fact table's link to the items.
        window: start and end of the label window relative to the instant; None for links without a time.
    """

    path: tuple[int, ...]
    item: int
    window: tuple[Span, Span] | None = None


def item_path(task: Task) -> ItemPath:
    """Where the items of a link task are found.

    Raises:
        DataError: the task predicts no links.
    """
    target = task.query.target
    if task.kind not in (TaskKind.TEMPORAL_LINK, TaskKind.STATIC_LINK) or not isinstance(target, Aggregate):
        raise DataError(f"{task.kind.words} has no items to draw", where=task.query_line)
    links = task.schema.links
    column = target.column.column.column.name
    item = next(i for i, link in enumerate(links) if link.table == target.fact and column in link.columns)
    return ItemPath(tuple(links.index(link) for link in target.path), item, task.window)


@dataclass(frozen=True, slots=True)
class Negatives:
    """Items drawn for each seed.

    Attributes:
        items: [n, k] int64 rows of the item table, different within a seed.
        log_weight: [n, k] float64 log of the weight each was drawn with: the log-probability of one draw up to a
            constant per seed, which a softmax over the seed's candidates does not see. Subtract it from the logits,
            and ``NegativeSampler.log_weight`` from those of the positives, to undo the bias of the draw.
    """

    items: Int64s
    log_weight: Floats


@dataclass(frozen=True, slots=True)
class BatchItems:
    """The positives of a whole batch as candidates for each of its seeds.

    Attributes:
        items: [m] int64 different rows of the item table, ascending.
        log_q: [m] float64 log-probability that a positive drawn from all of training is this item; subtract it from
            the logits (Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
            recommendations", which estimates it in a stream; here all labels are at hand).
        positive: [n, m] whether the seed's label list names the item.
        negative: [n, m] whether the item may serve as a negative of the seed; the rest must be masked.
    """

    items: Int64s
    log_q: Floats
    positive: Bools
    negative: Bools


class NegativeSampler:
    """Draws negatives; without state, so any number of threads may share one.

    ``uniform`` gives every item that may be drawn the same weight. ``popularity`` gives it
    ``(number of its facts visible to the seed + prior) ** power``; with ``prior`` 0 an item without a visible fact is
    never drawn. Draws depend on ``seed``, ``redraw``, the seed's row and its instant alone: batches, order and threads
    change nothing.

    Args:
        snapshot: holds the facts.
        path: from seeds to items.
        strategy: ``uniform`` or ``popularity``.
        power: of the number of facts, from 0 to 1; 0.75 as in word2vec.
        prior: facts that every existing item is taken to have beyond its own.
        seed: of the draws.
        strict: hide what happens at the very instant, as the sampler of the neighbourhoods does.
        avoid_future: never an item that a fact of the seed names within the label window.

    Raises:
        ProjectError: an unknown strategy, a power outside 0 to 1, a negative prior, or a link on the way whose edges
            begin at other times than the rows they come from.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        path: ItemPath,
        strategy: str = "uniform",
        power: float = 0.75,
        prior: int = 0,
        seed: int = 0,
        strict: bool = False,
        *,
        avoid_future: bool = True,
    ) -> None:
        if strategy not in ("uniform", "popularity"):
            raise ProjectError(f"there is no negative sampling '{strategy}'", hint="there are uniform and popularity")
        if not 0 <= power <= 1 or prior < 0:
            raise ProjectError(f"popularity has power {power} and prior {prior}", hint="0 <= power <= 1, prior >= 0")
        for index in (*path.path, path.item):
            if snapshot.links[index].time_us is not None:
                where = snapshot.links[index].link.name
                raise ProjectError("a link with times of its own leads to no negatives", where=where)
        self._snapshot = snapshot
        self._path = path
        self._uniform = strategy == "uniform"
        self._rule = (0.0, 1) if self._uniform else (float(power), int(prior))
        self._strict = strict
        self._avoid_future = avoid_future
        self._key = fold_all(0, np.array([seed], np.int64))
        link = snapshot.links[path.item]
        self._link = link
        self._facts = snapshot.tables[link.link.table]
        self._items = snapshot.tables[link.link.target]

    def sample(self, seeds: Seeds, positives: Lists, num: int, redraw: int = 0) -> Negatives:
        """Draw for every seed.

        Args:
            seeds: [n].
            positives: [n] lists of rows of the item table.
            num: negatives per seed.
            redraw: another number, other draws, such as the epoch.

        Raises:
            DataError: the lists do not fit the seeds, or a seed has fewer items than ``num`` that may be drawn (by
                popularity: that have weight). Nothing is repeated or left out to make up the number.
        """
        excluded = self.excluded(seeds, positives)
        start = np.repeat(fold_all(fold_all(self._key, np.array([_TAG])), np.array([redraw])), len(seeds))
        keys = fold_all(fold_all(start, seeds.rows), seeds.as_of_us)
        items, weights = np.empty((len(seeds), num), np.int64), np.empty((len(seeds), num), np.float64)
        eligible = np.full(len(seeds), num, np.int64)
        draw_items(
            keys, self._instants(seeds), self._ends(), self._lists(), (excluded.offsets, excluded.items), self._rule,
            (items, weights), eligible,
        )  # fmt: skip
        self._refuse(seeds, eligible, num)
        return Negatives(items, weights)

    def log_weight(self, seeds: Seeds, items: Lists) -> Floats:
        """[m] float64 log of the weight that each listed item has for its seed; minus infinity where it has none.

        Args:
            seeds: [n].
            items: [n] lists of rows of the item table, m in all, such as the positives.

        Raises:
            DataError: the lists do not fit the seeds.
        """
        self._check(seeds, items)
        weights = np.empty(len(items.items), np.float64)
        of = np.repeat(np.arange(len(seeds)), items.lengths)
        weigh(of, items.items.astype(np.int64), self._instants(seeds), self._lists(), self._rule, weights)
        return weights

    def in_batch(self, seeds: Seeds, positives: Lists, pool: Lists) -> BatchItems:
        """The positives of the batch as candidates for all its seeds.

        Args:
            seeds: [n].
            positives: [n] lists of rows of the item table.
            pool: lists of all the labels that batches are drawn from.

        Raises:
            DataError: the lists do not fit the seeds, or an item of the batch is not in the pool.
        """
        excluded = self.excluded(seeds, positives)
        items = np.unique(positives.items.astype(np.int64))
        drawn = np.sort(pool.items.astype(np.int64))
        times = np.searchsorted(drawn, items, "right") - np.searchsorted(drawn, items, "left")
        if not times.all():
            what = f"{np.sum(times == 0):,} items of the batch are in no label of the pool"
            raise DataError(what, where=self._items.name, hint="the pool is the lists of all training labels")
        instants = seeds.as_of_us[:, None]
        negative = np.ones((len(seeds), len(items)), np.bool_)
        if self._items.time_us is not None:
            begun = self._items.time_us[items]
            negative &= (begun < instants) if self._strict else (begun <= instants)
        if self._items.end_us is not None:
            negative &= self._items.end_us[items] > instants
        negative &= ~_marks(excluded, items)
        return BatchItems(items, np.log(times / max(len(drawn), 1)), _marks(positives, items), negative)

    def excluded(self, seeds: Seeds, positives: Lists) -> Lists:
        """What may not be drawn for each seed: [n] lists, ascending and different.

        Raises:
            DataError: the lists do not fit the seeds.
        """
        self._check(seeds, positives)
        items = positives.items.astype(np.int64)
        of = np.repeat(np.arange(len(seeds)), positives.lengths)
        if self._avoid_future:
            later_of, later = self._future(seeds)
            of, items = np.concatenate([of, later_of]), np.concatenate([items, later])
        width = max(self._items.num_rows, 1)
        pairs = np.unique(of * width + items)
        return Lists(np.searchsorted(pairs, np.arange(len(seeds) + 1) * width), pairs % width)

    def _check(self, seeds: Seeds, items: Lists) -> None:
        if len(items) != len(seeds):
            raise DataError(f"{len(items)} lists of items for {len(seeds)} seeds", where=seeds.table)
        if len(items.items) and not 0 <= items.items.min() <= items.items.max() < self._items.num_rows:
            raise DataError(f"a listed item is none of the {self._items.num_rows:,} rows", where=self._items.name)

    def _future(self, seeds: Seeds) -> tuple[Int64s, Int64s]:
        """Seed and item of every fact of the seeds within their label window."""
        of, rows = np.arange(len(seeds), dtype=np.int32), seeds.rows
        for link in self._path.path[:-1]:
            of, rows = self._follow(link, of, rows, None, len(seeds))
        times = None
        if self._path.window is not None and self._facts.time_us is not None:
            unique, place = np.unique(seeds.as_of_us, return_inverse=True)
            times = tuple(
                np.array([add(instant, span) for instant in unique.tolist()], np.int64)[place]
                for span in self._path.window
            )
        of, rows = self._follow(self._path.path[-1], of, rows, times, len(seeds))
        items = self._link.forward[rows].astype(np.int64)
        return of[items >= 0].astype(np.int64), items[items >= 0]

    def _follow(
        self, index: int, of: NDArray[np.int32], rows: Int64s, times: tuple[Int64s, ...] | None, num_seeds: int
    ) -> tuple[NDArray[np.int32], Int64s]:
        """Seeds and rows of what refers to those rows, of any time or later than the first and up to the second."""
        link = self._snapshot.links[index]
        floors, cuts = _NO_ROWS, np.full(num_seeds, kernels.ALL, np.int64)
        if times is not None:
            floors, cuts = (self._cut(link.link.table, time, strict=False) for time in times)
        start, stop, offsets = (np.empty(len(rows) + more, np.int64) for more in (0, 0, 1))
        take, lists = (kernels.ALL, False), (link.offsets, link.rows)
        kernels.count_reverse((rows, of), lists, (cuts, floors), take, (start, stop), offsets)
        places = np.repeat(start - offsets[:-1], stop - start) + np.arange(offsets[-1])
        return np.repeat(of, stop - start), link.rows[places].astype(np.int64)

    def _instants(self, seeds: Seeds) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """[n] each: item rows begun by the instant, the instant, fact rows visible, up to when facts are visible."""
        begun = self._cut(self._items.name, seeds.as_of_us, self._strict)
        seen = self._cut(self._facts.name, seeds.visible, self._strict)
        return begun, seeds.as_of_us, seen, seeds.visible

    def _cut(self, name: str, instants: Int64s, strict: bool) -> Int64s:
        table = self._snapshot.tables[name]
        cuts = np.full(len(instants), table.num_rows, np.int64)
        if table.time_us is not None:
            kernels.cut_rows(table.time_us, instants, strict, cuts)
        return cuts

    def _ends(self) -> Int64s:
        return _NO_ROWS if self._items.end_us is None else self._items.end_us

    def _lists(self) -> tuple[NDArray[np.int64] | NDArray[np.int32], ...]:
        """Item of each fact, the facts of each item (offsets and rows), and the facts' ends; nothing when uniform."""
        if self._uniform:
            return _NO_FACTS
        ends = _NO_ROWS if self._facts.end_us is None else self._facts.end_us
        return self._link.forward, self._link.offsets, self._link.rows, ends

    def _refuse(self, seeds: Seeds, eligible: Int64s, num: int) -> None:
        short = np.flatnonzero(eligible < num)
        if not len(short):
            return
        shown = ", ".join(
            f"row {seeds.rows[i]} as of {format_instant(seeds.as_of_us[i])} has {eligible[i]}" for i in short[:3]
        )
        what = f"{len(short):,} of {len(seeds):,} seeds have fewer than {num} items to draw from: {shown}"
        hint = "ask for fewer negatives" if self._uniform else "ask for fewer, or give items without a fact a prior"
        raise DataError(what, where=f"negatives in {self._items.name}", hint=hint)


def _marks(lists: Lists, items: Int64s) -> Bools:
    """[n, m] whether list n holds item m of the ascending items."""
    marks = np.zeros((len(lists), len(items)), np.bool_)
    if len(items):
        values = lists.items.astype(np.int64)
        place = np.minimum(np.searchsorted(items, values), len(items) - 1)
        hit = items[place] == values
        marks[np.repeat(np.arange(len(lists)), lists.lengths)[hit], place[hit]] = True
    return marks
