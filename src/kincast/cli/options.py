"""Options: the arguments that several commands share, written once so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kincast.train.search.mode import RunMode

ProjectOption = Annotated[
    Path, typer.Option("--project", "-p", metavar="DIR", help="Folder with kincast.yaml.", show_default="this folder")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
TaskArgument = Annotated[
    str | None, typer.Argument(metavar="TASK", help="Name of a task in kincast.yaml; needless where there is one.")
]
VersionOption = Annotated[
    str | None,
    typer.Option(
        "--version", metavar="ID", help="Model version or alias.", show_default="the champion, else the newest"
    ),
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="INSTANT", help="Date or date-time, UTC.", show_default="the latest in the data"),
]
ModeOption = Annotated[
    RunMode | None,
    typer.Option("--mode", case_sensitive=False, help="Suggest a model plan that takes so long to search."),
]

HERE = Path()
