"""Hidden: links without a time, of which some are hidden from the graph so that they can be learnt and judged.

While training, half of the training links are seen and the other half are what is predicted; validation sees all of
training, the test all of both, and predictions see everything.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kincast.graph.csr import reverse_link
from kincast.graph.snapshot import Snapshot, SnapshotLink
from kincast.model.item import facts_of
from kincast.query.encode import Lists
from kincast.query.labels import Labels
from kincast.sample.negative import ItemPath

SEEN_SHARE = 0.5


def supervised(labels: Labels, seed: int) -> Labels:
    """The labels without the training links that are seen while training; those left without any are dropped."""
    assert labels.lists is not None
    owner = np.repeat(np.arange(len(labels)), labels.lists.lengths)
    kept = ~_seen(labels, owner, seed)
    lengths = np.bincount(owner[kept], minlength=len(labels))
    lists = Lists(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), labels.lists.items[kept])
    return replace(labels, lists=lists, target=lengths.astype(np.float64)).where(lengths > 0)


def without_hidden(snapshot: Snapshot, path: ItemPath, labels: Labels, split: int, seed: int) -> Snapshot:
    """The graph as a split may see it.

    Args:
        snapshot: the whole graph.
        path: from entities to items.
        labels: all links, each in its split.
        split: 0 train, 1 validation, 2 test.
        seed: of the choice among the training links.
    """
    assert labels.lists is not None
    facts = facts_of(snapshot, path)
    width = snapshot.tables[snapshot.links[path.item].link.target].num_rows
    owner = np.repeat(np.arange(len(labels)), labels.lists.lengths)
    pairs = labels.rows[owner] * width + labels.lists.items.astype(np.int64)
    of_split = labels.split[owner]
    hidden = of_split >= max(split, 1)
    if split == 0:
        hidden |= (of_split == 0) & ~_seen(labels, owner, seed)
    gone: NDArray[np.bool_] = (
        np.isin(facts.entity * width + facts.item, pairs[hidden]) & (facts.entity >= 0) & (facts.item >= 0)
    )
    table = snapshot.links[path.item].link.table
    graph = copy.copy(snapshot)
    graph.links = tuple(_without(link, gone) if link.link.table == table else link for link in snapshot.links)
    return graph


def _seen(labels: Labels, owner: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """[m] training links that are seen while training; never all of a row's."""
    assert labels.lists is not None
    draws = np.random.default_rng(seed).random(len(owner))
    seen = (draws < SEEN_SHARE) & (labels.split[owner] == 0)
    starts = labels.lists.offsets[:-1][labels.lists.lengths > 0]
    seen[starts] = False
    return np.asarray(seen)


def _without(link: SnapshotLink, gone: NDArray[np.bool_]) -> SnapshotLink:
    forward = link.forward.copy()
    forward[gone] = -1
    return SnapshotLink(link.link, forward, *reverse_link(forward, len(link.offsets) - 1))
