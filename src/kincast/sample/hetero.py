"""Hetero: sampled arrays as PyTorch Geometric's ``HeteroData``, laid out as by its own loaders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kincast.errors import MissingExtraError
from kincast.sample.edge import EdgeType

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


@dataclass(frozen=True, slots=True)
class EdgeIndex:
    """Edges of one hop and edge type: local rows of ``edge.other`` [n], and of ``edge.table`` [n] which hear them."""

    hop: int
    edge: EdgeType
    src: NDArray[np.int64]
    dst: NDArray[np.int64]


def relation(edge: EdgeType) -> str:
    """The name of an edge type as PyG's models take it: they make attributes of it.

    >>> relation(EdgeType("users", "events", 0, True, "users.id->events.user"))
    'users_id_to_events_user'
    """
    return re.sub(r"\W", "_", edge.name.replace("->", "_to_"))


def hetero_data(
    seeds: Any,
    rows: Mapping[str, NDArray[np.int64]],
    hop_offsets: Mapping[str, NDArray[np.int64]],
    edges: Iterable[tuple[EdgeIndex, NDArray[np.int64] | None]],
    extra: Mapping[str, Mapping[str, NDArray[Any]]],
) -> HeteroData:
    """Put a sampled neighbourhood into a ``HeteroData``.

    Node types are the tables: ``n_id`` (rows), ``num_nodes``, ``num_sampled_nodes`` per hop. Edge types are ``(table
    heard, relation, table that hears)``: ``edge_index``, ``num_sampled_edges`` per hop, and ``e_id`` where places come
    with the edges. The seeds' table has ``batch_size``, ``input_id`` and ``seed_time``
    (microseconds). ``extra`` has more arrays by table and name.

    Raises:
        MissingExtraError: PyTorch Geometric is not installed.
    """
    try:
        import torch
        from torch_geometric.data import HeteroData
    except ImportError:
        raise MissingExtraError("torch_geometric", "pyg") from None
    data = HeteroData()
    num_hops = len(next(iter(hop_offsets.values()))) - 2
    for name, own in rows.items():
        data[name].n_id = torch.from_numpy(np.ascontiguousarray(own))
        data[name].num_nodes = len(own)
        data[name].num_sampled_nodes = np.diff(hop_offsets[name]).tolist()
        for label, values in extra.get(name, {}).items():
            data[name][label] = torch.from_numpy(values)
    by_type: dict[EdgeType, list[tuple[EdgeIndex, NDArray[np.int64] | None]]] = {}
    for each, places in edges:
        by_type.setdefault(each.edge, []).append((each, places))
    for edge, found in by_type.items():
        store = data[edge.other, relation(edge), edge.table]
        both = [np.stack([each.src, each.dst]) for each, _ in found]
        store.edge_index = torch.from_numpy(np.concatenate(both, axis=1))
        sizes = {each.hop: len(each.src) for each, _ in found}
        store.num_sampled_edges = [sizes.get(hop, 0) for hop in range(1, num_hops + 1)]
        kept = [places for _, places in found if places is not None]
        if kept:
            store.e_id = torch.from_numpy(np.concatenate(kept))
    data[seeds.table].batch_size = len(seeds)
    data[seeds.table].input_id = torch.arange(len(seeds))
    data[seeds.table].seed_time = torch.from_numpy(seeds.visible)
    return data
