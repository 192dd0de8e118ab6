"""Choice: a parameter of a model plan and the values it may have, and dotted names into the plan's tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """The values that a parameter may have; a single one is fixed. The first is tried first."""

    values: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter of the plan stands for.

    Attributes:
        name: as in the file, such as ``optimization.base_lr``.
        setting: of the project file, such as ``train.learning_rate``; empty where there is none.
        words: value in the plan → value of the setting, where they differ.
        is_list: one value is a list itself.
        only: the single values there are, where there is no setting; empty where anything may be.
        searched: several values may be given.
    """

    name: str
    setting: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    is_list: bool = False
    only: tuple[Any, ...] = ()
    searched: bool = True


def parameters(of: type[Any], prefix: str = "") -> Iterator[Parameter]:
    """All parameters of a tree of dataclasses, in the order of the file."""
    for place in fields(of):
        name = f"{prefix}{place.name}"
        found = place.metadata.get("parameter")
        if found is not None:
            yield replace(found, name=name)
        elif is_dataclass(place.default_factory):
            yield from parameters(place.default_factory, f"{name}.")


def get(plan: Any, name: str) -> Any:
    """The value at a dotted name."""
    for part in name.split("."):
        plan = getattr(plan, part)
    return plan


def put(plan: T, name: str, value: Any) -> T:
    """The same with another value at a dotted name."""
    first, _, rest = name.partition(".")
    return replace(plan, **{first: put(getattr(plan, first), rest, value) if rest else value})  # type: ignore[type-var]
