"""Make settings: write the reference of kincast.yaml from the settings classes and their docstrings.

python tools/make_settings.py --write    put it into docs/reference/settings.md
python tools/make_settings.py --check    1 when that file says something else
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from kincast.project import (
    FeatureSettings,
    LiveSettings,
    ModelSettings,
    PredictSettings,
    PretrainSettings,
    Project,
    SamplingSettings,
    Settings,
    SplitSettings,
    TaskSettings,
    TrainSettings,
)

PATH = Path(__file__).resolve().parents[1] / "docs" / "reference" / "settings.md"
BLOCKS: tuple[tuple[str, type[Settings]], ...] = (
    ("kincast.yaml", Project),
    ("features", FeatureSettings),
    ("live", LiveSettings),
    ("tasks.NAME", TaskSettings),
    ("tasks.NAME.split", SplitSettings),
    ("tasks.NAME.model", ModelSettings),
    ("tasks.NAME.model.sampling", SamplingSettings),
    ("tasks.NAME.train", TrainSettings),
    ("tasks.NAME.pretrain", PretrainSettings),
    ("tasks.NAME.predict", PredictSettings),
)
HEAD = """\
# Settings

Every setting of `kincast.yaml`, written by `make reference` from the code. Names that are not here are refused.
Lengths of time are written as `30 days` or `1 month`, instants as `2024-01-31` or `2024-01-31 13:00:00`, in UTC.
"""


def attributes(model: type[Settings]) -> dict[str, str]:
    """Name → meaning, from the ``Attributes:`` part of a docstring."""
    _, _, part = (model.__doc__ or "").partition("Attributes:")
    found: dict[str, str] = {}
    name = ""
    for line in part.splitlines():
        text = line.strip()
        # A new attribute is indented by eight spaces; what continues it, by more.
        if line.startswith(" " * 8) and not line.startswith(" " * 9) and ": " in text:
            name, _, text = text.partition(": ")
            found[name] = text
        elif text and name:
            found[name] += f" {text}"
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, dict | Settings):
        return "–"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def reference() -> str:
    """The whole page.

    Raises:
        SystemExit: a setting has no meaning in its class's docstring.
    """
    parts = [HEAD]
    for place, model in BLOCKS:
        meanings = attributes(model)
        parts.append(f"## `{place}`\n\n| setting | default | meaning |\n|---|---|---|")
        rows = []
        for name, field in model.model_fields.items():
            if name == "folder":
                continue
            block = isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
            if block and name not in meanings:
                rows.append(f"| `{name}` | – | see `tasks.NAME.{name}` |")
                continue
            if name not in meanings:
                raise SystemExit(f"{model.__name__}.{name} needs a line under Attributes in the docstring")
            meaning = meanings[name].replace("``", "`").replace("|", "\\|")
            rows.append(f"| `{field.alias or name}` | {_default(field)} | {meaning} |")
        parts[-1] += "\n" + "\n".join(rows) + "\n"
    return "\n".join(parts)


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = reference()
    if options.write:
        PATH.parent.mkdir(parents=True, exist_ok=True)
        PATH.write_text(text, encoding="utf-8")
    elif options.check and (not PATH.exists() or PATH.read_text(encoding="utf-8") != text):
        print(f"{PATH}: is not what the code says; run `make reference`")
        return 1
    elif not options.check:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
