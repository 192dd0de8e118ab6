"""Resolve: a plan with one value of each parameter becomes settings, and settings become such a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kincast.clock import Span
from kincast.errors import ProjectError
from kincast.project import (
    FeatureSettings,
    ModelSettings,
    Project,
    SamplingSettings,
    Settings,
    TaskSettings,
    TrainSettings,
)
from kincast.registry.pretrained import load_pretrained
from kincast.train.search.choice import Choice, Parameter, put
from kincast.train.search.plan import PARAMETERS, ModelPlan

BLOCKS: dict[str, type[Settings]] = {"model": ModelSettings, "train": TrainSettings, "features": FeatureSettings}
NUM_NEIGHBORS = "model.num_neighbors"
FANOUTS = ("fanout", "fanout_overrides", "num_neighbors")


def resolve(
    plan: ModelPlan, places: Mapping[str, int], settings: TaskSettings, features: FeatureSettings
) -> tuple[TaskSettings, FeatureSettings]:
    """The settings of one trial.

    Args:
        plan: says some parameters; the others are as in the settings.
        places: parameter → place of the value that is taken; the first where a parameter is not named.
        settings: of the task.
        features: of the project.

    Raises:
        ProjectError: values that do not go together.
    """
    blocks: dict[str, dict[str, Any]] = {
        "model": settings.model.model_dump(),
        "train": settings.train.model_dump(),
        "features": features.model_dump(),
    }
    for name, values in plan.choices().items():
        parameter = PARAMETERS[name]
        if not parameter.setting:
            continue
        block, _, key = parameter.setting.partition(".")
        if parameter.setting == NUM_NEIGHBORS:
            for fanout in FANOUTS:
                blocks[block].pop(fanout, None)
        blocks[block][key] = _word(parameter, values[places.get(name, 0)])
    try:
        model, train, found = (BLOCKS[name].model_validate(values) for name, values in blocks.items())
    except ValidationError as error:
        raise ProjectError(_message(error), where="plan") from None
    assert isinstance(found, FeatureSettings)
    return settings.model_copy(update={"model": model, "train": train}), found


def pinned(project: Project, settings: TaskSettings, plan: ModelPlan) -> tuple[TaskSettings, ModelPlan]:
    """Settings and plan with ids for the names of what they start from, so that what they say stays what it is.

    Raises:
        VersionError: there is no pre-trained network of that name, or it is damaged.
    """

    def id_of(name: str | None) -> str | None:
        return None if name is None else load_pretrained(project.pretrained, name).id

    train = settings.train.model_copy(update={"start_from": id_of(settings.train.start_from)})
    choice = plan.optimization.start_from
    if choice is not None:
        ids = tuple(dict.fromkeys(id_of(name) for name in choice.values))
        plan = put(plan, "optimization.start_from", Choice(ids))
    return settings.model_copy(update={"train": train}), plan


def fixed_plan(settings: TaskSettings, features: FeatureSettings, job: ModelPlan | None = None) -> ModelPlan:
    """The plan that says all there is to say about settings: one value each.

    Args:
        settings: of the task.
        features: of the project.
        job: whose metric, pruning and refitting it keeps.
    """
    plan = ModelPlan()
    if job is not None:
        plan = put(plan, "training_job", put(job.training_job, "num_experiments", 1))
    blocks = {"model": settings.model, "train": settings.train, "features": features}
    for name, parameter in PARAMETERS.items():
        if parameter.setting:
            block, _, key = parameter.setting.partition(".")
            plan = put(plan, name, Choice((_value(parameter, blocks[block], key),)))
        elif parameter.only:
            plan = put(plan, name, Choice(parameter.only[:1]))
    return plan


def checked_value(parameter: Parameter, value: Any) -> Any:
    """A value as the plan holds it, after its setting has accepted it.

    Raises:
        ProjectError: the setting does not.
    """
    block, _, key = parameter.setting.partition(".")
    if parameter.words and value not in parameter.words:
        known = [word for word, setting in parameter.words.items() if setting == value]
        hint = f"did you mean {known[0]}?" if known else f"there are {', '.join(parameter.words)}"
        raise ProjectError(f"'{value}' is not supported", hint=hint)
    try:
        found = BLOCKS[block].model_validate({key: _word(parameter, value)})
    except ValidationError as error:
        raise ProjectError(_message(error)) from None
    return _value(parameter, found, key)


def _value(parameter: Parameter, block: Settings, key: str) -> Any:
    """What a block of settings says, in the words of the plan and in plain values."""
    if parameter.setting == NUM_NEIGHBORS:
        assert isinstance(block, ModelSettings)
        return num_neighbors(block)
    value = _plain(getattr(block, key))
    return next((word for word, setting in parameter.words.items() if setting == value), value)


def num_neighbors(model: ModelSettings) -> dict[str, dict[str, int | str]]:
    """Fanouts by hop, as ``num_neighbors`` has them."""
    return {
        f"hop{hop + 1}": {
            "default": usual,
            **{link: hops[hop] for link, hops in model.fanout_overrides.items() if hops[hop : hop + 1]},
        }
        for hop, usual in enumerate(model.fanout)
    }


def _word(parameter: Parameter, value: Any) -> Any:
    return parameter.words[value] if parameter.words else value


def _plain(value: Any) -> Any:
    if isinstance(value, SamplingSettings):
        usual = SamplingSettings()
        found = {n: _plain(v) for n, v in value if v != getattr(usual, n)}
        return {"strategy": value.strategy, **found} if set(found) - {"strategy"} else value.strategy
    if isinstance(value, Span):
        return str(value)
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def _message(error: ValidationError) -> str:
    first = error.errors()[0]
    return str(first["msg"]).removeprefix("Value error, ")
