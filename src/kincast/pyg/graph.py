"""Graph: the edges of a ``Data`` or ``HeteroData`` as neighbour lists in time order.

The edges of a type are numbered in the order in which they become visible, so that the edges a seed may see are those
with a number below one cut, and those of one destination are a prefix of its list: the layout of a snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data, HeteroData

from kincast.errors import DataError, ProjectError
from kincast.graph.csr import reverse_link, row_type

Int64s = NDArray[np.int64]
Rows = NDArray[np.int32] | NDArray[np.int64]
Key = tuple[str, str, str] | None
"""An edge type; None for the one of a homogeneous graph."""


@dataclass(frozen=True, slots=True)
class Relation:
    """The edges of one type; edge i is the i-th to become visible.

    Attributes:
        key: the edge type.
        src: index of the node type that neighbours are of.
        dst: index of the node type they are neighbours of.
        offsets: [num_dst + 1] int64 into ``edges``.
        edges: [num_edges] int32 or int64 per destination, ascending.
        source: [num_edges] int32 or int64 node each edge comes from.
        place: [num_edges] int32 or int64 position of each edge in ``edge_index``.
        time: [num_edges] int64 ascending instant from which each edge is visible; None when always.
        weight: [num_edges] float64; None without.
    """

    key: Key
    src: int
    dst: int
    offsets: Int64s
    edges: Rows
    source: Rows
    place: Rows
    time: Int64s | None
    weight: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Graph:
    """Neighbour lists of all edge types.

    Attributes:
        node_types: names; one None for a homogeneous graph.
        num_nodes: of each node type.
        node_time: [num_nodes] int64 of each node type, None where it has none.
        relations: in the order of the data's edge types.
        is_temporal: whether anything has a time.
    """

    node_types: tuple[str | None, ...]
    num_nodes: tuple[int, ...]
    node_time: tuple[Int64s | None, ...]
    relations: tuple[Relation, ...]
    is_temporal: bool


def read_graph(data: Data | HeteroData, time_attr: str | None, weight_attr: str | None) -> Graph:
    """Neighbour lists of PyG data.

    Args:
        data: with ``edge_index`` for every edge type.
        time_attr: attribute of nodes or of edges that says when they came to be; None for a graph without time.
        weight_attr: attribute of edges; None without.

    Raises:
        DataError: the edges, times or weights do not fit the nodes or edges, or are not numbers of the right kind.
        ProjectError: no node or edge has such a time or weight, or nodes and edges both have that time.
    """
    if isinstance(data, HeteroData):
        node_types: tuple[str | None, ...] = tuple(data.node_types)
        stores: dict[Key, Any] = {key: data[key] for key in data.edge_types}
        nodes = [data[name] for name in data.node_types]
    elif isinstance(data, Data):
        node_types, stores, nodes = (None,), {None: data._store}, [data._store]
    else:
        what = f"{type(data).__name__} is neither Data nor HeteroData"
        raise ProjectError(what, where="data", hint="remote stores are not read; load them into HeteroData")
    num_nodes = tuple(int(store.num_nodes) for store in nodes)
    node_time, edge_time = _times(nodes, num_nodes, stores, time_attr)
    if weight_attr is not None and not any(weight_attr in store for store in stores.values()):
        raise ProjectError(f"no edge has '{weight_attr}'", where="weight_attr")
    relations = []
    for key, store in stores.items():
        ends = (0, 0) if key is None else (node_types.index(key[0]), node_types.index(key[2]))
        edge_index = _edge_index(key, store, [num_nodes[end] for end in ends])
        time = edge_time.get(key)
        born = node_time[ends[0]]
        if born is not None:
            time = born[edge_index[0]]
        weight = None
        if weight_attr is not None and weight_attr in store:
            weight = _weights(store[weight_attr], edge_index.shape[1], key)
        relations.append(_relation(key, ends, edge_index, num_nodes[ends[1]], time, weight))
    return Graph(node_types, num_nodes, node_time, tuple(relations), time_attr is not None)


def _relation(
    key: Key,
    ends: tuple[int, int],
    edge_index: Int64s,
    num_dst: int,
    time: Int64s | None,
    weight: NDArray[np.float64] | None,
) -> Relation:
    num_edges = edge_index.shape[1]
    kind: Any = row_type(max(num_edges, int(edge_index.max(initial=0)) + 1))
    place = np.arange(num_edges) if time is None else np.argsort(time, kind="stable")
    offsets, edges = reverse_link(edge_index[1][place], num_dst)
    return Relation(
        key,
        *ends,
        offsets,
        edges,
        edge_index[0][place].astype(kind),
        place.astype(kind),
        None if time is None else time[place],
        None if weight is None else weight[place],
    )


def _times(
    nodes: list[Any], num_nodes: tuple[int, ...], stores: dict[Key, Any], name: str | None
) -> tuple[tuple[Int64s | None, ...], dict[Key, Int64s]]:
    """Times of nodes per type, or of edges per type: one of the two is empty."""
    if name is None:
        return (None,) * len(nodes), {}
    of_nodes = [
        store if name in store and (None not in stores or store.is_node_attr(name)) else None for store in nodes
    ]
    of_edges = {
        key: store for key, store in stores.items() if name in store and (key is not None or of_nodes == [None])
    }
    if any(store is not None for store in of_nodes) and of_edges:
        raise ProjectError(f"nodes and edges both have '{name}'", where="time_attr", hint="rename one of them")
    if not of_edges and all(store is None for store in of_nodes):
        raise ProjectError(f"no node and no edge has '{name}'", where="time_attr")
    node_time = tuple(
        None if store is None else _instants(store[name], num, f"{name} of nodes")
        for store, num in zip(of_nodes, num_nodes, strict=True)
    )
    edge_time = {key: _instants(store[name], store.num_edges, f"{name} of edges") for key, store in of_edges.items()}
    return node_time, edge_time


def _edge_index(key: Key, store: Any, sizes: list[int]) -> Int64s:
    where = "edges" if key is None else "edges of " + "__".join(key)
    if "edge_index" not in store:
        raise DataError("there is no edge_index", where=where, hint="ToUndirected and adj_t come after sampling")
    edge_index: Int64s = store.edge_index.detach().cpu().numpy().astype(np.int64, copy=False)
    for row, size, end in zip(edge_index, sizes, ("source", "destination"), strict=True):
        if len(row) and (row.min() < 0 or row.max() >= size):
            wrong = row.min() if row.min() < 0 else row.max()
            raise DataError(f"there is no {end} node {wrong}, only {size:,}", where=where)
    return edge_index


def instants(values: Any, where: str) -> Int64s:
    """Instants of PyG as they are compared: [n] int64 from a tensor or array of any integers.

    Raises:
        DataError: they are not integers.
    """
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"instants are {array.dtype}", where=where, hint="give integers, such as seconds since 1970")
    return np.ascontiguousarray(array.reshape(-1), np.int64)


def _instants(values: Any, num: int, where: str) -> Int64s:
    found = instants(values, where)
    if len(found) != num:
        raise DataError(f"{len(found):,} instants for {num:,}", where=where)
    return found


def _weights(values: Any, num: int, key: Key) -> NDArray[np.float64]:
    where = "weights" if key is None else "weights of " + "__".join(key)
    weights: NDArray[np.float64] = values.detach().cpu().numpy().astype(np.float64).reshape(-1)
    if len(weights) != num:
        raise DataError(f"{len(weights):,} weights for {num:,} edges", where=where)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError("a weight is negative or not finite", where=where)
    return weights
