"""Formatting and highlighting."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.query.cases import read_cases

from kincast.cli.main import main
from kincast.query.format import MAX_LINE, format_text
from kincast.query.highlight import highlight
from kincast.query.parser import parse

MESSY = "predict count( o.* , 0,30 )  =0 -- churn\nfor each c.id /* all */ ;"
CLEAN = "PREDICT COUNT(o.*, 0, 30, days) = 0 FOR EACH c.id\n"


@pytest.mark.parametrize("name", ["accepted.txt", "examples.txt", "beyond.txt"])
def test_formatting_changes_nothing_but_the_form(name: str) -> None:
    for case in read_cases(name):
        once = format_text(case.query).text
        assert parse(once) == parse(case.query)
        assert format_text(once).text == once


def test_long_queries_get_a_line_a_clause() -> None:
    long = f"{CLEAN.strip()} WHERE c.name IN ({', '.join(repr('x' * 9) for _ in range(9))})"
    lines = format_text(long).text.splitlines()
    assert len(long) > MAX_LINE
    assert [line.split()[0] for line in lines] == ["PREDICT", "FOR", "WHERE"]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "churn.pql"
    file.write_text(MESSY)
    assert main(["query", "format", "--check", str(file)]) == 1
    assert main(["query", "format", str(file)]) == 0
    printed = capsys.readouterr()
    assert printed.out == CLEAN
    assert "2 comments are left out" in printed.err
    assert main(["query", "format", "--write", str(file)]) == 0
    assert file.read_text() == CLEAN
    assert main(["query", "format", "--check", str(file)]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(MESSY))
    assert main(["query", "format", "-"]) == 0
    assert capsys.readouterr().out == CLEAN


def test_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.pql").write_text("PREDICT COUNT(o.*, 0, 30")
    assert main(["query", "format", str(tmp_path / "bad.pql")]) == 2
    assert "query:1:25: ')' is missing" in capsys.readouterr().err
    assert main(["query", "format", str(tmp_path / "none.pql")]) == 2


def test_pieces() -> None:
    pieces = [(piece.text, piece.kind) for piece in highlight("PREDICT count(a.day, 0, 3, days) >= 'x' -- why")]
    assert [pair for pair in pieces if pair[1] not in ("space", "symbol")] == [
        ("PREDICT", "keyword"),
        ("count", "function"),
        ("a", "name"),
        ("day", "name"),
        ("0", "number"),
        ("3", "number"),
        ("days", "keyword"),
        ("'x'", "text"),
        ("-- why", "comment"),
    ]
    assert [piece.kind for piece in highlight("a ? b")] == ["name", "space", "unknown"]
    assert highlight("") == []


@settings(max_examples=50, deadline=None)
@given(
    st.text(max_size=30)
    | st.lists(st.sampled_from(["--", "/*", "*/", "\n", "'", '"', "a", "."]), max_size=9).map("".join)
)
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(piece.text for piece in highlight(text)) == text
