"""Main: the program ``kincast``: its commands, and how every error becomes a message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from kincast.cli import (
    append,
    ask,
    audit,
    build,
    check,
    compact,
    deadletters,
    demo,
    drift,
    evaluate,
    explain,
    forget,
    ingest,
    init,
    plan,
    predict,
    pretrain,
    query,
    report,
    serve,
    snapshot,
    train,
    version,
    why,
)
from kincast.cli.code import BUG, ENVIRONMENT, INTERRUPTED, OK
from kincast.errors import KincastError

_DISK = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EACCES, errno.EPERM}

app = typer.Typer(
    name="kincast",
    help="Predict the future of the rows of a relational database with graph neural networks.",
    epilog="Exit codes: 0 ok, 1 a check failed, 2 the request was wrong, 3 the environment is at fault.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("explain")(explain.explain)
app.command("build")(build.build)
app.command("ingest")(ingest.ingest)
app.command("append")(append.append)
app.command("compact")(compact.compact)
app.command("forget")(forget.forget)
app.command("plan")(plan.plan)
app.command("pretrain")(pretrain.pretrain)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("ask")(ask.ask)
app.command("why")(why.why)
app.command("serve")(serve.serve)
app.command("drift")(drift.drift)
app.command("audit")(audit.audit)
app.add_typer(snapshot.app, name="snapshots")
app.add_typer(version.app, name="versions")
app.add_typer(deadletters.app, name="deadletters")
app.add_typer(query.app, name="query")
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("version")(version.version)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words after the program's name; those of the process by default.

    Returns:
        The exit code. A ``KincastError`` is printed as its message, any other exception as one line that says
        where its traceback was written.
    """
    try:
        code = app(args=arguments, prog_name="kincast", standalone_mode=False, obj=main)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except KincastError as error:
        return _fail(f"kincast: {error}", error.exit_code)
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("kincast: interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, and nothing to flush at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        return _unexpected(error)


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())


def _unexpected(error: Exception) -> int:
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # a usage error of the terminal library
        error.show(file=sys.stderr)
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f"{error.filename}: " if error.filename else ""
        hint = "free some space, or check that the folder can be written"
        return _fail(f"kincast: {where}{error.strerror}\n  hint: {hint}", ENVIRONMENT)
    import tempfile  # only a bug needs it

    handle, path = tempfile.mkstemp(prefix="kincast-", suffix=".traceback.txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    line = f"{type(error).__name__}: {error}".partition("\n")[0]
    return _fail(f"kincast: {line}\n  this is a bug in Kincast; please report it with the traceback in {path}", BUG)


def _fail(text: str, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    run()
