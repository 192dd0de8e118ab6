"""Graph: the edges of a ``Data`` or ``HeteroData`` as neighbour lists in time order, for the sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data, HeteroData

from kincast.errors import DataError, ProjectError
from kincast.sample.arrays import ArrayGraph, EdgeList, array_graph

Int64s = NDArray[np.int64]
Key = tuple[str, str, str] | None
"""An edge type; None for the one of a homogeneous graph."""

_NODES = "nodes"


@dataclass(frozen=True, slots=True, eq=False)
class TypedGraph:
    """PyG data as the sampler reads it.

    Attributes:
        node_types: names; one None for a homogeneous graph.
        edge_types: one None for a homogeneous graph.
        tables: what each node type is called in ``arrays``.
        num_nodes: of each node type.
        node_time: [num_nodes] int64 of each node type, None where it has none.
        arrays: neighbour lists, one edge type per edge type of the data, in its order.
        is_temporal: whether anything has a time.
    """

    node_types: tuple[str | None, ...]
    edge_types: tuple[Key, ...]
    tables: tuple[str, ...]
    num_nodes: tuple[int, ...]
    node_time: tuple[Int64s | None, ...]
    arrays: ArrayGraph
    is_temporal: bool


def read_graph(data: Data | HeteroData, time_attr: str | None, weight_attr: str | None) -> TypedGraph:
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
    num_nodes = tuple(_num_nodes(store, name) for store, name in zip(nodes, node_types, strict=True))
    node_time, edge_time = _times(nodes, num_nodes, stores, time_attr)
    if weight_attr is not None and not any(weight_attr in store for store in stores.values()):
        raise ProjectError(f"no edge has '{weight_attr}'", where="weight_attr")
    tables = tuple(_NODES if name is None else name for name in node_types)
    edges = {}
    for key, store in stores.items():
        src, dst = (0, 0) if key is None else (node_types.index(key[0]), node_types.index(key[2]))
        source, destination = _edge_index(key, store, [num_nodes[src], num_nodes[dst]])
        weight = None
        if weight_attr is not None and weight_attr in store:
            weight = _weights(store[weight_attr], len(source), key)
        edges[edge_name(key)] = EdgeList(tables[src], tables[dst], source, destination, edge_time.get(key), weight)
    born = {name: time for name, time in zip(tables, node_time, strict=True) if time is not None}
    arrays = array_graph(dict(zip(tables, num_nodes, strict=True)), edges, born)
    return TypedGraph(node_types, tuple(stores), tables, num_nodes, node_time, arrays, time_attr is not None)


def edge_name(key: Key) -> str:
    """How an edge type is called in messages and in the graph's arrays."""
    return "edges" if key is None else str(key)


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


def _num_nodes(store: Any, name: str | None) -> int:
    """How many nodes there are; PyG warns where it guesses, and gives None where it cannot."""
    num = store.num_nodes
    if num is None:
        raise DataError("the number of nodes is not known", where=name, hint="set num_nodes or x")
    return int(num)


def _edge_index(key: Key, store: Any, sizes: list[int]) -> Int64s:
    where = edge_name(key)
    if "edge_index" not in store:
        raise DataError("there is no edge_index", where=where, hint="apply ToSparseTensor to the batches instead")
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
    where = f"weights of {edge_name(key)}"
    weights: NDArray[np.float64] = values.detach().cpu().numpy().astype(np.float64).reshape(-1)
    if len(weights) != num:
        raise DataError(f"{len(weights):,} weights for {num:,} edges", where=where)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError("a weight is negative or not finite", where=where)
    return weights
