"""Snapshot: list the versions of the graph, compare two, verify them, remove old ones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console
from kincast.cli.options import HERE, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.graph.diff import Degrees

app = typer.Typer(help="List, compare, verify and remove snapshots.", no_args_is_help=True, rich_markup_mode=None)

IdArgument = Annotated[str | None, typer.Argument(metavar="[ID]", help="A snapshot; the current one by default.")]


@app.command("list")
def list_all(project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the snapshots there are, oldest first."""
    from kincast.cli.workspace import Workspace
    from kincast.clock import format_instant
    from kincast.graph.open import list_snapshots

    console = Console(as_json=as_json, quiet=quiet)
    infos = list_snapshots(Workspace.open(project).project.snapshots)
    rows = [
        (
            f"{info.id}{' (current)' if info.is_current else ''}",
            format_instant(info.created_us // 10**6 * 10**6),
            f"{info.num_rows:,}",
            f"{info.num_edges:,}",
            f"{info.size_bytes / 1e6:,.1f}",
            info.problem or "–",
        )
        for info in infos
    ]
    if rows:
        console.table(("snapshot", "written", "rows", "edges", "MB", "problem"), rows)
    else:
        console.say("there is no snapshot yet; next: kincast build")
    console.result([asdict(info) for info in infos])


@app.command("history")
def history(
    at: Annotated[
        str | None, typer.Option("--at", metavar="INSTANT", help="Only say which one was current at that instant.")
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say which snapshot became current when, newest first."""
    from kincast.cli.workspace import Workspace
    from kincast.clock import format_instant, parse_instant
    from kincast.graph.history import current_at, read_history

    console = Console(as_json=as_json, quiet=quiet)
    root = Workspace.open(project).project.snapshots
    if at is not None:
        found = current_at(root, parse_instant(at))
        console.say(found)
        console.result({"snapshot": found, "at": at})
        return
    told = read_history(root)
    rows = [(str(p.number), format_instant(p.at_us // 10**6 * 10**6), p.id) for p in told]
    console.table(("number", "became current", "snapshot"), rows)
    console.result([{"number": p.number, "at": format_instant(p.at_us), "snapshot": p.id} for p in told])


@app.command("diff")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A snapshot.")],
    second: Annotated[str | None, typer.Argument(metavar="[B]", help="Another; the current one by default.")] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what is different between two snapshots: schema, rows, degrees."""
    from kincast.cli.workspace import Workspace
    from kincast.graph.diff import diff_snapshots

    console = Console(as_json=as_json, quiet=quiet)
    workspace = Workspace.open(project)
    one, two = workspace.snapshot(first), workspace.snapshot(second)
    found = diff_snapshots(one, two)
    for change in found.schema:
        console.say(change)
    counts = [
        (name, *("–" if n is None else f"{n:,}" for n in pair), _change(*pair)) for name, pair in found.rows.items()
    ]
    console.table(("table", one.id, two.id, "change"), counts)
    links = [(name, _degrees(a), _degrees(b)) for name, (a, b) in found.degrees.items()]
    console.table(("link: neighbours mean / p99 / max", one.id, two.id), links)
    console.result({"first": one.id, "second": two.id, **asdict(found)})


@app.command("verify")
def verify(
    id: IdArgument = None, project: ProjectOption = HERE, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Read every file of a snapshot and hold it against its hash. Exit code 1 when one differs."""
    from kincast.cli.workspace import Workspace
    from kincast.graph.open import open_snapshot

    console = Console(as_json=as_json, quiet=quiet)
    snapshot = open_snapshot(Workspace.open(project).project.snapshots, id, verify=True)
    manifest = snapshot.manifest
    console.say(f"snapshot {snapshot.id}: {len(manifest.files)} files, {manifest.size_bytes / 1e6:,.1f} MB, all sound")
    console.result({"snapshot": snapshot.id, "files": len(manifest.files), "bytes": manifest.size_bytes})


@app.command("gc")
def collect_garbage(
    keep: Annotated[int, typer.Option("--keep", min=0, metavar="N", help="How many of the newest to keep.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove old snapshots.

    Kept besides the newest are the current one, those that model versions were trained on, and any being read.
    """
    from kincast.cli.workspace import Workspace
    from kincast.graph.collect import collect
    from kincast.registry.version import list_versions, load_version

    console = Console(as_json=as_json, quiet=quiet)
    settings = Workspace.open(project).project

    def needed() -> set[str]:
        return {load_version(settings.versions, id).info.snapshot_id for id in list_versions(settings.versions)}

    found = collect(settings.snapshots, keep, needed, dry_run)
    rows = [(id, "would be removed" if dry_run else "removed") for id in found.removed]
    console.table(("snapshot", "what became of it"), rows + [(id, f"kept: {why}") for id, why in found.kept.items()])
    console.say(f"{found.freed_bytes / 1e6:,.1f} MB {'would be ' if dry_run else ''}freed")
    console.result(asdict(found))


def _change(first: int | None, second: int | None) -> str:
    return "–" if first is None or second is None else f"{second - first:+,}"


def _degrees(found: Degrees | None) -> str:
    return "–" if found is None else f"{found.mean:,.2f} / {found.p99:,} / {found.max:,}"
