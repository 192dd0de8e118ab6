"""Write: a tree of parameters as YAML, with reasons as comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import yaml

from kincast.train.search.choice import Choice

WIDTH = 120


def tree_text(tree: Any, reasons: Mapping[str, str]) -> str:
    """The sections of a tree as YAML.

    Args:
        tree: a dataclass of sections.
        reasons: dotted name → comment.
    """
    sections = [
        list(_lines(place.name, getattr(tree, place.name), reasons, 0)) for place in fields(tree) if place.compare
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _lines(name: str, value: Any, reasons: Mapping[str, str], depth: int) -> Iterator[str]:
    """Lines of one parameter or section, with what is below it."""
    indent, key = "  " * depth, name.rpartition(".")[2]
    if isinstance(value, Choice):
        value = [*value.values] if len(value.values) > 1 else value.values[0]
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:"
            yield from _mapping(name, value, reasons, depth + 1)
            return
    elif hasattr(value, "__dataclass_fields__"):
        below = [
            line
            for place in fields(value)
            for line in _lines(f"{name}.{place.name}", getattr(value, place.name), reasons, depth + 1)
        ]
        if below:
            yield f"{indent}{key}:"
            yield from below
        return
    elif value is None:
        return
    yield from _commented(f"{indent}{key}: {flow(value)}", reasons.get(name), indent)


def _mapping(name: str, values: Mapping[str, Any], reasons: Mapping[str, str], depth: int) -> Iterator[str]:
    """Lines of a value that is a mapping, whose names may have dots."""
    indent = "  " * depth
    for key, value in values.items():
        place = f"{name}.{key}"
        if isinstance(value, dict) and any(reason.startswith(f"{place}.") for reason in reasons):
            yield f"{indent}{flow(key)}:"
            yield from _mapping(place, value, reasons, depth + 1)
        else:
            yield from _commented(f"{indent}{flow(key)}: {flow(value)}", reasons.get(place), indent)


def _commented(line: str, reason: str | None, indent: str) -> Iterator[str]:
    if reason is None:
        yield line
    elif len(line) + 4 + len(reason) <= WIDTH:
        yield f"{line}  # {reason}"
    else:
        yield from textwrap.wrap(reason, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        yield line


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(plain(value), default_flow_style=True, sort_keys=False, allow_unicode=True, width=100_000)
    return text.strip().removesuffix("...").strip()


def plain(value: Any) -> Any:
    """A value with lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value
