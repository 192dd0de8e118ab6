"""Why: what moved predictions, told in the user's own tables and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.clock import format_instant
from kincast.feature.spec import FeatureSpec
from kincast.model.aim import Aims, HeadScore, LinkScore, Score
from kincast.model.attribute import DEMAND, IDENTITY, Columns
from kincast.model.column import column_inputs
from kincast.model.history import HistorySpec
from kincast.model.inputs import Inputs
from kincast.model.joint import JointObjective
from kincast.model.link import LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import Objective
from kincast.model.score import InputLoader
from kincast.predict.change import Averaged, PastCut
from kincast.predict.fact import Facts
from kincast.predict.find import Effort, Explainer, Found, find, largest
from kincast.predict.meant import Meant
from kincast.predict.reason import ColumnReason, ColumnTotal, LinkReason, RowReason, Why
from kincast.query.task import Task
from kincast.sample.batch import Seeds
from kincast.sample.without import LinkCut, RowCut

TOP = 5
"""Of each list that is shown."""

COLUMNS_OF_A_ROW = 3
BATCH_SEEDS, BATCH_STEPS, BATCH_LINKS = 128, 4, 4
"""Where many rows are explained: how many at once, steps of the integral, which only chooses what is tried, and links
that are tried."""


def explainer_of(
    network: Network | LinkNetwork,
    objective: Objective | JointObjective,
    task: Task,
    spec: FeatureSpec,
    history: HistorySpec | None,
    loader: InputLoader,
    usual: Callable[[], Iterable[Inputs]],
) -> Explainer:
    """What explaining needs of a version.

    Args:
        network: in evaluation mode.
        objective: of the version.
        task: its query.
        spec: the inputs of every table.
        history: the past labels it reads.
        loader: has the items of links.
        usual: as ``Explainer``.
    """
    schema = task.schema
    if history is not None:
        schema, spec = history.schema(schema, task.entity), history.features(spec)
    columns = {table.name: column_inputs(spec.table(table.name), table) for table in schema}
    score: Score
    if isinstance(network, LinkNetwork):
        assert loader.items is not None
        score = LinkScore(network, loader.items)
    else:
        score = HeadScore(network, objective)
    return Explainer(score, columns, usual)


def explain(explainer: Explainer, loader: InputLoader, seeds: Seeds, asked: Meant, top: int = TOP) -> list[Why]:
    """What moved the number of each seed, with every linked row taken out, of many those with the largest amounts.

    Args:
        explainer: of the version.
        loader: samples rows and reads them.
        seeds: n of them.
        asked: which number of each.
        top: of each list of reasons.
    """
    told = []
    for place in range(len(seeds)):
        here = np.array([place])
        found = find(explainer, loader, seeds.take(here), asked.aims.take(here), Effort())
        one = Meant(asked.aims.take(here), [asked.words[place]], asked.noun)
        told += tell(explainer.columns, loader, seeds.take(here), one, found, top)
    return told


def tell(
    columns: Columns, loader: InputLoader, seeds: Seeds, asked: Meant, found: Sequence[Found], top: int
) -> list[Why]:
    """What was found, in the user's own words; rows and values are looked up together.

    Args:
        columns: of every table.
        loader: that it was found with.
        seeds: n of them.
        asked: which number of each.
        found: [n].
        top: of each list of reasons.
    """
    facts = Facts(loader)
    own = facts.values(seeds.table, seeds.rows, [column.column for column in columns[seeds.table]])
    keys = facts.keys(seeds.table, seeds.rows)
    rows = _row_reasons(columns, facts, found, top)
    items = _items(columns, loader, facts, asked.aims, found, top)
    lags = None if loader.past is None else loader.past.read(seeds.rows, seeds.as_of_us, seeds.visible)
    told = []
    for place, one in enumerate(found):
        totals = _totals(columns, one)
        own_columns = columns[seeds.table]
        past = [change for what, change in one.changes if isinstance(what, PastCut)]
        told.append(
            Why(
                key=keys[place],
                as_of=format_instant(int(seeds.as_of_us[place])),
                of=asked.words[place],
                noun=asked.noun,
                score=one.score,
                average=one.average,
                num_rows=one.num_rows,
                num_tried=sum(isinstance(what, RowCut) for what, _ in one.changes),
                links=tuple(
                    LinkReason(what.edge, one.links[what.edge], change)
                    for what, change in largest(one.changes, len(one.changes))
                    if isinstance(what, LinkCut)
                )[:top],
                rows=rows[place],
                own=_own(own_columns, one, seeds, place, own[place], top),
                columns=tuple(totals[:top]),
                rest=sum(total.amount for total in totals[top:]),
                missed=one.score - one.average - one.total,
                past_change=past[0] if past else None,
                past=_past(one, None if lags is None else lags[place], top),
                item=items[place],
            )
        )
    return told


def _totals(columns: Columns, found: Found) -> list[ColumnTotal]:
    """Amounts of all columns over the rows of each table, the largest first."""
    totals = [
        ColumnTotal(name, column.column, len(own.rows), float(amount))
        for name, own in found.tables.items()
        for column, amount in zip(columns[name], own.columns.sum(axis=0), strict=True)
    ]
    return sorted(totals, key=lambda total: -abs(total.amount))


def _row_reasons(columns: Columns, facts: Facts, found: Sequence[Found], top: int) -> list[tuple[RowReason, ...]]:
    """The linked rows of each seed that changed most, with keys, times and values read once for each table."""
    chosen = [
        [(what, change) for what, change in largest(one.changes, len(one.changes)) if isinstance(what, RowCut)][:top]
        for one in found
    ]
    known: dict[tuple[str, int], tuple[Any, str | None, dict[str, Any]]] = {}
    wanted: dict[str, set[int]] = {}
    for some in chosen:
        for what, _ in some:
            wanted.setdefault(what.table, set()).add(what.row)
    for table, numbers in wanted.items():
        rows = np.array(sorted(numbers), np.int64)
        said = facts.keys(table, rows), facts.times(table, rows)
        values = facts.values(table, rows, [column.column for column in columns[table]])
        known |= {(table, row): told for row, told in zip(rows.tolist(), zip(*said, values, strict=True), strict=True)}
    reasons = []
    for one, some in zip(found, chosen, strict=True):
        told = []
        for what, change in some:
            key, time, values_of = known[what.table, what.row]
            amounts = one.tables[what.table]
            own = amounts.columns[int(np.searchsorted(amounts.rows, what.row))]
            best = [
                place for place in np.argsort(-np.abs(own), kind="stable")[:COLUMNS_OF_A_ROW].tolist() if own[place]
            ]
            names = [columns[what.table][place].column for place in best]
            parts = [ColumnReason(n, values_of[n], float(own[place])) for n, place in zip(names, best, strict=True)]
            told.append(RowReason(what.table, key, time, change, tuple(parts)))
        reasons.append(tuple(told))
    return reasons


def _own(
    columns: Sequence[Any], found: Found, seeds: Seeds, place: int, values: dict[str, Any], top: int
) -> tuple[ColumnReason, ...]:
    """Columns of the seed's own row, the largest changes first."""
    table = found.tables[seeds.table]
    amounts = table.columns[int(np.searchsorted(table.rows, seeds.rows[place]))]
    reasons = []
    for what, change in largest(found.changes, len(found.changes)):
        if isinstance(what, Averaged):
            name = columns[what.column].column
            reasons.append(ColumnReason(name, values[name], float(amounts[what.column]), change))
    return tuple(reasons[:top])


