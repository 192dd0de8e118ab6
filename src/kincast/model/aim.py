"""Aim: the one number of a prediction that is explained, as the user sees it and with gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kincast.model.inputs import Inputs, TableInputs
from kincast.model.item import Items, instants
from kincast.model.joint import JointObjective
from kincast.model.link import Entities, LinkNetwork
from kincast.model.network import Network
from kincast.model.objective import Objective
from kincast.sample.batch import Seeds

Int64s = NDArray[np.int64]
ALL = -1
"""The place of the sum over all steps, and of targets of one number."""


@dataclass(frozen=True, slots=True)
class Aims:
    """Which number is meant, for each seed.

    Attributes:
        places: [n] int64 the class, label or step; ``ALL`` for the sum of all steps and for targets of one number; of
            links the item's row.
        part: which of several targets.
    """

    places: Int64s
    part: int = 0

    def take(self, index: Int64s) -> Aims:
        """Those of some seeds, in their order."""
        return Aims(self.places[index], self.part)


class Score(Protocol):
    """From what a network reads to the number that is meant."""

    @property
    def network(self) -> Network:
        """What reads the sampled rows."""

    def __call__(self, inputs: Inputs, seeds: Seeds, aims: Aims) -> Tensor:
        """[num_seeds] float64."""


@dataclass(frozen=True, slots=True)
class HeadScore:
    """The number that comes out of a head.

    Attributes:
        network: in evaluation mode.
        objective: says how outputs become scores.
    """

    network: Network
    objective: Objective | JointObjective

    def __call__(self, inputs: Inputs, seeds: Seeds, aims: Aims) -> Tensor:
        """[num_seeds] float64."""
        outputs, objective = self.network(inputs).outputs.double(), self.objective
        if isinstance(objective, JointObjective):
            outputs = torch.split(outputs, list(objective.widths), 1)[aims.part]
            objective = objective.parts[aims.part]
        scores = objective.read(outputs)
        if scores.ndim == 1:
            return scores
        places = torch.from_numpy(aims.places)
        chosen = scores.gather(1, places.clamp(min=0).unsqueeze(1))[:, 0]
        return torch.where(places == ALL, scores.sum(dim=1), chosen)


@dataclass(frozen=True, slots=True)
class ItemTerms:
    """What of a score belongs to the item itself.

    Attributes:
        identity: [n, width] learnt of the item alone; None where nothing is.
        inputs: its columns; None where they are not read.
        state: [n, STATE_WIDTH] how much it was in demand.
    """

    identity: Tensor | None
    inputs: TableInputs | None
    state: Tensor


@dataclass(frozen=True, slots=True)
class LinkScore:
    """The score of an entity and an item.

    Attributes:
        links: in evaluation mode.
        items: of the task.
    """

    links: LinkNetwork
    items: Items

    @property
    def network(self) -> Network:
        """What reads the sampled rows."""
        return self.links.trunk

    def __call__(self, inputs: Inputs, seeds: Seeds, aims: Aims) -> Tensor:
        """[num_seeds] float64."""
        return self.of(inputs, aims, self.terms(seeds, aims))

    def terms(self, seeds: Seeds, aims: Aims) -> ItemTerms:
        """What belongs to the item that is meant for each seed."""
        links, rows = self.links, torch.from_numpy(aims.places)
        state = torch.zeros(len(seeds), links.worth.numel())
        for as_of, visible, here in instants(seeds):
            state[torch.from_numpy(here)] = self.items.state(as_of, visible)[rows[torch.from_numpy(here)]]
        identity = links.lookup(self.items.places[rows]) if links.has_towers and links.has_lookup else None
        inputs = self.items.inputs(aims.places) if links.has_towers and links.reads_features else None
        return ItemTerms(identity, inputs, state)

    def average_state(self, seeds: Seeds) -> Tensor:
        """[n, STATE_WIDTH] how much items were in demand on average at the instant of each seed."""
        states = torch.zeros(len(seeds), self.links.worth.numel())
        for as_of, visible, here in instants(seeds):
            known = torch.from_numpy(self.items.exist(as_of))
            states[torch.from_numpy(here)] = self.items.state(as_of, visible)[known].mean(dim=0).nan_to_num()
        return states

    def of(self, inputs: Inputs, aims: Aims, terms: ItemTerms) -> Tensor:
        """[num_seeds] float64 with other things said of the item."""
        entities: Entities = self.links(inputs)
        width = self.links.width
        vectors = torch.zeros(len(aims.places), width)
        if terms.identity is not None:
            vectors = vectors + terms.identity
        if terms.inputs is not None:
            vectors = vectors + self.links.project(self.links.encoder(terms.inputs))
        towers = entities.towers
        scores = (towers[:, :width] * vectors).sum(dim=1) + (towers[:, width:] * terms.state).sum(dim=1)
        meant = entities.item == torch.from_numpy(aims.places)[entities.seed]
        scores = scores.index_add(0, entities.seed[meant], entities.extra[meant])
        return scores.double()
