"""Loader: anybody's graph with its loader of batches, such as PyG's, held against the rule of time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from kincast.errors import DataError
from kincast.report import Check, Report, Verdict
from kincast.sample.audit import columns
from kincast.sample.audit.run import attempt, audit_draws
from kincast.sample.audit.subject import Draw, Edges, Facts, Int64s, Nodes, Order, Outcomes

MAX_COLUMNS = 256
HOMOGENEOUS = "nodes"
Negatives = Callable[[Any], Mapping[str, Nodes]]


def audit_loader(
    data: Any,
    loader: Iterable[Any],
    *,
    time_attr: str = "time",
    end_attr: str | None = None,
    strict: bool = False,
    until: int | None = None,
    negatives: Negatives | None = None,
    max_batches: int = 20,
) -> Report:
    """Audit a graph and what a loader draws from it; PyG is not needed, only objects that look like its own.

    A batch says its global nodes (``n_id``), the instant of each seed (``seed_time``) and, when trees are disjoint,
    the seed of each node (``batch``). Give a loader whose seeds have the same rows at several instants, so that what
    is kept without the instant can show.

    Args:
        data: ``HeteroData`` or ``Data``: ``x`` and times of nodes, ``edge_index``.
        loader: batches drawn from it.
        time_attr: name of the instants of nodes; types without it are timeless.
        end_attr: name of the instants from which nodes no longer exist.
        strict: the loader should hide facts at the very instant.
        until: end of training, in the unit of the times; scaled columns are held against it.
        negatives: batch → table → negatives with their seeds, by global number.
        max_batches: looked at.
    """
    try:
        tables, children = _tables(data, time_attr, end_attr)
        drawn, outcomes = _draws(itertools.islice(loader, max_batches), negatives)
    except Exception as error:  # whatever a foreign object raises, nothing was looked at
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        what = f"could not run, so nothing is known: {reason}"
        return Report("audit of a loader", (Check("neighbour.later", "loader", Verdict.FAIL, what),))
    seeds = drawn[0].table if drawn else ""
    adjacent = {link.name.split(".")[0]: link.rows for link in children if link.children.table == seeds}
    checks = audit_draws(tables, drawn, adjacent, strict=strict, orders=_orders(loader, tables))
    links = [link.children for link in children]
    checks += attempt("degree.whole", lambda: columns.whole_counts(tables, links))
    checks += attempt("row.mutated", lambda: columns.young_jumps(tables))
    checks += attempt("row.mutated", lambda: columns.foreknown(tables, links, outcomes))
    checks += attempt("end.known", lambda: columns.ends_among_inputs(tables))
    if until is not None:
        checks += attempt("statistic.later", lambda: columns.standardised(tables, until))
    if outcomes is not None:
        checks += attempt("key.label", lambda: columns.telling_keys(tables, outcomes))
    return Report("audit of a loader", tuple(checks))


class _Link:
    """One edge type: as children of its target, and as (target, source) pairs."""

    def __init__(self, name: str, target: str, edges: Int64s, born: Int64s | None) -> None:
        time_us = None if born is None else born[edges[0]]
        self.name = name
        self.rows = (edges[1], edges[0])
        self.children = columns.Children(target, name, edges[1], time_us)


def _tables(data: Any, time_attr: str, end_attr: str | None) -> tuple[dict[str, Facts], list[_Link]]:
    kinds = list(getattr(data, "node_types", [])) or [HOMOGENEOUS]
    tables = {}
    for kind in kinds:
        store = data if kind == HOMOGENEOUS else data[kind]
        values: dict[str, np.ndarray] = {}
        if getattr(store, "x", None) is not None:
            x = _array(store.x)
            x = x.reshape(len(x), -1)
            values = {f"x[{place}]": x[:, place] for place in range(min(x.shape[1], MAX_COLUMNS))}
        end = getattr(store, end_attr, None) if end_attr else None
        own = {} if end is None else {str(end_attr): _array(end).astype(np.int64)}
        born = getattr(store, time_attr, None)
        tables[kind] = Facts(
            kind,
            int(store.num_nodes),
            (*values, *own),
            _reader({**values, **own}),
            time_us=None if born is None else _array(born).astype(np.int64),
            time=None if born is None else time_attr,
            end_time=end_attr if own else None,
        )
    if all(facts.born is None for facts in tables.values()):
        raise DataError(f"no node has the attribute {time_attr}", hint="name the one that holds instants as time_attr")
    links = []
    for kind in getattr(data, "edge_types", [(HOMOGENEOUS, "to", HOMOGENEOUS)]):
        store = data if kind[0] == HOMOGENEOUS else data[kind]
        edges = _array(store.edge_index).astype(np.int64)
        links.append(_Link(f"{kind[0]}.{kind[1]}", kind[2], edges, tables[kind[0]].born))
    return tables, links


def _reader(values: Mapping[str, np.ndarray]) -> Callable[[str], pa.ChunkedArray]:
    return lambda name: pa.chunked_array([pa.array(values[name])])


def _draws(batches: Iterable[Any], negatives: Negatives | None) -> tuple[list[Draw], Outcomes | None]:
    drawn, labels = [], []
    for batch in batches:
        draw = _draw(batch, {} if negatives is None else negatives(batch))
        drawn.append(draw)
        store = batch if draw.table == HOMOGENEOUS else batch[draw.table]
        y = getattr(store, "y", None)
        if y is not None and _array(y).ndim == 1:
            labels.append(_array(y)[: len(draw.rows)].astype(np.float64))
    if not drawn or len(labels) != len(drawn):
        return drawn, None
    rows = np.concatenate([draw.rows for draw in drawn])
    at = np.concatenate([draw.as_of_us for draw in drawn])
    return drawn, Outcomes(drawn[0].table, rows, at, np.concatenate(labels), np.zeros(len(rows), np.int8))


def _draw(batch: Any, negatives: Mapping[str, Nodes]) -> Draw:
    kinds = list(getattr(batch, "node_types", [])) or [HOMOGENEOUS]
    stores = {kind: batch if kind == HOMOGENEOUS else batch[kind] for kind in kinds}
    timed = [kind for kind in kinds if getattr(stores[kind], "seed_time", None) is not None]
    if not timed:
        raise DataError("a batch says no seed_time", hint="give the loader the instants of its seeds (input_time)")
    table = timed[0]
    at = _array(stores[table].seed_time).astype(np.int64)
    nodes = {}
    for kind, store in stores.items():
        rows = _array(store.n_id).astype(np.int64)
        seed = getattr(store, "batch", None)
        hops = _hops(batch, kind, len(rows))
        if hops is None and kind == table:
            hops = np.where(np.arange(len(rows)) < len(at), 0, 1)
        nodes[kind] = Nodes(rows, None if seed is None else _array(seed).astype(np.int64), hops)
    edges = []
    for kind in getattr(batch, "edge_types", [(HOMOGENEOUS, "to", HOMOGENEOUS)]):
        index = _array((batch if kind[0] == HOMOGENEOUS else batch[kind]).edge_index).astype(np.int64)
        edges.append(Edges(kind[0], index[0], kind[2], index[1]))
    return Draw(table, nodes[table].rows[: len(at)], at, nodes, tuple(edges), negatives)


def _hops(batch: Any, kind: str, count: int) -> Int64s | None:
    """[count] hop of each node, from the numbers of nodes that each hop brought."""
    brought = getattr(batch if kind == HOMOGENEOUS else batch[kind], "num_sampled_nodes", None)
    if brought is None:
        return None
    numbers = _array(brought).astype(np.int64)
    return np.repeat(np.arange(len(numbers)), numbers) if numbers.sum() == count else None


def _orders(loader: Any, tables: Mapping[str, Facts]) -> list[Order]:
    """Neighbour lists of PyG's sampler, where the loader has one."""
    sampler = getattr(loader, "node_sampler", None)
    lists, rows = getattr(sampler, "colptr_dict", None), getattr(sampler, "row_dict", None)
    if getattr(sampler, "node_time", None) is None or not isinstance(lists, dict) or not isinstance(rows, dict):
        return []
    found = []
    for name, offsets in lists.items():
        source = name.split("__")[0] if isinstance(name, str) else name[0]
        born = tables[source].born if source in tables else None
        if born is not None:
            found.append(Order(str(name), _array(offsets).astype(np.int64), born[_array(rows[name]).astype(np.int64)]))
    return found


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
