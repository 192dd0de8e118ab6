"""Start: a network that begins as a pre-trained one: what must fit, what must not have been seen, and the weights."""

from __future__ import annotations

from typing import Any

import torch

from kincast.clock import format_instant
from kincast.errors import ProjectError
from kincast.model.link import LinkNetwork
from kincast.model.network import BODY, Network
from kincast.project import FeatureSettings, ModelSettings, Project, TaskSettings
from kincast.query.labels import Labels
from kincast.query.task import Task, TaskKind
from kincast.registry.pretrained import Pretrained, load_pretrained
from kincast.schema import Schema

_WHERE = "train.start_from"
SHAPE = (
    "channels",
    "kind",
    "messages",
    "bridges",
    "heads",
    "layers",
    "module",
    "module_options",
    "through",
    "aggregations",
    "pre_layers",
    "activation",
)
"""Settings of the model that say what the weights of encoders and body mean."""


def first_judged_us(labels: Labels) -> int:
    """The first instant of validation and test, or the freeze where that is earlier: what a start may have seen."""
    first = int(labels.as_of_us[labels.split > 0].min())
    return first if labels.freeze_us is None else min(first, labels.freeze_us)


def find_start(
    project: Project, settings: TaskSettings, task: Task, labels: Labels, features: FeatureSettings, schema: Schema
) -> Pretrained | None:
    """The pre-trained network that a task's settings start from; None where they name none.

    Args:
        project: has the folder.
        settings: of the task.
        task: what is predicted.
        labels: of all splits.
        features: how columns become numbers.
        schema: of the rows.

    Raises:
        VersionError: there is none of that name, or it is damaged.
        ProjectError: it was made for other tables, columns or settings, or saw what the task is judged by.
    """
    if settings.train.start_from is None:
        return None
    if task.kind is TaskKind.STATIC_LINK:
        what = "links without a time are hidden from a task split by split, and pre-training would have seen them"
        raise ProjectError(what, where=_WHERE, hint="leave it out")
    found = load_pretrained(project.pretrained, settings.train.start_from)
    _check_schema(found, schema)
    _check_settings(found, settings.model, features)
    read = set(found.hidden) ^ task.hidden
    if read:
        names = ", ".join(sorted(".".join(pair) for pair in read))
        what = f"{found.id} and the task do not hide the same columns: {names}"
        raise ProjectError(what, where=_WHERE, hint="pre-train for a task with the same target")
    first_us = first_judged_us(labels)
    if found.end_us > first_us:
        what = (
            f"{found.id} has seen facts up to {format_instant(found.end_us)}, "
            f"and the task is validated from {format_instant(first_us)} on"
        )
        raise ProjectError(what, where=_WHERE, hint="pre-train for this task, or with an earlier pretrain.end")
    return found


def start(network: Network | LinkNetwork, found: Pretrained) -> None:
    """Give encoders and body of a fresh network the weights of a pre-trained one.

    What only the fresh one has, such as the encoder of past labels, stays as it is.

    Raises:
        ProjectError: a weight is not there, or has another shape.
    """
    trunk = network.trunk if isinstance(network, LinkNetwork) else network
    own = trunk.state_dict()
    weights = {name: torch.from_numpy(array.copy()) for name, array in found.weights().items()}
    for name, weight in weights.items():
        if name not in own or own[name].shape != weight.shape:
            there = f"has shape {list(own[name].shape)}" if name in own else "is not there"
            what = f"the weight {name} of {found.id} has shape {list(weight.shape)}, and in the task's network {there}"
            hint = "pre-train again with the task's settings; a transformer has no label_history here"
            raise ProjectError(what, where=_WHERE, hint=hint)
    trunk.load_state_dict({**own, **weights})


def body_of(weights: dict[str, Any]) -> dict[str, Any]:
    """Those weights of a network that are of its encoders and body."""
    return {name: weight for name, weight in weights.items() if name.startswith(BODY)}


def _check_schema(found: Pretrained, schema: Schema) -> None:
    if found.schema == schema:
        return
    was, now = ({table.name: table for table in one} for one in (found.schema, schema))
    changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    links = {link.name for link in found.schema.links} ^ {link.name for link in schema.links}
    differs = ", ".join(changed + sorted(links)) or "the order of the tables or links"
    what = f"{found.id} was made for another schema; it differs in {differs}"
    raise ProjectError(what, where=_WHERE, hint="pre-train again on this schema")


def _check_settings(found: Pretrained, model: ModelSettings, features: FeatureSettings) -> None:
    was = ModelSettings.model_validate(found.model)
    differing = [f"model.{name}" for name in SHAPE if getattr(was, name) != getattr(model, name)]
    differing += [] if was.num_hops == model.num_hops else ["the number of hops of model.fanout"]
    read = FeatureSettings.model_validate(found.feature_settings)
    names = [name for name in FeatureSettings.model_fields if name != "readahead"]
    differing += [f"features.{name}" for name in names if getattr(read, name) != getattr(features, name)]
    if differing:
        what = f"{found.id} was made with other settings: {', '.join(differing)}"
        raise ProjectError(what, where=_WHERE, hint="make them alike, or pre-train again with the task's settings")
