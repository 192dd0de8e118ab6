"""Verdicts on changed tables: every case of cases/source/ddl.txt, on a real server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.source.states import State, follow, until_idle
from tests.source.test_replication import Database, _often, open_database, stream_of

from kincast.schema import Schema, Table

__all__ = ["_often", "open_database"]

FILE = Path(__file__).resolve().parents[1] / "cases" / "source" / "ddl.txt"
TABLES = """
CREATE TYPE mood AS ENUM ('ok');
CREATE TABLE customers (id integer PRIMARY KEY, name varchar(20));
CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, amount integer DEFAULT 0,
    code varchar(10), tint mood, left_out text, other integer NOT NULL);
INSERT INTO customers VALUES (1, 'Ann'); INSERT INTO orders (id, other) VALUES (1, 1);
"""


def cases() -> list[tuple[str, list[str]]]:
    """Statement and sentences of every block."""
    found = []
    for block in FILE.read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            found.append((lines[0], [line.removeprefix("=> ") for line in lines[1:] if line != "=> nothing"]))
    return found


def card(database: Database) -> Schema:
    """The tables as they are, without orders.left_out."""
    schema = database.source().inspect()
    return Schema(
        tuple(
            Table(t.name, tuple(c for c in t.columns if c.name != "left_out"), t.key, t.time, t.end_time)
            for t in schema
        ),
        schema.links,
    )


def test_there_are_enough_cases() -> None:
    assert len(cases()) >= 15


@pytest.mark.parametrize(("statement", "sentences"), cases(), ids=[statement for statement, _ in cases()])
def test_verdict(
    open_database: Callable[[str], Database],
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    sentences: list[str],
) -> None:
    monkeypatch.setattr("kincast.source.replication.LOOK_S", 0.0)
    database = open_database(TABLES)
    with closing(stream_of(database, card(database))) as stream:
        stream.prepare(None)
        state = State(stream.schema)
        database.run("INSERT INTO customers VALUES (2, 'Bob')")
        until_idle(stream, state)

        def after_first() -> bool:
            if not said:
                said.append(True)
                database.run(statement)
            return len(state.news) >= len(sentences)

        said: list[bool] = []
        follow(stream, state, after_first)
        database.run("INSERT INTO customers VALUES (3, 'Eve')")
        quarantined = any(sentence.startswith("quarantined") for sentence in sentences)
        if not quarantined:
            database.run("INSERT INTO orders (id, amount, other) VALUES (9, 9, 9); DELETE FROM orders WHERE id = 1")
        until_idle(stream, state)
        assert [news.partition("; it stands still")[0] for news in state.news] == sentences
        assert [row["id"] for row in state.rows("customers")] == ["2", "3"]
        assert set(stream.quarantined) == ({"orders"} if quarantined else set())
        assert [row["id"] for row in state.rows("orders")] == ([] if quarantined else ["9"])

    # What was quarantined stays so, whoever reads on, and is not said twice.
    with closing(stream_of(database, stream.schema)) as stream:
        database.run("INSERT INTO customers VALUES (4, 'Zoë')")
        until_idle(stream, state)
        assert set(stream.quarantined) == ({"orders"} if quarantined else set())
        assert len(state.news) == len(sentences)
        assert len(state.rows("customers")) == 3
