"""Document: a YAML file that a person writes, read with every name there once, or an error that says the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kincast.errors import ProjectError


def read_document(path: Path) -> Any:
    """What a YAML file says.

    Raises:
        FileNotFoundError: there is none.
        ProjectError: it is not YAML, or cannot be read.
    """
    try:
        return parse_document(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # unreadable, or not UTF-8
        raise ProjectError(f"cannot be read: {error}", where=str(path)) from None


def parse_document(text: str, where: str) -> Any:
    """What a YAML text says.

    Args:
        text: the document.
        where: its name, for messages.

    Raises:
        ProjectError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        raise ProjectError(f"not YAML: {getattr(error, 'problem', error)}", where=place) from None
    except RecursionError:
        raise ProjectError("is nested too deeply", where=where) from None
    except ValueError as error:  # a date that no calendar has
        raise ProjectError(f"cannot be read: {error}", where=where) from None


class _Loader(yaml.SafeLoader):
    """Refuses a name that is there twice; YAML would take the last and be silent about the others."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping with each name once."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
