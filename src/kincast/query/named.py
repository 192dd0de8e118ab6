"""Named: targets that the project file gives names to, and what WITHIN does to their windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from kincast.errors import QueryError
from kincast.query.tree import (
    Aggregate,
    And,
    Arithmetic,
    At,
    ColumnRef,
    Compare,
    Condition,
    Constant,
    Not,
    Operand,
    Or,
    Target,
    Window,
    aggregates,
)


@dataclass(frozen=True, slots=True)
class Texts:
    """What errors point into.

    Attributes:
        query: the query as written.
        targets: name → text of the targets in the project file.
    """

    query: str
    targets: Mapping[str, str] = field(default_factory=dict)

    def error(self, what: str, at: At, hint: str | None = None) -> QueryError:
        """An error at a place of the query, or of the named target that the place is in."""
        text = self.targets[at.origin] if at.origin else self.query
        return QueryError(what, text=text, start=at.start, end=at.end, hint=hint, target=at.origin)

    def written(self, at: At) -> str:
        """What stands at a place."""
        return (self.targets[at.origin] if at.origin else self.query)[at.start : at.end]

    def find(self, ref: ColumnRef) -> str | None:
        """The target of that name: in exactly this case, else the only one in another case."""
        wanted = ref.parts[0]
        if wanted in self.targets:
            return wanted
        alike = [name for name in self.targets if name.lower() == wanted.lower()]
        return alike[0] if len(alike) == 1 else None

    def hint(self, ref: ColumnRef) -> str:
        """What to do about a single word that is no known target."""
        close = get_close_matches(ref.parts[0].lower(), list(self.targets), n=1, cutoff=0.6)
        if close:
            return f"did you mean the target {close[0]}?"
        if self.targets:
            return f"the targets in kincast.yaml are {', '.join(list(self.targets)[:12])}"
        return f"name it under 'targets' in kincast.yaml, such as {ref.parts[0]}: COUNT(orders.*) = 0"


def is_name(target: Target) -> bool:
    """True for a single word, which may be a target's name."""
    return isinstance(target, ColumnRef) and len(target.parts) == 1 and not target.star


def lacks_window(target: Target) -> bool:
    """True when an aggregate has no window."""
    return any(node.window is None for node in aggregates(target, nested=False))


def with_window(target: Target, window: Window, replace: bool = False) -> Target:
    """A target whose aggregates have a window.

    Args:
        target: whose outermost aggregates are meant, not those in their filters.
        window: given to aggregates without one.
        replace: also to those whose window ends in the future.
    """
    if isinstance(target, Condition):
        return _in_condition(target, window, replace)
    return _in_operand(target, window, replace)


def _in_operand(node: Operand, window: Window, replace: bool) -> Operand:
    if isinstance(node, Aggregate):
        wanted = node.window is None or (replace and node.window.end > 0)
        return dataclasses.replace(node, window=window) if wanted else node
    if isinstance(node, Arithmetic):
        left, right = (_in_operand(side, window, replace) for side in (node.left, node.right))
        return Arithmetic(node.sign, left, right, node.at)
    return node


def _in_condition(node: Condition, window: Window, replace: bool) -> Condition:
    if isinstance(node, Compare):
        left = _in_operand(node.left, window, replace)
        right = tuple(item if isinstance(item, Constant) else _in_operand(item, window, replace) for item in node.right)
        return Compare(left, node.op, right, node.at)
    if isinstance(node, Not):
        return Not(_in_condition(node.item, window, replace), node.at)
    items = tuple(_in_condition(item, window, replace) for item in node.items)
    return And(items, node.at) if isinstance(node, And) else Or(items, node.at)