def _past(found: Found, lags: NDArray[np.float32] | None, top: int) -> tuple[ColumnReason, ...]:
    """Past values that are known, the largest amounts first: the first lag is the newest."""
    if found.past is None or lags is None:
        return ()
    known = [place for place in np.argsort(-np.abs(found.past), kind="stable").tolist() if not np.isnan(lags[place])]
    return tuple(ColumnReason(f"lag {p + 1}", float(lags[p]), float(found.past[p])) for p in known[:top])


def _items(
    columns: Columns, loader: InputLoader, facts: Facts, aims: Aims, found: Sequence[Found], top: int
) -> list[tuple[ColumnReason, ...]]:
    """What the item of each seed adds by itself, the largest amounts first."""
    if loader.items is None:
        return [()] * len(found)
    names = [column.column for column in columns[loader.items.table]]
    values = facts.values(loader.items.table, aims.places, names)
    told = []
    for one, said in zip(found, values, strict=True):
        assert one.item is not None
        pairs = zip((*names, IDENTITY, DEMAND), one.item.tolist(), strict=True)
        reasons = [ColumnReason(name, said.get(name), amount) for name, amount in pairs if amount]
        told.append(tuple(sorted(reasons, key=lambda reason: -abs(reason.amount))[:top]))
    return told


def reasons(explainer: Explainer, loader: InputLoader, seeds: Seeds, asked: Meant, top: int) -> Iterator[list[str]]:
    """The largest changes of each seed in words, among few that are tried: links, rows and own columns that add most.

    Args:
        explainer: of the version.
        loader: samples rows and reads them.
        seeds: n of them.
        asked: which number of each.
        top: for each seed.

    Yields:
        the lines of each seed, in order.
    """
    effort = Effort(rows=top, columns=top, links=BATCH_LINKS, steps=BATCH_STEPS)
    for start in range(0, len(seeds), BATCH_SEEDS):
        here = np.arange(start, min(start + BATCH_SEEDS, len(seeds)))
        part = seeds.take(here)
        one = Meant(asked.aims.take(here), [asked.words[place] for place in here.tolist()], asked.noun)
        found = find(explainer, loader, part, one.aims, effort)
        for why in tell(explainer.columns, loader, part, one, found, top):
            yield why.sentences(top)
