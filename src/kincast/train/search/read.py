"""Read: a model plan from YAML, every name and value checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from kincast.document import parse_document, read_document
from kincast.errors import ProjectError
from kincast.train.search.choice import Choice, Parameter, get, put
from kincast.train.search.plan import PARAMETERS, ModelPlan
from kincast.train.search.resolve import checked_value

NEAREST = {
    "disable_compilation": "optimization.optimizer",
    "encoder_overrides": "a column's type in the schema card: 'ignored' drops it",
    "handle_new_target_entities": "model_architecture.target_embedding_mode: feature",
    "max_target_neighbors_per_entity": "neighbor_sampling.max_rows_per_seed",
    "max_test_steps": "optimization.max_steps_per_epoch; every test row is scored",
    "max_val_steps": "optimization.max_steps_per_epoch; 50,000 validation rows at most are scored",
    "metrics": "training_job.tune_metric; every metric of the kind of task is computed",
    "min_steps_per_epoch": "optimization.batch_size; smaller batches are more steps",
    "na_strategy": "nothing: a missing value is told apart from every other",
    "past_encoder": "model_architecture.lag_timesteps",
    "prediction_time_encodings": "model_architecture.lag_timesteps",
    "overlap_ratio": "train.seed",
    "positional_encodings": "model_architecture.model.aggregation",
    "target_fraction": "train.seed",
    "temporal_strategy": "neighbor_sampling.strategy",
    "use_seq_id": "neighbor_sampling.strategy: last",
}
"""Names of other plans that mean nothing here → what comes nearest."""


def read_plan(path: Path) -> ModelPlan:
    """Read a plan.

    Raises:
        ProjectError: there is none, it is not YAML, or a name or value in it is not known.
    """
    try:
        values = read_document(path)
    except FileNotFoundError:
        raise ProjectError("there is no plan", where=str(path), hint=f"kincast plan --write {path}") from None
    return _plan_of(values or {}, str(path))


def parse_plan(text: str, where: str = "plan") -> ModelPlan:
    """The plan of a file's text; raises as ``read_plan``."""
    return _plan_of(parse_document(text, where) or {}, where)


def _plan_of(values: Any, where: str) -> ModelPlan:
    plan = ModelPlan()
    for name, value in _leaves(values, ModelPlan(), where):
        try:
            plan = put(plan, name, _read(PARAMETERS[name], value))
        except ProjectError as error:
            raise ProjectError(error.what, where=f"{where}: {name}", hint=error.hint) from None
    return plan


def edit_plan(plan: ModelPlan, changes: Mapping[str, Any]) -> ModelPlan:
    """A plan with other values, each as the file would say it.

    >>> edit_plan(ModelPlan(), {"optimization.base_lr": [0.003, 0.01]}).space()
    {'optimization.base_lr': (0.003, 0.01)}

    Raises:
        ProjectError: a name or value is not known.
    """
    for name, value in changes.items():
        if name not in PARAMETERS:
            raise _unknown(name, list(PARAMETERS), "plan")
        plan = put(plan, name, _read(PARAMETERS[name], value))
    return plan


def _leaves(values: Any, node: Any, where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything that the file says."""
    if not isinstance(values, dict):
        what = f"{type(values).__name__} where a mapping is expected"
        raise ProjectError(what, where=f"{where}: {prefix.rstrip('.')}".rstrip(": "))
    known = [place.name for place in fields(node) if place.name != "reasons"]
    for key, value in values.items():
        if key not in known:
            raise _unknown(str(key), known, f"{where}: {prefix}{key}")
        name = f"{prefix}{key}"
        if name in PARAMETERS:
            yield name, value
        elif value is not None:
            yield from _leaves(value, getattr(node, key), where, f"{name}.")


def _unknown(name: str, known: list[str], where: str) -> ProjectError:
    last = name.rpartition(".")[2]
    if last in NEAREST:
        return ProjectError(f"'{last}' is not supported", where=where, hint=f"the nearest is {NEAREST[last]}")
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    everywhere = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in PARAMETERS], n=1, cutoff=0.7)
    elsewhere = [name for name in PARAMETERS if everywhere and name.endswith(f".{everywhere[0]}")]
    meant = close or elsewhere
    hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(known)}"
    return ProjectError(f"there is no parameter '{name}'", where=where, hint=hint)


def _read(parameter: Parameter, value: Any) -> Any:
    """The value as the plan holds it: a plain one, or a choice."""
    if not parameter.searched:
        return _read_fixed(parameter, value)
    several = isinstance(value, list | tuple)
    if parameter.is_list and several:
        several = all(isinstance(one, list | tuple) for one in value)
    several = several and not (parameter.is_list and not value)  # no entry at all is a value, too
    values = tuple(checked_value(parameter, one) for one in (value if several else [value]))
    if not values:
        raise ProjectError("an empty list leaves nothing to try", hint="give a value, or leave the parameter out")
    unique = tuple(one for place, one in enumerate(values) if one not in values[:place])
    return Choice(unique)


def _read_fixed(parameter: Parameter, value: Any) -> Any:
    if parameter.only:
        given = value if isinstance(value, list) else [value]
        for one in given:
            if one not in parameter.only or isinstance(one, bool) != isinstance(parameter.only[0], bool):
                hint = f"there is only {', '.join(str(known) for known in parameter.only)} so far"
                raise ProjectError(f"'{one}' is not supported", hint=hint)
        return Choice(tuple(given))
    usual = get(ModelPlan(), parameter.name)
    kind = type(usual)
    if usual is None:
        sound = value is None or isinstance(value, str)
    elif kind is bool:
        sound = isinstance(value, bool)
    else:
        low = 1 if parameter.name.endswith(("num_experiments", "min_epochs", "patience", ".k")) else 0
        number = isinstance(value, int | float) and not isinstance(value, bool)
        sound = number and (kind is float or isinstance(value, int)) and value >= low
    if not sound:
        hint = "a metric's name" if usual is None else f"a value such as {str(usual).lower()}; it cannot be searched"
        raise ProjectError(f"'{value}' does not fit", hint=hint)
    return kind(value) if kind is float else value
