"""Module: a network of the user's own, or any of PyTorch Geometric's, between the encoders and the heads."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kincast.errors import ProjectError
from kincast.model.inputs import Inputs
from kincast.project import ModelSettings
from kincast.sample.edge import EdgeType
from kincast.sample.hetero import relation

EdgeKey = tuple[str, str, str]
WHERE = "model.module"


class OwnModule(nn.Module):
    """Calls a class that the settings name, as PyTorch Geometric's heterogeneous models are called.

    ``Class(metadata, channels, **module_options)`` is made once, with ``metadata`` the ``plain_names`` of the tables
    and the edge types ``(table heard, relation, table that hears)``, as PyG has them. Its ``forward(x_dict,
    edge_index_dict)`` reads for each table float32 [n, channels], the seeds first in theirs, and for each edge type
    int64 [2, edges]: the rows heard and the rows that hear. It returns vectors [n, channels] by table, at least of the
    seeds'.

    Every table and edge type is there, empty ones too. What it computes of a seed must depend on that seed's own tree
    alone, which message passing along the edges does: trees of different seeds share no row.

    Args:
        tables: names of the tables.
        edges: both directions of every link.
        settings: says the class, its options and the width.

    Raises:
        ProjectError: it cannot be imported or made, or does not return what it must.
    """

    def __init__(self, tables: Sequence[str], edges: Sequence[EdgeType], settings: ModelSettings) -> None:
        super().__init__()
        assert settings.module is not None
        self.name, self.channels = settings.module, settings.channels
        self.tables = plain_names(tables)
        self.keys: dict[str, EdgeKey] = {
            edge.name: (self.tables[edge.other], relation(edge), self.tables[edge.table]) for edge in edges
        }
        made = _imported(self.name)
        try:
            metadata = list(self.tables.values()), list(self.keys.values())
            self.module = made(metadata, settings.channels, **settings.module_options)
        except Exception as error:
            hint = "it is called with (metadata, channels) and module_options: docs/how-to/models.md"
            raise ProjectError(f"{self.name} cannot be made: {_said(error)}", where=WHERE, hint=hint) from error
        self._try_out()

    def forward(self, hidden: dict[str, Tensor], inputs: Inputs, keep: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The seeds' vectors [num_seeds, channels] and, where they are kept, those of all local rows of each table.

        Raises:
            ProjectError: it returned something else than it must.
        """
        empty = next(iter(hidden.values()))[:0]
        x_dict = {plain: hidden.get(name, empty) for name, plain in self.tables.items()}
        found = self._called(x_dict, _edge_indices(inputs, self.keys))
        seeds = self.tables[inputs.seed_table]
        if seeds not in found:
            there = ", ".join(found) or "nothing"
            raise ProjectError(f"{self.name} returned vectors of {there}, not of {seeds}", where=WHERE)
        # Where it says nothing of a table, its rows are as they were encoded.
        last = {name: found.get(self.tables[name], rows) for name, rows in hidden.items() if keep}
        return found[seeds][: inputs.num_seeds], last

    def _called(self, x_dict: dict[str, Tensor], edges: Mapping[EdgeKey, Tensor]) -> dict[str, Tensor]:
        """What the module says of tables, checked."""
        said: Any = self.module(x_dict, edges)
        if not isinstance(said, Mapping):
            hint = "vectors by table, such as {'customers': rows}"
            raise ProjectError(f"{self.name} returned a {type(said).__name__}, not a mapping", where=WHERE, hint=hint)
        for name, rows in said.items():
            wanted = (len(x_dict[name]) if name in x_dict else 0, self.channels)
            shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            if shape != wanted:
                what = f"{self.name} returned {shape} for {name}, expected {wanted}"
                raise ProjectError(what, where=WHERE, hint="one vector of model.channels numbers for each row")
        return dict(said)

    def _try_out(self) -> None:
        """Call it once on a few rows: parameters without a shape get theirs, and what is wrong is said early."""
        x_dict = {name: torch.zeros(2, self.channels) for name in self.tables.values()}
        edges = {key: torch.tensor([[0, 1], [0, 0]]) for key in self.keys.values()}
        self.module.eval()
        try:
            with torch.no_grad():
                self._called(x_dict, edges)
        except ProjectError:
            raise
        except Exception as error:
            what = f"{self.name} failed on rows of zeros: {_said(error)}"
            hint = "it is called with (x_dict, edge_index_dict): docs/how-to/models.md"
            raise ProjectError(what, where=WHERE, hint=hint) from error
        self.module.train()


def plain_names(tables: Sequence[str]) -> dict[str, str]:
    """Table → its name with ``_`` for what is no letter, digit or underscore: PyG's models make attributes of it.

    >>> plain_names(["order lines", "order_lines"])
    {'order lines': 'order_lines', 'order_lines': 'order_lines_'}
    """
    found: dict[str, str] = {}
    for table in tables:
        plain = re.sub(r"\W", "_", table)
        while plain in found.values():
            plain += "_"
        found[table] = plain
    return found


def _imported(name: str) -> type[nn.Module]:
    """The class ``package.module:Class``."""
    place, _, attribute = name.partition(":")
    hint = f"Python must be able to: from {place} import {attribute}; put its folder on PYTHONPATH or install it"
    try:
        module = importlib.import_module(place)
    except Exception as error:
        raise ProjectError(f"{place} cannot be imported: {_said(error)}", where=WHERE, hint=hint) from error
    found = getattr(module, attribute, None)
    # Nothing but networks: a version that somebody else made must not be able to name any function there is.
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ProjectError(f"{place} has no torch.nn.Module {attribute}", where=WHERE, hint=hint)
    return found


def _edge_indices(inputs: Inputs, keys: Mapping[str, EdgeKey]) -> dict[EdgeKey, Tensor]:
    """Edges of all hops by type."""
    parts: dict[EdgeKey, list[Tensor]] = {key: [torch.zeros(2, 0, dtype=torch.int64)] for key in keys.values()}
    for edge in inputs.edges:
        dst = torch.repeat_interleave(torch.arange(edge.num_dst), edge.offsets.diff()) + edge.dst_start
        src = torch.arange(edge.src_start, edge.src_start + len(dst))
        parts[keys[edge.edge.name]].append(torch.stack([src, dst]))
    return {key: torch.cat(found, dim=1) for key, found in parts.items()}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no more is said'}"
