"""Links without a time: no split sees in the graph what it has to predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.kinds import make_shop

from kincast.graph.snapshot import Snapshot
from kincast.model.item import facts_of
from kincast.query.labels import Labels
from kincast.sample.negative import ItemPath, item_path
from kincast.train.hidden import supervised, without_hidden
from kincast.train.prepare import prepare

Pairs = set[tuple[int, int]]


def named(labels: Labels) -> Pairs:
    """Entity and item of every link of some labels."""
    assert labels.lists is not None
    owners = np.repeat(labels.rows, labels.lists.lengths)
    return set(zip(owners.tolist(), labels.lists.items.tolist(), strict=True))


def shown(graph: Snapshot, path: ItemPath) -> Pairs:
    """Entity and item of every fact that the graph shows, found forwards; backwards they must be the same."""
    facts = facts_of(graph, path)
    link = graph.links[path.item]
    back = np.repeat(np.arange(len(link.offsets) - 1), np.diff(link.offsets))
    forward = link.forward[link.rows]
    np.testing.assert_array_equal(forward, back)
    kept = (facts.entity >= 0) & (facts.item >= 0)
    return set(zip(facts.entity[kept].tolist(), facts.item[kept].tolist(), strict=True))


def test_a_split_sees_what_came_before_it_and_nothing_else(tmp_path: Path) -> None:
    project, snapshot = make_shop(tmp_path, "static_links")
    prepared = prepare(project, "static_links", snapshot)
    labels, path = prepared.labels, item_path(prepared.task)
    parts = [named(labels.of(split)) for split in range(3)]
    learnt = named(supervised(labels, 0).of(0))
    graphs = [shown(without_hidden(snapshot, path, labels, split, 0), path) for split in range(3)]
    assert learnt < parts[0]
    assert {row for row, _ in learnt} == {row for row, _ in parts[0]}
    assert graphs[0] == parts[0] - learnt
    assert graphs[1] == parts[0]
    assert graphs[2] == parts[0] | parts[1]
    assert shown(snapshot, path) == parts[0] | parts[1] | parts[2]
