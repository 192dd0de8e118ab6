"""Build: the rows become a snapshot, a versioned temporal graph on disk."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.cli.workspace import Workspace
    from kincast.graph.snapshot import Snapshot


def build(project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Build a snapshot of the database.

    The same rows give the same snapshot. Where kincast.yaml says how changes are followed, they are followed from here.
    """
    from kincast.cli.workspace import Workspace
    from kincast.clock import format_instant

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    start = time.perf_counter()
    snapshot = build_current(console, workspace)
    seconds = time.perf_counter() - start
    rows = {name: table.num_rows for name, table in snapshot.tables.items()}
    edges = {str(link.link): int(link.rows.size) for link in snapshot.links}
    console.table(("table", "rows"), [(name, f"{count:,}") for name, count in rows.items()])
    console.table(("link", "edges"), [(name, f"{count:,}") for name, count in edges.items()])
    until = format_instant(snapshot.max_time_us)
    total = amount(sum(rows.values()), "row")
    console.say(f"snapshot {snapshot.id}: {total}, the latest of {until}, in {seconds:.1f} s")
    console.result({"snapshot": snapshot.id, "rows": rows, "edges": edges, "until": until, "seconds": seconds})


def build_current(console: Console, workspace: Workspace) -> Snapshot:
    """Build the snapshot of the workspace's database and make it current."""
    from kincast.graph.build import build_snapshot
    from kincast.graph.ingest import rebuild

    with workspace.timed("build"), console.progress() as progress:
        schema, root = workspace.schema(), workspace.project.snapshots
        if workspace.project.live is None:
            return build_snapshot(workspace.source(), schema, root, progress)
        with contextlib.closing(workspace.stream(schema)) as stream:
            return rebuild(stream, workspace.source(), schema, root, progress)
