"""Ingest: changes of the rows are taken in as they happen."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.graph.ingest import IngestStatus

_SAY_EVERY_S = 10.0


def ingest(
    once: Annotated[bool, typer.Option("--once/--follow", help="Stop when nothing is left, or go on.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take in changes of the rows as they happen.

    Follows the stream that kincast.yaml names under 'live', beside the snapshot that kincast build made. What is kept
    survives a kill at any moment; a server that cannot be reached is asked again. Rows that a rule rejects also go to
    the dead letters. When enough has come, the next snapshot is made of it in a process beside.
    """
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    schema = workspace.snapshot().schema

    from kincast.graph.autocompact import AutoCompact
    from kincast.graph.delta import DeltaLog
    from kincast.graph.ingest import IngestStatus
    from kincast.graph.ingest import ingest as take_in

    after_rows = None if once else workspace.compact_after_rows
    with (
        contextlib.closing(workspace.stream(schema)) as stream,
        DeltaLog(workspace.project.snapshots) as log,
        AutoCompact(log, after_rows),
    ):
        status = IngestStatus(stream.name, log.position(stream.name))
        if not once:
            console.say(f"following {stream.name}; stop with Ctrl-C")
        said = _Said(console)
        try:
            for status in take_in(stream, log, schema, once=once):
                said.about(status)
        except KeyboardInterrupt:
            if once:
                raise
    _summary(console, status)


class _Said:
    """Says what is new, and now and then how far the ingest is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._problem: str | None = None
        self._rows, self._next_s = 0, time.monotonic() + _SAY_EVERY_S

    def about(self, status: IngestStatus) -> None:
        for sentence in status.news:
            self._console.verdict("warn" if sentence.startswith("quarantined") else "note", sentence)
        if status.problem != self._problem:
            said = status.problem or f"{status.stream} is followed again"
            self._console.verdict("warn" if status.problem else "ok", said)
            self._problem = status.problem
        now = time.monotonic()
        if now >= self._next_s and status.rows > self._rows:
            lag = "" if status.lag_s is None else f", {status.lag_s:.1f} s behind"
            self._console.say(f"  {amount(status.rows, 'change')} kept, {status.rejected:,} rejected{lag}")
            self._rows, self._next_s = status.rows, now + _SAY_EVERY_S


def _summary(console: Console, status: IngestStatus) -> None:
    rows = amount(status.rows, "change")
    console.say(f"{status.stream}: {rows} kept, {status.rejected:,} rejected, at {status.position or 'its start'}")
    for table, verdict in status.quarantined.items():
        console.verdict("warn", f"{table} stands still: {verdict}; next: look over schema.yaml, kincast build")
    if status.rejected:
        console.say("next: kincast deadletters list")
    console.result(asdict(status))
