"""Strategy: how the neighbours along one edge type are chosen: which, how many at each hop, how far back."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kincast.errors import ProjectError
from kincast.graph.snapshot import Snapshot
from kincast.project import ModelSettings, SamplingSettings
from kincast.sample.edge import EdgeType, edge_types

STRATEGIES = ("last", "uniform", "recency", "weighted", "all")
INFERRED = "inferred"
LEAST_INFERRED, MOST_INFERRED = 64, 512


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


Plan = tuple[tuple[int, ...], dict[str, tuple[int, ...] | LinkSampling], LinkSampling]
"""Fanout, overrides and usual sampling, as ``link_samplings`` and ``Sampler`` take them."""


def plan_of(settings: ModelSettings) -> Plan:
    """What the settings of a model say about sampling."""
    overrides: dict[str, tuple[int, ...] | LinkSampling] = {}
    fanouts = {name.replace(" ", ""): hops for name, hops in settings.fanout_overrides.items()}
    for name, hops in fanouts.items():
        overrides[name] = _numbers(hops, f"fanout of {name}")
    for name, sampling in settings.link_sampling.items():
        place = name.replace(" ", "")
        own = overrides.get(place)
        overrides[place] = _sampling(sampling, own if isinstance(own, tuple) else None)
    return _numbers(settings.fanout, "fanout"), overrides, _sampling(settings.sampling, None)


def settle_fanouts(settings: ModelSettings, snapshot: Snapshot, until_us: int) -> ModelSettings:
    """The settings with numbers for every ``inferred`` fanout.

    A link's number is 8 · sqrt(mean degree), rounded up, at least 64 and at most 512. The mean degree is that of the
    rows there are at an instant, such as the end of the training period: later rows say nothing.
    """
    every = (settings.fanout, *settings.fanout_overrides.values())
    if not any(hop == INFERRED for hops in every for hop in hops):
        return settings
    overrides = {name.replace(" ", ""): hops for name, hops in settings.fanout_overrides.items()}
    settled = {name: hops for name, hops in overrides.items() if INFERRED not in hops}
    for edge in edge_types(snapshot.schema):
        name = edge.name.replace(" ", "")
        hops = overrides.get(name, settings.fanout)
        if INFERRED in hops:
            number = _inferred(snapshot, edge, until_us)
            settled[name] = tuple(number if hop == INFERRED else hop for hop in hops)
    unknown = {name: hops for name, hops in overrides.items() if name not in settled}
    fanout = tuple(LEAST_INFERRED if hop == INFERRED else hop for hop in settings.fanout)
    return settings.model_copy(update={"fanout": fanout, "fanout_overrides": {**settled, **unknown}})


def _inferred(snapshot: Snapshot, edge: EdgeType, until_us: int) -> int:
    link = snapshot.links[edge.link]
    num_src, num_dst = (
        table.num_rows if table.time_us is None else int(np.searchsorted(table.time_us, until_us, "right"))
        for table in (snapshot.tables[link.link.table], snapshot.tables[link.link.target])
    )
    num_edges = int(np.count_nonzero(link.forward[:num_src] >= 0))
    degree = num_edges / max(num_dst if edge.reverse else num_src, 1)
    return min(max(math.ceil(8 * math.sqrt(degree)), LEAST_INFERRED), MOST_INFERRED)


def _sampling(settings: SamplingSettings, fanout: tuple[int, ...] | None) -> LinkSampling:
    return LinkSampling(
        settings.strategy,
        fanout,
        half_life_us=None if settings.half_life is None else settings.half_life.approx_us,
        column=settings.column,
        window_us=None if settings.window is None else settings.window.approx_us,
        replace=settings.replace,
    )


def _numbers(hops: Sequence[int | str], where: str) -> tuple[int, ...]:
    if any(isinstance(hop, str) for hop in hops):
        raise ProjectError("'inferred' needs a snapshot to be inferred from", where=where)
    return tuple(int(hop) for hop in hops)


def _take_all(sampling: LinkSampling) -> LinkSampling:
    return replace(sampling, fanout=tuple(-1 if hop else 0 for hop in sampling.fanout or ()))


def _check_hops(where: str, hops: Sequence[int], num_hops: int) -> None:
    if len(hops) != num_hops:
        raise ProjectError(
            f"{len(hops)} numbers for {num_hops} hops", where=where, hint="give one number per hop; 0 skips a hop"
        )
    if any(hop < -1 for hop in hops):
        raise ProjectError("a fanout is below -1", where=where, hint="-1 takes all, 0 none, k > 0 at most k")
