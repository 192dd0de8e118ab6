"""Compact: the rows that were appended become part of the next snapshot."""

from __future__ import annotations

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption


def compact(project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Fold appended rows into the next snapshot.

    It is the snapshot that a build from the same rows gives. Readers and writers go on meanwhile.
    """
    from kincast.cli.workspace import Workspace

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)

    from kincast.graph.compact import compact as compact_snapshot

    with console.progress() as progress:
        snapshot = compact_snapshot(workspace.project.snapshots, progress)
    rows = {name: table.num_rows for name, table in snapshot.tables.items()}
    console.say(f"snapshot {snapshot.id}: {amount(sum(rows.values()), 'row')}")
    console.result({"snapshot": snapshot.id, "rows": rows})
