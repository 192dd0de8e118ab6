"""Every way a command can end has its exit code, and its words in the right place."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kincast.cli import main as program
from kincast.errors import DataError, KincastError, MissingExtraError, QueryError, SourceError

Run = Callable[[BaseException], int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command that raises what it is given."""

    def with_error(error: BaseException) -> int:
        def command(**_: Any) -> None:
            raise error

        monkeypatch.setattr(program, "app", command)
        return program.main([])

    return with_error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("there are no rows", where="orders", hint="look"), 1),
        (QueryError("no such table", text="PREDICT x", start=8, end=9), 2),
        (SourceError("cannot be read", where="x.db"), 3),
        (MissingExtraError("adbc-driver-postgresql", "postgres"), 3),
    ],
)
def test_an_expected_error_is_its_message_and_code(
    run: Run, capsys: pytest.CaptureFixture[str], error: KincastError, code: int
) -> None:
    assert run(error) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"kincast: {error}\n"


def test_an_unexpected_error_is_one_line_and_a_traceback_in_a_file(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(ZeroDivisionError("division\nby zero")) == program.BUG
    said = capsys.readouterr().err
    assert said.startswith("kincast: ZeroDivisionError: division\n  this is a bug in Kincast")
    assert "Traceback" not in said
    (written,) = tmp_path.glob("kincast-*.traceback.txt")
    assert str(written) in said
    assert "ZeroDivisionError" in written.read_text()


def test_interruption_is_quiet_and_has_the_shells_code(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "kincast: interrupted\n"


def test_a_full_disk_is_the_environments_fault(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(OSError(errno.ENOSPC, "No space left on device", "/data/x")) == 3
    assert "/data/x: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["check", "--nonsense"], ["init"], ["serve", "--port", "99999"], ["versions", "x"]]
)
def test_wrong_words_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(arguments) == 2
    assert "Usage: kincast" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["check", "explain", "build", "plan", "train", "evaluate", "predict", "serve", "drift", "audit"]
)
def test_without_a_project_every_command_says_how_to_make_one(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main([command, "--project", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/kincast.yaml: there is no project here" in said
    assert "kincast init" in said
    assert list(tmp_path.iterdir()) == []


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "..." not in listed.split("Commands:")[1]
    commands = ("init", "check", "explain", "build", "plan", "train", "evaluate", "predict", "serve", "drift", "audit")
    for command in (*commands, "report"):
        assert f"  {command} " in listed
        assert program.main([command, "--help"]) == 0
        assert "Usage: kincast" in capsys.readouterr().out


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    import kincast

    assert program.main(["version"]) == 0
    assert capsys.readouterr().out == f"kincast {kincast.__version__}\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -c 'from kincast.cli.main import run; run()' --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
