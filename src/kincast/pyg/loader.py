"""Loader: PyG's ``NeighborLoader``, by its argument names, prepared ahead by threads instead of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NodeLoader

from kincast.ahead import in_order
from kincast.errors import DataError, ProjectError
from kincast.pyg.sampler import NeighborSampler

_IGNORED = ("persistent_workers",)
_PASSED = ("batch_size", "shuffle", "drop_last", "sampler", "batch_sampler", "generator", "pin_memory")


class NeighborLoader(NodeLoader):  # type: ignore[misc]
    """Mini-batches of sub-graphs around seed nodes, with the attributes that PyG's own loader gives them.

    A drop-in for ``torch_geometric.loader.NeighborLoader`` that needs neither pyg-lib nor torch-sparse, sees no later
    fact than a seed's instant, and gives the same batches for the same ``seed`` whatever ``num_workers`` is. Seeds are
    taken as they are given: that a seed itself exists at its instant is for ``input_nodes`` and ``input_time`` to say.

    Args:
        data: ``Data`` or ``HeteroData`` with ``edge_index`` for every edge type; not changed.
        num_neighbors: per hop, for all edge types or as a dictionary for each.
        input_nodes: seeds: indices or a mask; for ``HeteroData`` a node type, or a pair of it and those.
        input_time: [num_seeds] instants of the seeds; by default the nodes' own times.
        replace: draw with replacement.
        subgraph_type: ``directional``, ``bidirectional`` or ``induced``.
        disjoint: each seed has a sub-graph of its own; always so with time.
        temporal_strategy: ``uniform`` or ``last``.
        time_attr: attribute of nodes or edges that holds their times, as integers.
        weight_attr: attribute of edges to draw by.
        transform: applied to each batch, in a thread.
        transform_sampler_output: applied before features are gathered, in a thread.
        is_sorted: has no effect: edges are always sorted once, and the given order is kept among equal times.
        filter_per_worker: has no effect: threads share the memory of ``data``.
        neighbor_sampler: a ``kincast.pyg.NeighborSampler`` made before, shared by several loaders; it decides what the
            arguments above about sampling would.
        num_workers: threads that prepare batches; 0 prepares each when it is asked for.
        prefetch_factor: batches ready or in preparation at most, per thread.
        seed: of the draws; by default drawn from PyTorch's generator, so that ``torch.manual_seed`` decides it.
        redraw: draw anew in each pass over the loader; False gives the same neighbours in every pass.
        kwargs: ``batch_size``, ``shuffle``, ``drop_last``, ``sampler``, ``batch_sampler``, ``generator``,
            ``pin_memory`` and ``input_id`` as PyG's loader takes them; ``persistent_workers`` has no effect.

    Raises:
        ProjectError: a wrong argument or combination, or one that makes no sense for threads.
        DataError: data, seeds and instants do not fit each other.
    """

    def __init__(  # over budget: the arguments that PyG's own loader has
        self,
        data: Data | HeteroData,
        num_neighbors: Any,
        input_nodes: Any = None,
        input_time: torch.Tensor | None = None,
        replace: bool = False,
        subgraph_type: str = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        transform_sampler_output: Callable[[Any], Any] | None = None,
        is_sorted: bool = False,
        filter_per_worker: bool | None = None,
        neighbor_sampler: NeighborSampler | None = None,
        *,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        seed: int | None = None,
        redraw: bool = True,
        input_id: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        _refuse(kwargs, num_workers, prefetch_factor)
        if neighbor_sampler is None:
            neighbor_sampler = NeighborSampler(
                data, num_neighbors, subgraph_type, replace, disjoint, temporal_strategy, time_attr, weight_attr,
                seed=int(torch.randint(2**62, ())) if seed is None else seed,
            )  # fmt: skip
        elif not isinstance(neighbor_sampler, NeighborSampler):
            raise ProjectError(
                f"{type(neighbor_sampler).__name__} is not a sampler of Kincast", where="neighbor_sampler"
            )
        if input_time is not None and not neighbor_sampler.graph.is_temporal:
            raise ProjectError("the graph has no time", where="input_time", hint="give time_attr")
        if isinstance(data, HeteroData) and input_nodes is None:
            raise ProjectError("which node type is meant?", where="input_nodes", hint="give it, or (type, indices)")
        super().__init__(
            data=data,
            node_sampler=neighbor_sampler,
            input_nodes=input_nodes,
            input_time=input_time,
            transform=transform,
            transform_sampler_output=transform_sampler_output,
            filter_per_worker=False,
            input_id=input_id,
            **{name: value for name, value in kwargs.items() if name not in _IGNORED},
        )
        if input_time is not None and len(input_time) != len(self.input_data.node):
            what = f"{len(input_time):,} instants for {len(self.input_data.node):,} seeds"
            raise DataError(what, where="input_time")
        self._threads = num_workers
        self._ahead = num_workers * (prefetch_factor or 2)
        self._redraw = redraw
        self._passes = 0

    def __iter__(self) -> Iterator[Any]:
        redraw = self._passes if self._redraw else 0
        self._passes += 1
        return in_order(self.batch_sampler, partial(self._make, redraw), self._threads, self._ahead)

    def _make(self, redraw: int, index: list[int]) -> Any:
        out = self.node_sampler.sample_from_nodes(self.input_data[index], redraw=redraw)
        batch = self.filter_fn(out)
        return batch.pin_memory() if self.pin_memory and torch.cuda.is_available() else batch


def _refuse(kwargs: dict[str, Any], num_workers: int, prefetch_factor: int | None) -> None:
    """Refuse what a loader of threads cannot take."""
    for name, value in kwargs.items():
        if name not in (*_PASSED, *_IGNORED):
            taken = ", ".join((*_PASSED, "num_workers", "prefetch_factor"))
            raise ProjectError(f"there is no argument '{name}' here", where="NeighborLoader", hint=f"it takes {taken}")
        if name == "batch_size" and value is None:
            raise ProjectError("batch_size is None", where="NeighborLoader", hint="give the number of seeds a batch")
    if num_workers < 0 or (prefetch_factor is not None and prefetch_factor < 1):
        raise ProjectError("num_workers is at least 0, prefetch_factor at least 1", where="NeighborLoader")
