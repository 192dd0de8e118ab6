"""What commands show goes to the right place and stays out of the way of JSON."""

from __future__ import annotations

import json

import pytest

from kincast.cli.console import Console, amount, fitted_lines, table_lines


def test_text_is_shown_unless_asked_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    for console in (Console(), Console(as_json=True), Console(quiet=True)):
        console.say("a sentence [bold]")
        console.verdict("warn", "careful [red]")
        console.table(("name", "rows"), [("orders [x]", "300")])
    said = capsys.readouterr().out
    assert said.count("a sentence [bold]") == 1
    assert said.count("warn  careful [red]") == 1
    assert said.count("orders [x]") == 1


def test_json_is_one_value_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    console.say("not this")
    with console.progress() as progress:
        progress("step", 1, 2)
    console.result({"rows": 3, "name": "é"})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"rows": 3, "name": "é"}
    assert said.err == ""


def test_progress_without_a_terminal_is_a_line_per_long_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Console().progress() as progress:
        for done in range(5):
            progress("read", done, 4)
            now[0] += 10.0
        progress("blink", 1, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["  read: 50 % after 20 s", "  read: 100 % after 40 s", "  read: 50.0 s"]


def test_a_wide_table_becomes_several_that_fit() -> None:
    metrics = ("auroc", "ap", "accuracy")
    rows = [("the network", *["0.7137 [0.6944, 0.7322]"] * 3), ("LightGBM", *["0.7112 [0.6908, 0.7312]"] * 3)]
    lines = fitted_lines(("churn", *metrics), rows, 70)
    assert max(map(len, lines)) <= 70
    assert sum("the network" in line for line in lines) == 2
    assert "".join(lines).count("0.7112 [0.6908, 0.7312]") == 3
    assert [name for line in lines for name in metrics if name in line.split()] == list(metrics)
    assert fitted_lines(("churn", *metrics), rows, None) == table_lines(("churn", *metrics), rows)
    # One column more than the first stays, however narrow the terminal.
    assert len(fitted_lines(("churn", *metrics), rows, 5)) == 3 * 4 + 2


def test_a_last_column_of_sentences_is_wrapped() -> None:
    rows = [("Posts", "Id", "OwnerUserId → Users, ParentId → Posts, LastEditorUserId → Users"), ("Users", "Id", "–")]
    lines = fitted_lines(("table", "key", "links"), rows, 50)
    assert lines == [
        "  table  key  links",
        "  ─────  ───  ───────────────────────────────",
        "  Posts  Id   OwnerUserId → Users, ParentId →",
        "              Posts, LastEditorUserId → Users",
        "  Users  Id   –",
    ]


def test_amounts_are_words() -> None:
    assert [amount(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
