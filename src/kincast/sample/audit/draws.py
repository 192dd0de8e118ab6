"""Draws: leaks that show in what a loader drew, each row held against the instant of its own seed. Certain."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kincast.report import Check, Verdict
from kincast.sample.audit.subject import UNKNOWN_US, Draw, Facts, Int64s, Nodes, Order, instants

Adjacent = Mapping[str, tuple[Int64s, Int64s]]
"""Table → (row of the entity, row of that table), one pair per edge between them."""

MIN_PAIRS = 5
BY_CHANCE = 1e-4
SAME_INSTANT = 0.5
Tables = Mapping[str, Facts]


def later_neighbours(tables: Tables, draws: Sequence[Draw]) -> Iterator[Check]:
    """Rows drawn that came to be after the instant of their seed, at any hop."""
    found = _Tally()
    for draw in draws:
        for name, nodes, born, instant in _timed(tables, draw):
            bad = (born > instant) & (born != UNKNOWN_US) & _drawn(nodes)
            found.add(name, bad, nodes)
    what = "drawn rows are later than their seed"
    yield found.check("neighbour.later", what, "every drawn row is as old as its seed's instant")


def ties(tables: Tables, draws: Sequence[Draw], *, strict: bool, frozen: bool = False) -> Iterator[Check]:
    """Rows drawn at the very instant of their seed: wrong where ties are strict, worth a thought elsewhere.

    Args:
        tables: with their times.
        draws: of the loader.
        strict: the task hides facts at the very instant.
        frozen: the target is a column of the seed's row, written at its instant; what is tied to it may tell it.
    """
    found, seeds, tied = _Tally(), 0, 0
    for draw in draws:
        touched: set[int] = set()
        for name, nodes, born, instant in _timed(tables, draw):
            same = (born == instant) & _drawn(nodes)
            found.add(name, same, nodes)
            if nodes.seed is not None:
                touched |= set(np.unique(nodes.seed[same]).tolist())
        seeds, tied = seeds + len(draw.rows), tied + len(touched)
    if strict:
        what = "drawn rows have the very instant of their seed, though ties are strict"
        yield found.check("neighbour.tie", what, "no drawn row has the instant of its seed")
        return
    share = tied / seeds if seeds else 0.0
    odd = frozen and share > SAME_INSTANT
    said = f"{100 * share:.1f} % of seeds see a row of their very instant"
    said += "; if it comes after them, say ties: strict" if share else ""
    verdict = Verdict.WARN if odd else Verdict.NOTE if share else Verdict.OK
    yield Check("neighbour.tie", found.where, verdict, said, share, SAME_INSTANT if frozen else None)


def late_arrivals(tables: Tables, draws: Sequence[Draw]) -> Iterator[Check]:
    """Rows drawn that had happened by the instant of their seed but reached the database only afterwards."""
    found, known = _Tally(), False
    for name, facts in tables.items():
        if facts.arrival is None:
            continue
        known = True
        arrived = instants(facts.read(facts.arrival))
        for draw in draws:
            nodes = draw.nodes.get(name)
            if nodes is None or nodes.seed is None:
                continue
            instant = draw.as_of_us[nodes.seed]
            late = (arrived[nodes.rows] > instant) & _drawn(nodes)
            born = None if facts.born is None else facts.born[nodes.rows]
            found.add(name, late if born is None else late & (born <= instant), nodes)
    if known:
        what = "drawn rows reached the database after the instant of their seed: make the arrival the time of the row"
        yield found.check("row.late", what, "every drawn row had arrived by its seed's instant")


def ended(tables: Tables, draws: Sequence[Draw], adjacent: Adjacent) -> Iterator[Check]:
    """Ends that are used wrongly: rows drawn after their end, or hidden because they will end one day.

    Args:
        tables: with their times and ends.
        draws: of the loader.
        adjacent: which rows belong to which seeds, for what should have been drawn.
    """
    gone = _Tally()
    for draw in draws:
        for name, nodes in draw.nodes.items():
            end = tables[name].ended if name in tables else None
            if end is None or nodes.seed is None:
                continue
            over = end[nodes.rows]
            gone.add(name, (over != UNKNOWN_US) & (over <= draw.as_of_us[nodes.seed]) & _drawn(nodes), nodes)
    if not any(facts.end_time for facts in tables.values()):
        return
    yield gone.check("end.over", "drawn rows had ended by the instant of their seed", "no drawn row had ended")
    for name, (entities, rows) in adjacent.items():
        if name in tables and tables[name].ended is not None:
            yield _foreseen(tables[name], draws, entities, rows)


def _foreseen(facts: Facts, draws: Sequence[Draw], entities: Int64s, rows: Int64s) -> Check:
    """Rows that exist but have a known end: drawn as often as those without, unless the end was foreseen."""
    end, born = facts.ended, facts.born
    assert end is not None
    drawn, there = np.zeros(2), np.zeros(2)
    for draw in draws:
        nodes = draw.nodes.get(facts.name)
        if nodes is None or nodes.seed is None:
            continue
        had = set(zip(nodes.seed.tolist(), nodes.rows.tolist(), strict=True))
        for seed, (row, instant) in enumerate(zip(draw.rows.tolist(), draw.as_of_us.tolist(), strict=True)):
            own = rows[entities == row]
            alive = own if born is None else own[born[own] <= instant]
            alive = alive[(end[alive] == UNKNOWN_US) | (end[alive] > instant)]
            for one in alive.tolist():
                ends = int(end[one] != UNKNOWN_US)
                there[ends] += 1
                drawn[ends] += (seed, one) in had
    share = drawn / np.maximum(there, 1)
    what = f"of rows that end later {100 * share[1]:.0f} % were drawn, of rows without an end {100 * share[0]:.0f} %"
    hidden = drawn[1] == 0 and (1 - share[0]) ** there[1] < BY_CHANCE
    what += ": a row that will end exists until then" if hidden else ""
    verdict = Verdict.FAIL if hidden else Verdict.OK
    return Check("end.known", facts.name, verdict, what, float(share[1]), float(share[0]))


def shared_neighbours(draws: Sequence[Draw]) -> Iterator[Check]:
    """Neighbour sets used by seeds of different instants: some of them see what the latest may see."""
    crossing = total = unnamed = 0
    for draw in draws:
        mixed = len(np.unique(draw.as_of_us)) > 1
        unnamed += mixed and any(nodes.seed is None for nodes in draw.nodes.values())
        for edges in draw.edges:
            src, dst = draw.nodes[edges.src_table].seed, draw.nodes[edges.dst_table].seed
            if src is not None and dst is not None:
                crossing += int((draw.as_of_us[src[edges.src]] > draw.as_of_us[dst[edges.dst]]).sum())
                total += len(edges.src)
    if unnamed:
        what = (
            f"{unnamed} of {len(draws)} batches have seeds of several instants but one neighbourhood for all: disjoint"
        )
        yield Check("neighbour.shared", "batches", Verdict.FAIL, what + " ones are needed", unnamed, 0)
        return
    what = (
        f"{crossing:,} of {total:,} edges lead from the tree of a later seed" if crossing else "every tree has one seed"
    )
    yield Check("neighbour.shared", "batches", Verdict.FAIL if crossing else Verdict.OK, what, crossing, 0)


def reached_later(tables: Tables, draws: Sequence[Draw]) -> Iterator[Check]:
    """Where a loader does not say whose a row is: rows later than a seed that messages reach it from."""
    count, seeds = 0, 0
    for draw in draws:
        if not draw.edges or all(nodes.seed is not None for nodes in draw.nodes.values()):
            continue
        for place, instant in enumerate(draw.as_of_us.tolist()):
            reached = _reach(draw, place)
            late = [
                born is not None and bool(((b := born[draw.nodes[name].rows[local]]) > instant)[b != UNKNOWN_US].any())
                for name, local in reached.items()
                if (born := tables[name].born if name in tables else None) is not None or name in tables
            ]
            count, seeds = count + any(late), seeds + 1
    if seeds:
        what = f"{count:,} of {seeds:,} seeds are reached by messages from rows later than they are"
        verdict = Verdict.FAIL if count else Verdict.OK
        yield Check("neighbour.later", "batches without a seed per row", verdict, what, count, 0)


def _reach(draw: Draw, place: int) -> dict[str, Int64s]:
    """Table → local nodes that some path of edges leads from to the seed."""
    marks = {name: np.zeros(len(nodes.rows), bool) for name, nodes in draw.nodes.items()}
    marks[draw.table][place] = True
    before = -1
    while (now := sum(int(mark.sum()) for mark in marks.values())) > before:
        before = now
        for edges in draw.edges:
            marks[edges.src_table][edges.src[marks[edges.dst_table][edges.dst]]] = True
    return {name: np.flatnonzero(mark) for name, mark in marks.items()}


def stale_trees(tables: Tables, draws: Sequence[Draw], adjacent: Adjacent) -> Iterator[Check]:
    """The same tree for a row at two instants although facts came between: something is kept without the instant."""
    trees = _trees(draws)
    sampled = {name for draw in draws for name, nodes in draw.nodes.items() if len(nodes.rows)}
    links = [
        (t, *pairs) for name, pairs in adjacent.items() if name in sampled and (t := tables[name].born) is not None
    ]
    same = pairs = 0
    for row, at in trees.items():
        instants = sorted(at)
        news = np.concatenate([born[rows[entities == row]] for born, entities, rows in links] or [np.zeros(0)])
        for early, late in itertools.pairwise(instants):
            if ((news > early) & (news < late)).any():
                pairs += 1
                same += at[early] == at[late]
    bad = pairs >= MIN_PAIRS and same > pairs / 2
    what = f"{same:,} of {pairs:,} times a row has the same tree at two instants though facts came between"
    if not pairs:
        what = "no row was drawn at two instants with facts between, so nothing can be confused"
    verdict = Verdict.FAIL if bad else Verdict.OK if pairs else Verdict.NOTE
    yield Check("cache.instant", "batches", verdict, what, same, pairs // 2)


def _trees(draws: Sequence[Draw]) -> dict[int, dict[int, frozenset[tuple[str, int]]]]:
    """Row of a seed → its instant → what was drawn for it."""
    trees: dict[int, dict[int, frozenset[tuple[str, int]]]] = {}
    for draw in draws:
        members: list[list[tuple[str, int]]] = [[] for _ in draw.rows]
        for name, nodes in draw.nodes.items():
            if nodes.seed is None:
                continue
            for seed, row in zip(nodes.seed.tolist(), nodes.rows.tolist(), strict=True):
                members[seed].append((name, row))
        for row, instant, own in zip(draw.rows.tolist(), draw.as_of_us.tolist(), members, strict=True):
            trees.setdefault(row, {})[instant] = frozenset(own)
    return trees


def unborn_negatives(tables: Tables, draws: Sequence[Draw]) -> Iterator[Check]:
    """Negatives that did not exist yet, or no longer, at the instant of their seed: a model learns to tell by age."""
    found, any_drawn = _Tally(), False
    for draw in draws:
        for name, nodes in draw.negatives.items():
            any_drawn = True
            facts = tables[name]
            assert nodes.seed is not None
            instant = draw.as_of_us[nodes.seed]
            bad = np.zeros(len(nodes.rows), bool)
            if facts.born is not None:
                bad |= (facts.born[nodes.rows] > instant) & (facts.born[nodes.rows] != UNKNOWN_US)
            if facts.ended is not None:
                bad |= (facts.ended[nodes.rows] <= instant) & (facts.ended[nodes.rows] != UNKNOWN_US)
            found.add(name, bad, nodes)
    if any_drawn:
        what = "negatives do not exist at the instant of their seed"
        yield found.check("negative.unborn", what, "every negative exists at its seed's instant")


def unsorted(orders: Sequence[Order]) -> Iterator[Check]:
    """Neighbour lists that a sampler cuts by time although they are not in time order."""
    for order in orders:
        falls = np.diff(order.time_us) < 0
        starts = order.offsets[1:-1]
        falls[starts[(starts > 0) & (starts <= len(falls))] - 1] = False
        count = int(falls.sum())
        what = (
            f"{count:,} neighbours are older than the one before them in the same list" if count else "is in time order"
        )
        yield Check("order.unsorted", order.name, Verdict.FAIL if count else Verdict.OK, what, count, 0)


class _Tally:
    """Rows found wrong, by table and hop."""

    def __init__(self) -> None:
        self.bad = self.all = 0
        self.tables: dict[str, int] = {}
        self.hops: dict[int, int] = {}

    def add(self, table: str, bad: NDArray[Any], nodes: Nodes) -> None:
        self.all += len(bad)
        count = int(bad.sum())
        if count:
            self.bad += count
            self.tables[table] = self.tables.get(table, 0) + count
            for hop in np.unique(nodes.hop[bad]).tolist() if nodes.hop is not None else ():
                self.hops[hop] = self.hops.get(hop, 0) + int((nodes.hop[bad] == hop).sum())  # type: ignore[index]

    @property
    def where(self) -> str:
        return ", ".join(sorted(self.tables)) or "batches"

    def check(self, name: str, wrong: str, right: str) -> Check:
        if not self.bad:
            return Check(name, self.where, Verdict.OK, f"{right} ({self.all:,} rows)", 0, 0)
        hops = ", ".join(f"{count:,} at hop {hop}" for hop, count in sorted(self.hops.items()))
        said = f"{self.bad:,} of {self.all:,} {wrong}" + (f" ({hops})" if hops else "")
        return Check(name, self.where, Verdict.FAIL, said, self.bad, 0)


def _timed(tables: Tables, draw: Draw) -> Iterator[tuple[str, Nodes, Int64s, Int64s]]:
    """Of each timed table the nodes, when they came to be, and the instant they are held against.

    Where the loader does not say whose a row is, that is the latest of all seeds.
    """
    for name, nodes in draw.nodes.items():
        born = tables[name].born if name in tables else None
        if born is None or not len(nodes.rows):
            continue
        latest = np.full(len(nodes.rows), draw.as_of_us.max() if len(draw.as_of_us) else 0)
        yield name, nodes, born[nodes.rows], latest if nodes.seed is None else draw.as_of_us[nodes.seed]


def _drawn(nodes: Nodes) -> NDArray[np.bool_]:
    """Which nodes were drawn and are not the seeds themselves."""
    return np.ones(len(nodes.rows), bool) if nodes.hop is None else nodes.hop > 0
