"""Ask: one question to a database never seen before, answered from its own past, without training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kincast.cli.console import Console, amount
from kincast.cli.options import HERE, AsOfOption, JsonOption, ProjectOption, QuietOption

if TYPE_CHECKING:
    from kincast.context.ask import Answer
    from kincast.context.evaluate import Judged
    from kincast.context.infer import Found
    from kincast.project import Project

SHOWN_ROWS = 10


def ask(  # over budget: an argument for each option
    text: Annotated[str, typer.Argument(metavar="QUERY", help='"PREDICT ... FOR table.key IN (1, 2)", or FOR EACH.')],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help="What kincast init takes; without it the project is asked."),
    ] = None,
    as_of: AsOfOption = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Rows to answer, at most.", min=1)] = None,
    context: Annotated[int, typer.Option("--context", metavar="N", help="Labels to learn from, at most.", min=1)] = (
        10_000
    ),
    learner: Annotated[
        str | None,
        typer.Option(metavar="PACKAGE:CLASS", help="A class like scikit-learn's.", show_default="LightGBM"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of all draws.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Parquet or CSV file.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Read SOURCE again, whatever was kept of it.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer a question at once, without training.

    Labels of windows that have ended by the instant are learnt on the fly, and nothing of that is saved. The newest of
    them are held out first, to say how good such answers are. EVALUATE in front answers for the test period instead,
    EXPLAIN says what the query means. The schema of SOURCE is inferred; its rows stay in the cache folder for the next
    question.
    """
    from kincast.cli.explain import explain_task
    from kincast.cli.run import with_task
    from kincast.cli.workspace import Workspace
    from kincast.clock import parse_instant
    from kincast.context.ask import answer, ground_of
    from kincast.context.evaluate import evaluate
    from kincast.context.place import place_of, snapshot_of
    from kincast.query.compile import compile_task
    from kincast.query.tree import Mode

    console = Console(as_json=as_json, quiet=quiet)
    if learner is not None:
        sys.path.append(str(Path.cwd()))  # a class of the user's may lie in this folder
    with console.progress() as progress:
        found = Workspace.open(project).project if source is None else place_of(source, progress, fresh=fresh)
        snapshot = snapshot_of(found, progress)
    task = compile_task(text, snapshot.schema, found.targets)
    name, workspace = with_task(Workspace(found), task)
    if task.query.mode is Mode.EXPLAIN:
        explain_task(console, workspace, name, task)
        return
    if task.query.mode is Mode.EVALUATE:
        with console.progress() as progress:
            parts = (workspace.project, name, snapshot)
            judged = evaluate(*parts, max_rows=context, learner=learner, seed=seed, progress=progress)
        _show_judged(console, judged)
        return
    strict = workspace.project.tasks[name].strict
    with console.progress() as progress:
        ground = ground_of(found, snapshot, task, max_rows=context, learner=learner, strict=strict, seed=seed)
        said = answer(ground, None if as_of is None else parse_instant(as_of), limit, progress)
    _show(console, said, output, None if task.query.entity.keys is not None else SHOWN_ROWS)
    kept = _say_kept(console, found)
    console.result(said.as_dict() | {"kept": kept, "written": None if output is None else str(output)})


def _show(console: Console, answer: Answer, output: Path | None, limit: int | None) -> None:
    from kincast.cli.predict import instants_in_words, show_rows, write_rows

    rows = answer.as_table()
    show_rows(console, rows, rows.num_rows if limit is None else limit)
    if output is not None:
        write_rows(rows, output)
        console.say(f"{amount(rows.num_rows, 'row')} written to {output}")
    when = instants_in_words(answer.predictions)
    console.say(f"{amount(rows.num_rows, 'answer')} {when} in {answer.seconds:.1f} s; no model was trained or saved")
    if answer.left_out:
        what = "row asked for does" if answer.left_out == 1 else "rows asked for do"
        console.say(f"{answer.left_out:,} {what} not exist then, or not pass the filter")
    _show_found(console, answer.found)


def _show_found(console: Console, found: Found) -> None:
    """What was learnt from, and what answers of this sort were worth on the newest labels."""
    from kincast.cli.evaluate import cell
    from kincast.clock import format_instant

    ends = f"{format_instant(found.first_us)} to {format_instant(found.last_us)}"
    console.say(f"learnt from {amount(found.num_rows, 'label')} of {amount(found.num_instants, 'instant')}, {ends}")
    if found.why:
        console.say(f"answered by the {found.method}: {found.why}")
    if not found.held_out:
        console.say("how good that is cannot be told: no label was known before the newest ones")
        return
    column = f"{found.metric} on the {found.num_held_out:,} newest of them, held out"
    console.table(("answered by", column), [(name, cell(value)) for name, value in found.held_out.items()])


def _show_judged(console: Console, judged: Judged) -> None:
    from kincast.cli.evaluate import cell

    metrics = list(next(iter(judged.metrics.values())))
    rows = [(method, *(cell(values[name]) for name in metrics)) for method, values in judged.metrics.items()]
    title = f"test period, {amount(judged.num_rows, 'label')}, with 95 % intervals; no model was trained or saved"
    console.table(("answered by", *metrics), rows, title=title)
    _show_found(console, judged.found)
    console.result(judged.as_dict())


def _say_kept(console: Console, project: Project) -> str | None:
    """Say where the rows of a source are kept, and since when; nothing of a project of the user's."""
    from kincast.clock import format_instant
    from kincast.context.place import read_at_us

    read_us = read_at_us(project)
    if read_us is None:
        return None
    when = format_instant(read_us // 10**6 * 10**6)
    console.say(f"rows and inferred schema.yaml, as of {when}, are kept in {project.folder}; --fresh reads them again")
    return str(project.folder)
