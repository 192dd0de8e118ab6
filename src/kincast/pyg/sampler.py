"""Sampler: PyG's ``BaseSampler`` over the compiled kernels; any of PyG's own loaders can be given one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import BaseSampler, HeteroSamplerOutput, SamplerOutput
from torch_geometric.sampler.base import NumNeighbors
from torch_geometric.sampler.neighbor_sampler import edge_sample, node_sample

from kincast.errors import DataError, ProjectError
from kincast.pyg.expand import Choice, Sampled, expand
from kincast.pyg.graph import Int64s, TypedGraph, instants, read_graph
from kincast.sample.sampler import Sampler
from kincast.sample.strategy import LinkSampling

STRATEGIES = ("uniform", "last")
SUBGRAPHS = ("directional", "bidirectional", "induced")


class NeighborSampler(BaseSampler):  # type: ignore[misc]
    """Draws sub-graphs that obey time; without state, so any number of threads and loaders may share one.

    Sorting the edges is the expensive part: make one sampler and give it to the loaders of all splits as
    ``neighbor_sampler``.

    Args:
        data: with ``edge_index`` for every edge type.
        num_neighbors: per hop, for all edge types or for each: -1 all, 0 none, k at most k.
        subgraph_type: ``directional`` keeps the edges followed, ``bidirectional`` adds their reverse, ``induced`` has
            all edges between the nodes found that are visible to their seed.
        replace: draw with replacement.
        disjoint: each seed has a sub-graph of its own; always so with time.
        temporal_strategy: ``uniform`` draws among the visible, ``last`` takes the newest.
        time_attr: attribute of nodes or of edges that says when they came to be, as integers. A neighbour is visible
            to a seed when its time, or that of the edge, is not later than the seed's.
        weight_attr: attribute of edges: draw by weight. An edge of weight 0 is never taken.
        seed: of the draws.

    Attributes:
        graph: the edges in time order.
        num_nodes: as PyG's loaders expect it: a number, or by node type.
        disjoint: whether each seed has a sub-graph of its own.

    Raises:
        ProjectError: a wrong argument or combination.
        DataError: the data do not fit themselves.
    """

    def __init__(  # over budget: the arguments that PyG's own sampler has
        self,
        data: Data | HeteroData,
        num_neighbors: Any,
        subgraph_type: str = "directional",
        replace: bool = False,
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self._subgraph = str(getattr(subgraph_type, "value", subgraph_type))
        for name, value, known in (
            ("subgraph_type", self._subgraph, SUBGRAPHS),
            ("temporal_strategy", temporal_strategy, STRATEGIES),
        ):
            if value not in known:
                raise ProjectError(f"there is no {name} '{value}'", hint=f"there are {', '.join(known)}")
        if temporal_strategy == "last" and time_attr is None:
            raise ProjectError("the last neighbours are asked for, but there is no time", hint="give time_attr")
        if temporal_strategy == "last" and (replace or weight_attr is not None):
            raise ProjectError("the last neighbours are not drawn: neither replace nor weight_attr applies")
        self.graph: TypedGraph = read_graph(data, time_attr, weight_attr)
        self.disjoint = disjoint or self.graph.is_temporal
        hetero = isinstance(data, HeteroData)
        self.num_nodes: int | dict[str | None, int] = (
            dict(zip(self.graph.node_types, self.graph.num_nodes, strict=True)) if hetero else self.graph.num_nodes[0]
        )
        self._hetero = hetero
        strategy = temporal_strategy
        arrays, num_hops = self.graph.arrays, 0
        samplings: dict[str, Sequence[int] | LinkSampling] = {}
        for edge, link, hops in zip(
            arrays.edges, arrays.links, _fanout(num_neighbors, self.graph, hetero), strict=True
        ):
            weighted = "weighted" if link.weight is not None else strategy
            samplings[edge.name] = LinkSampling(weighted, tuple(hops), replace=replace)
            num_hops = len(hops)
        self._sampler = Sampler(arrays, [0] * num_hops, samplings, seed=seed)
        self._all = Sampler(arrays, [-1], strategy="all") if self._subgraph == "induced" else None

    def sample_from_nodes(self, index: Any, redraw: int = 0, **kwargs: Any) -> SamplerOutput | HeteroSamplerOutput:
        """The sub-graphs of seed nodes.

        Args:
            index: PyG's ``NodeSamplerInput``.
            redraw: another number, other draws, such as the epoch.
            kwargs: of other samplers; none has a meaning here.

        Raises:
            DataError: a node that is not there, or seeds without an instant.
        """
        return self._shape(node_sample(index, lambda seed, time: self._sample(seed, time, redraw)))

    def sample_from_edges(self, index: Any, neg_sampling: Any = None) -> SamplerOutput | HeteroSamplerOutput:
        """The sub-graphs around seed edges, for PyG's ``LinkNeighborLoader``, which also draws the negatives.

        Raises:
            DataError: a node that is not there, or seeds without an instant.
        """
        node_time: Any = None
        if any(time is not None for time in self.graph.node_time):
            times = {
                name: torch.from_numpy(time)
                for name, time in zip(self.graph.node_types, self.graph.node_time, strict=True)
                if time is not None
            }
            node_time = times if self._hetero else times[None]
        return self._shape(edge_sample(index, self._sample, self.num_nodes, self.disjoint, node_time, neg_sampling))

    @property
    def edge_permutation(self) -> None:
        """None: edges are named by their positions in ``edge_index``."""
        return None

    def _sample(self, seed: Any, seed_time: Any = None, redraw: int = 0) -> SamplerOutput | HeteroSamplerOutput:
        seeds, times = {}, []
        for name, nodes in (seed if isinstance(seed, dict) else {None: seed}).items():
            kind = self.graph.node_types.index(name)
            seeds[kind] = self._nodes(kind, nodes)
            given = seed_time.get(name) if isinstance(seed_time, dict) else seed_time
            if self.graph.is_temporal:
                times.append(self._seed_time(kind, seeds[kind], given))
        choice = Choice(self._sampler.redrawn(redraw), self._all, self.disjoint)
        return self._output(expand(self.graph, choice, seeds, np.concatenate(times) if times else None))

    def _nodes(self, kind: int, values: Any) -> Int64s:
        nodes: Int64s = np.ascontiguousarray(values.detach().cpu().numpy(), np.int64)
        num = self.graph.num_nodes[kind]
        if len(nodes) and (nodes.min() < 0 or nodes.max() >= num):
            wrong = nodes.min() if nodes.min() < 0 else nodes.max()
            raise DataError(f"there is no node {wrong}, only {num:,}", where=f"input_nodes {self._name(kind)}".strip())
        return nodes

    def _seed_time(self, kind: int, nodes: Int64s, given: Any) -> Int64s:
        """The instants given, else the nodes' own."""
        if given is not None:
            return instants(given, "input_time")
        own = self.graph.node_time[kind]
        if own is None:
            what = f"the seeds {self._name(kind)} have no time of their own".replace("  ", " ")
            raise DataError(what, where="input_time", hint="give input_time, the instant each is predicted at")
        return own[nodes]

    def _name(self, kind: int) -> str:
        return self.graph.node_types[kind] or ""

    def _output(self, found: Sampled) -> SamplerOutput | HeteroSamplerOutput:
        types, keys = self.graph.node_types, self.graph.edge_types
        node, batch, row, col, edge = (
            [torch.from_numpy(array.astype(np.int64, copy=False)) for array in arrays]
            for arrays in (found.nodes, found.tree, found.row, found.col, found.place)
        )
        num_edges = None if self._all is not None else found.num_edges
        if not self._hetero:
            return SamplerOutput(
                node=node[0],
                row=row[0],
                col=col[0],
                edge=edge[0],
                batch=batch[0] if self.disjoint else None,
                num_sampled_nodes=found.num_nodes[0],
                num_sampled_edges=None if num_edges is None else num_edges[0],
            )
        return HeteroSamplerOutput(
            node=dict(zip(types, node, strict=True)),
            row=dict(zip(keys, row, strict=True)),
            col=dict(zip(keys, col, strict=True)),
            edge=dict(zip(keys, edge, strict=True)),
            batch=dict(zip(types, batch, strict=True)) if self.disjoint else None,
            num_sampled_nodes=dict(zip(types, found.num_nodes, strict=True)),
            num_sampled_edges=None if num_edges is None else dict(zip(keys, num_edges, strict=True)),
        )

    def _shape(self, out: Any) -> Any:
        return out.to_bidirectional() if self._subgraph == "bidirectional" else out


def _fanout(num_neighbors: Any, graph: TypedGraph, hetero: bool) -> list[list[int]]:
    """Neighbours at each hop of each edge type, from what PyG takes: a list, a dictionary, or its ``NumNeighbors``."""
    numbers = num_neighbors if isinstance(num_neighbors, NumNeighbors) else NumNeighbors(num_neighbors)
    try:
        by_type = numbers.get_values(list(graph.edge_types) if hetero else None)
        rows = list(by_type.values()) if isinstance(by_type, dict) else [by_type]
        return [[int(number) for number in row] for row in rows]
    except (ValueError, TypeError, AssertionError) as error:
        raise ProjectError(str(error) or "is not a list of numbers", where="num_neighbors") from None
