"""Strategy: how the neighbours along one edge type are chosen: which, how many at each hop, how far back."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kincast.errors import ProjectError
from kincast.sample.edge import EdgeType

STRATEGIES = ("last", "uniform", "recency", "weighted", "all")


@dataclass(frozen=True, slots=True)
class LinkSampling:
    """How neighbours are chosen along one direction of a link, among those that the seed can see.

    Without replacement, what is taken is the beginning of an order of all visible neighbours, so fewer are always a
    part of more: ``last`` orders newest first; ``uniform`` by chance; ``recency`` and ``weighted`` by drawing one after
    another from those that are left, each with a chance in proportion to its weight. Where all are taken and no later
    hop takes fewer, they come newest first.

    Attributes:
        strategy: ``last``; ``uniform``; ``recency``, where a neighbour's weight halves with every half-life of age;
            ``weighted``, where it is a number of its own; ``all``.
        fanout: neighbours at each hop: -1 all, 0 none, k at most k; None for the sampler's usual ones.
        half_life_us: of ``recency``.
        column: of the neighbours' table with the weights of ``weighted``: not negative; null counts as 0, and a
            neighbour of weight 0 as none. None where the links of the graph carry weights themselves.
        window_us: only neighbours whose time is less than this before the seed's as-of instant; all when None.
        replace: draw with replacement: k neighbours wherever there is one.

    Raises:
        ProjectError: an unknown strategy, or settings that do not go together.
    """

    strategy: str = "last"
    fanout: tuple[int, ...] | None = None
    half_life_us: int | None = None
    column: str | None = None
    window_us: int | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            hint = f"there are {', '.join(STRATEGIES[:-1])} and {STRATEGIES[-1]}"
            raise ProjectError(f"there is no sampling strategy '{self.strategy}'", hint=hint)
        if (self.strategy == "recency") != (self.half_life_us is not None):
            raise ProjectError("recency and half_life go together", hint="such as half_life: 30 days")
        if self.column is not None and self.strategy != "weighted":
            raise ProjectError(f"the column {self.column} belongs to the strategy weighted, not to {self.strategy}")
        if self.replace and self.strategy in ("last", "all"):
            raise ProjectError(f"'{self.strategy}' draws nothing that could be replaced", hint="leave replace out")
        for name, length in (("half_life", self.half_life_us), ("window", self.window_us)):
            if length is not None and length <= 0:
                raise ProjectError(f"the {name} is not longer than nothing", hint="such as 30 days")


LAST = LinkSampling()


def link_samplings(
    edges: Sequence[EdgeType],
    fanout: Sequence[int],
    overrides: Mapping[str, Sequence[int] | LinkSampling],
    usual: LinkSampling = LAST,
) -> tuple[LinkSampling, ...]:
    """How every edge type is sampled, each with its own fanout per hop.

    Args:
        edges: of the graph.
        fanout: the number for every hop.
        overrides: edge name → its own number for every hop, or all about it; blanks in a name do not matter.
        usual: of the edge types without an override that says otherwise; its own fanout is not read.

    Raises:
        ProjectError: an unknown name, a wrong number of hops, or a fanout below -1.
    """
    if not fanout:
        raise ProjectError("the fanout is empty", where="fanout", hint="give one number per hop, such as [16, 16]")
    _check_hops("fanout", fanout, len(fanout))
    chosen = [replace(usual, fanout=tuple(fanout))] * len(edges)
    index = {edge.name.replace(" ", ""): i for i, edge in enumerate(edges)}
    for name, override in overrides.items():
        where = f"fanout of {name}"
        place = index.get(name.replace(" ", ""))
        if place is None:
            names = [edge.name for edge in edges]
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'no links'}"
            raise ProjectError("there is no such link", where=where, hint=hint)
        own = override if isinstance(override, LinkSampling) else replace(usual, fanout=tuple(override))
        hops = tuple(fanout) if own.fanout is None else own.fanout
        _check_hops(where, hops, len(fanout))
        chosen[place] = replace(own, fanout=hops)
    return tuple(_take_all(sampling) if sampling.strategy == "all" else sampling for sampling in chosen)


def fanout_table(
    edges: Sequence[EdgeType],
    fanout: Sequence[int],
    overrides: Mapping[str, Sequence[int] | LinkSampling],
    usual: LinkSampling = LAST,
) -> NDArray[np.int64]:
    """How many neighbours each edge type takes at each hop: [num_edges, num_hops] int64; -1 all, 0 none.

    Arguments and errors as ``link_samplings``.
    """
    samplings = link_samplings(edges, fanout, overrides, usual)
    return np.array([sampling.fanout for sampling in samplings], np.int64).reshape(len(edges), len(fanout))


def _take_all(sampling: LinkSampling) -> LinkSampling:
    return replace(sampling, fanout=tuple(-1 if hop else 0 for hop in sampling.fanout or ()))


def _check_hops(where: str, hops: Sequence[int], num_hops: int) -> None:
    if len(hops) != num_hops:
        raise ProjectError(
            f"{len(hops)} numbers for {num_hops} hops", where=where, hint="give one number per hop; 0 skips a hop"
        )
    if any(isinstance(hop, str) for hop in hops):
        raise ProjectError("'inferred' has not been settled yet", where=where, hint="settle_fanouts needs a snapshot")
    if any(hop < -1 for hop in hops):
        raise ProjectError("a fanout is below -1", where=where, hint="-1 takes all, 0 none, k > 0 at most k")
