"""Demo: the main job on real data: from a database to a trained, compared, served and reported model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from kincast.cli.code import FAILED, OK
from kincast.cli.console import Console
from kincast.cli.report import REPORT_FILE

Kincast = Callable[[Sequence[str]], int]

_DEMO_FOLDER = Path("shop-demo")


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to make.")] = _DEMO_FOLDER,
    example: Annotated[
        Path | None, typer.Option("--example", metavar="DIR", help="Example to run.", show_default="examples/shop")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Remove the folder first if a demo made it.")] = False,
) -> None:
    """Run the whole job on real retail data.

    From init to check, explain, build, train, evaluate, predict, serve and report, in a folder of its own.
    """
    from kincast.cli.evaluate import show_metrics
    from kincast.cli.workspace import Workspace
    from kincast.project import PROJECT_FILE, read_project

    kincast: Kincast = context.obj  # one command of this program, words to exit code
    source = find_example(example)
    tasks = list(read_project(source).tasks)
    _prepare(source, folder, force=force)
    start = time.perf_counter()
    _step(kincast, "init", str(folder / "data"), "--project", str(folder))
    shutil.copyfile(source / PROJECT_FILE, folder / PROJECT_FILE)
    print(f"the tasks to predict are those of {source / PROJECT_FILE}: {', '.join(tasks)}")
    here = ("--project", str(folder))
    _step(kincast, "check", *here)
    for task in tasks:
        _step(kincast, "explain", task, *here)
    _step(kincast, "build", *here)
    for task in tasks:
        _step(kincast, "train", task, *here)
        _step(kincast, "evaluate", task, "--version", "challenger", *here)
        _step(kincast, "versions", "promote", "challenger", "--task", task, *here, may_fail=True)
        _step(kincast, "predict", task, "--output", str(folder / f"{task}.parquet"), *here)
    _step(kincast, "serve", tasks[0], "--once", *here)
    _step(kincast, "report", *here)
    _heading("the models against every baseline, on the test period")
    console = Console()
    for task in tasks:
        show_metrics(console, Workspace.open(folder).newest_version(task).info, "test")
    print(f"\nreport: {(folder / REPORT_FILE).resolve()}")
    print(f"the whole job took {time.perf_counter() - start:.0f} s; the project is in {folder}/, try it: cd {folder}")


def find_example(wanted: Path | None) -> Path:
    """Folder of the example: the one given, or ``examples/shop`` of the checkout.

    Raises:
        ProjectError: it is not there.
    """
    import kincast
    from kincast.errors import ProjectError

    checkout = Path(kincast.__file__).resolve().parents[2]  # where the package was installed from in place
    places = [wanted] if wanted else [Path("examples/shop"), checkout / "examples" / "shop"]
    for place in places:
        if (place / "kincast.yaml").is_file() and any(place.glob("*.parquet")):
            return place
    where = " or ".join(str(place) for place in places)
    hint = "the demo comes with a checkout of Kincast; there, run: make demo"
    raise ProjectError("there is no example with kincast.yaml and tables beside it", where=where, hint=hint)


def _prepare(source: Path, folder: Path, *, force: bool) -> None:
    from kincast.atomic import storage_errors
    from kincast.errors import ProjectError

    marker = folder / ".demo"
    if folder.exists() and any(folder.iterdir()):
        if not (force and marker.exists()):
            hint = "add --force" if marker.exists() else "name another folder: kincast demo DIR"
            raise ProjectError("is already there", where=str(folder), hint=hint)
        shutil.rmtree(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text("made by kincast demo; kincast demo --force may remove this folder\n", encoding="utf-8")
        (folder / "data").mkdir()
        for table in sorted(source.glob("*.parquet")):
            shutil.copy(table, folder / "data")


def _step(kincast: Kincast, *arguments: str, may_fail: bool = False) -> None:
    _heading(f"$ kincast {' '.join(arguments)}")
    code = kincast(arguments)
    if code != OK and not (may_fail and code == FAILED):
        raise typer.Exit(code)


def _heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if _is_terminal() else f"\n{text}", flush=True)


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
