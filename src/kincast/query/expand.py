"""Expand: names of targets → what the project file says they are, with the window that the query asks for."""

from __future__ import annotations

import dataclasses

from kincast.query.named import Texts, is_name, with_window
from kincast.query.parser import parse_target
from kincast.query.tree import ColumnRef, Query, Target


def expand(query: Query, texts: Texts) -> Query:
    """Put the targets of the project file in place of their names.

    Args:
        query: as parsed. WITHIN replaces the future windows of a named target.
        texts: the query, and the targets by name.

    Returns:
        The query itself when it names none of them.

    Raises:
        QueryError: the text of a target does not follow the grammar, or it has a modifier and so has the query.
    """
    modifier = query.modifier
    targets: list[Target] = []
    for target in query.targets:
        name = texts.find(target) if isinstance(target, ColumnRef) and is_name(target) else None
        if name is None:
            targets.append(target)
            continue
        found, own = parse_target(texts.targets[name], name)
        if own is not None and modifier is not None:
            what = f"the target {name} says how it is predicted, and so does the query"
            raise texts.error(what, modifier.at, "leave one of them out")
        modifier = own or modifier
        targets.append(with_window(found, query.within, replace=True) if query.within else found)
    if targets == list(query.targets):
        return query
    return dataclasses.replace(query, target=targets[0], more=tuple(targets[1:]), modifier=modifier, within=None)
